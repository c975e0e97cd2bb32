//! `--rate-per-ip`: the bytes per second of an address, over all of its connections. The kernel paces them, so most of
//! this looks at the rate that it has for each socket.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::command::expect_error;
use crate::http2_client::Http2Client;
use crate::layouts;
use crate::server::Server;

/// 6 MiB per second, and its parts in bits per second.
const RATE: [&str; 4] = ["--log", "off", "--rate-per-ip", "6M"];
const WHOLE: &str = "50331648bps";
const HALF: &str = "25165824bps";
const THIRD: &str = "16777216bps";

/// The kernel does not pace the first ten segments, which have 640 KB in all on the loopback interface.
const LARGE: usize = 2 << 20;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "file").unwrap();
    fs::write(root.path().join("large"), vec![b'x'; LARGE]).unwrap();
    root
}

/// Returns the highest rate that the kernel has for the server's end of the connections from these ports, by ss(8);
/// `None` where that is missing.
fn rates(server: &Server, clients: &[u16]) -> Option<Vec<String>> {
    let rate = |client: &u16| {
        let filter = format!("( sport = :{} and dport = :{client} )", server.address.port());
        let mut command = Command::new("ss");
        match command.args(["-tinHO", "state", "established", &filter]).output() {
            Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
            Err(error) => {
                println!("skipped: ss: {error}");
                None
            }
        }
    };
    let most = |line: String| {
        let rates = line.split(" pacing_rate ").nth(1).unwrap_or_default();
        let rates = rates.split_whitespace().next().unwrap_or_default();
        rates.split_once('/').map_or(line.clone(), |(_, most)| most.to_owned())
    };
    clients.iter().map(|client| rate(client).map(most)).collect()
}

fn port(client: &Client) -> u16 {
    client.stream.get_ref().local_addr().unwrap().port()
}

#[test]
fn connections_of_an_address_have_equal_parts() {
    let root = root();
    for layout in layouts::each_model() {
        let server = Server::start_with(layout, root.path(), &RATE);
        let mut first = server.connect();
        assert_eq!(first.get("/f").body, b"file", "{layout}");
        let mut ports = vec![port(&first)];
        let Some(found) = rates(&server, &ports) else { return };
        assert_eq!(found, [WHOLE], "{layout}");
        let mut second = server.connect();
        ports.push(port(&second));
        assert_eq!(second.get("/f").body, b"file", "{layout}");
        assert_eq!(rates(&server, &ports).unwrap(), [HALF, HALF], "{layout}");
        let mut multiplexed = Http2Client::connect(&server, &[]);
        ports.push(multiplexed.stream.local_addr().unwrap().port());
        assert_eq!(multiplexed.request(1, "GET", "/f", &[]).body, b"file", "{layout}");
        assert_eq!(rates(&server, &ports).unwrap(), [THIRD, THIRD, THIRD], "{layout}");
        drop(first);
        server.wait_until("the others have its part", || {
            rates(&server, &ports[1..]).unwrap() == [HALF, HALF]
        });
        drop(multiplexed);
        server.wait_until("the last one has all", || {
            rates(&server, &ports[1..2]).unwrap() == [WHOLE]
        });
        assert_eq!(second.get("/f").body, b"file", "{layout}");
    }
}

#[test]
fn the_client_that_a_proxy_names_counts() {
    let root = root();
    let flags = [&RATE[..], &["--rate", "3M", "--trust-proxy=127.0.0.1", "--proxy-protocol"]];
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &flags.concat());
        let connect = |client: &str| {
            let mut connection = server.connect();
            connection.send(format!("PROXY TCP4 {client} 192.0.2.9 1234 80\r\n"));
            assert_eq!(connection.get("/f").body, b"file", "{layout}");
            connection
        };
        // One connection is limited by its own rate as well.
        let one = connect("192.0.2.1");
        let Some(found) = rates(&server, &[port(&one)]) else { return };
        assert_eq!(found, [HALF], "{layout}");
        let others = ["192.0.2.2"; 3].map(connect);
        let ports: Vec<_> = [&one].into_iter().chain(&others).map(port).collect();
        assert_eq!(rates(&server, &ports).unwrap(), [HALF, THIRD, THIRD, THIRD], "{layout}");
    }
}

#[test]
fn several_connections_are_not_faster_than_the_rate() {
    let root = root();
    let layouts = layouts::each_model().filter(|layout| layout.sleeps_when_idle());
    layouts::concurrently(layouts.step_by(3), |layout| {
        let flags = ["--log", "off", "--rate-per-ip", "4M"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/f").status, 200, "{layout}"));
        let start = Instant::now();
        thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| assert_eq!(client.get("/large").body.len(), LARGE, "{layout}"));
            }
        });
        // 8 MiB without the first segments, at most at twice the rate, to which the kernel makes up for delays. A slow
        // machine only takes longer.
        assert!(start.elapsed() > Duration::from_millis(300), "{layout}: {:?}", start.elapsed());
    });
}

#[test]
fn malformed_rates_are_rejected() {
    for value in ["0", "fast", "1MB"] {
        expect_error(&["serve", "--rate-per-ip", value], 2, &["--rate-per-ip"]);
    }
}
