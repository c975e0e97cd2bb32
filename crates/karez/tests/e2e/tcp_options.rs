//! Options of TCP connections: they reach the accepted sockets on every model.

use std::process::Command;

use crate::command::expect_error;
use crate::layouts;
use crate::server::Server;

/// Returns the line of ss(8) with the internal TCP information of the server's end of a connection to
/// `port`; `None` where the program is missing.
fn tcp_info(port: u16) -> Option<String> {
    let filter = format!("( sport = :{port} )");
    let output = match Command::new("ss").args(["-tinH", "state", "established", &filter]).output()
    {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: ss: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn options_reach_accepted_connections() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "content").unwrap();
    let flags = ["--log", "off", "--congestion", "reno", "--rate", "3M", "--notsent-lowat", "64K"];
    for layout in layouts::each_model() {
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        assert_eq!(client.get("/file").body, b"content", "{layout}");
        let Some(info) = tcp_info(server.address.port()) else { return };
        // 3 MiB per second in bits, behind the current rate.
        assert!(info.contains(" reno ") && info.contains("/25165824bps"), "{layout}: {info}");
    }
}

#[test]
fn an_unknown_congestion_control_is_an_error_that_lists_the_available_ones() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().to_str().unwrap();
    let args = ["serve", directory, "--listen", "127.0.0.1:0", "--congestion", "no-such-algorithm"];
    let words = ["setsockopt TCP_CONGESTION no-such-algorithm 127.0.0.1:0", "available: ", "reno"];
    expect_error(&args, 1, &words);
}

#[test]
fn numbers_of_bytes_are_validated() {
    for flags in [["--rate", "0"], ["--rate", "fast"], ["--notsent-lowat", "4G"]] {
        expect_error(&[&["serve"], &flags[..]].concat(), 2, &[flags[0]]);
    }
}
