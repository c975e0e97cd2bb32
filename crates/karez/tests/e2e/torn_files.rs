//! Files that are written while they are sent: no complete response joins two contents, on every model, by
//! every via, with TLS and HTTP/2. A file that is replaced by a rename is sent to its end
//! (`download_continues_with_the_replaced_file`).

use karez_http::h2::ErrorCode;
use karez_transfer::Via;
use rustix::process::Signal;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::client::Client;
use crate::files::write_dated;
use crate::http2_client::Http2Client;
use crate::https::Authority;
use crate::layouts::{self, Layout};
use crate::server::Server;

/// Larger than the socket buffers, so that a client that does not read blocks the response in the
/// middle.
const LARGE: u64 = 32 << 20;

/// A client that does not read for a while is not timed out, however long the others take.
const PATIENT: [&str; 4] = ["--log", "off", "--send-timeout", "1h"];

fn serve(layout: Layout, root: &Path) -> Server {
    Server::start_with(layout, root, &PATIENT)
}

/// Makes a file of zeros whose last write was long ago.
fn make(path: &Path, size: u64) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

/// Writes the first and the last page in place: another version of the same size.
fn rewrite(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    for offset in [0, size.saturating_sub(4096)] {
        file.write_all_at(&[1; 4096], offset).unwrap();
    }
}

/// Starts a download of `/f`, and reads some KiB of the body.
fn start(mut client: Client, fields: &str) -> Client {
    client.limit_receive_buffer();
    client.send(format!("GET /f HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    assert!(matches!(client.head().unwrap().status, 200 | 206));
    client.read_body(100_000);
    client
}

/// Stops the server, and returns its error lines about torn files.
fn torn_lines(server: Server) -> Vec<String> {
    server.signal(Signal::TERM);
    let (status, printed) = server.wait();
    assert!(status.success(), "{status}: {printed}");
    let torn = |line: &&str| line.contains("was written while it was sent");
    printed.lines().filter(torn).map(str::to_owned).collect()
}

#[test]
fn a_download_of_a_rewritten_file_is_reset() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    for layout in layouts::all_with_vias() {
        make(&path, LARGE);
        let server = serve(layout, root.path());
        let mut clients = [start(server.connect(), ""), start(server.connect(), "")];
        rewrite(&path);
        for client in &mut clients {
            assert_eq!(client.read_all(), Err(ErrorKind::ConnectionReset), "{layout}");
        }
        // Complete again, with the new version.
        let mut client = server.connect();
        let mut last = client.request("GET", "/f", "Range: bytes=-4096\r\n").body;
        last.dedup();
        assert_eq!(last, [1], "{layout}");
        drop(client);
        assert_eq!(torn_lines(server).len(), 1, "{layout}: one for the file");
    }
}

#[test]
fn a_file_that_is_cut_and_refilled_is_never_a_complete_response() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    for layout in layouts::all_with_vias() {
        make(&path, LARGE);
        let server = serve(layout, root.path());
        let mut client = start(server.connect(), "");
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        file.set_len(LARGE).unwrap();
        // Whether the cut or the write is noticed depends on when the next bytes are read.
        let received = client.read_all();
        assert!(received.is_err() || received < Ok(LARGE - 100_000), "{layout}: {received:?}");
    }
}

#[test]
fn ranges_of_a_rewritten_file_are_reset() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    let one = format!("Range: bytes=4096-{}\r\n", LARGE - 1000);
    let two = format!("Range: bytes=0-{},{}-\r\n", LARGE - 10_000, LARGE - 1000);
    for layout in layouts::each_model() {
        make(&path, LARGE);
        let server = serve(layout, root.path());
        let mut clients = [&one, &two].map(|range| start(server.connect(), range));
        rewrite(&path);
        for client in &mut clients {
            assert_eq!(client.read_all(), Err(ErrorKind::ConnectionReset), "{layout}");
        }
    }
}

#[test]
fn a_rewritten_file_ends_tls_without_its_last_record() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    let authority = Authority::new();
    for layout in layouts::each_model() {
        make(&path, LARGE);
        let server = authority.serve(layout, root.path(), &PATIENT[2..]);
        let client = Client::over(authority.connect(&server, &["http/1.1"]));
        let mut client = start(client, "");
        rewrite(&path);
        client.read_all().expect_err("a complete response");
    }
}

#[test]
fn a_stream_of_a_rewritten_file_is_reset_and_the_connection_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    for layout in layouts::all() {
        make(&path, 200_000);
        let server = serve(layout, root.path());
        let mut client = Http2Client::connect(&server, &[]);
        client.opens_windows = false;
        client.get(1, "/f");
        client.read_until(|client| client.response(1).body.len() == 65_535);
        rewrite(&path);
        client.opens_windows = true;
        client.window(0, 1 << 17);
        client.window(1, 1 << 17);
        let torn = client.finish(1);
        assert_eq!((torn.ended, torn.reset), (false, Some(ErrorCode::INTERNAL_ERROR)), "{layout}");
        let again = client.request(3, "GET", "/f", &[]);
        assert!(again.ended && again.body[0] == 1 && again.body.len() == 200_000, "{layout}");
        drop(client);
        assert_eq!(torn_lines(server).len(), 1, "{layout}");
    }
}

#[test]
fn a_precompressed_sibling_that_is_rewritten_is_reset() {
    let root = tempfile::tempdir().unwrap();
    write_dated(&root.path().join("f"), "plain", 1_577_836_800);
    let path = root.path().join("f.gz");
    make(&path, LARGE);
    for layout in layouts::each_model() {
        let server = serve(layout, root.path());
        let mut client = start(server.connect(), "Accept-Encoding: gzip\r\n");
        rewrite(&path);
        assert_eq!(client.read_all(), Err(ErrorKind::ConnectionReset), "{layout}");
    }
}

#[test]
fn a_hot_file_that_is_rewritten_is_reset() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    make(&path, LARGE);
    for layout in layouts::each_model() {
        let server = serve(layout, root.path());
        let mut client = server.connect();
        for _ in 0..4 {
            assert_eq!(client.request("GET", "/f", "Range: bytes=0-0\r\n").body.len(), 1);
        }
        let mut client = start(client, "");
        rewrite(&path);
        assert_eq!(client.read_all(), Err(ErrorKind::ConnectionReset), "{layout}");
    }
}

#[test]
fn torn_responses_may_be_allowed() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    for layout in layouts::each_model() {
        make(&path, LARGE);
        let flags = [&PATIENT[..], &["--torn", "allow"]].concat();
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = start(server.connect(), "");
        rewrite(&path);
        assert_eq!(client.read_body(usize::try_from(LARGE).unwrap() - 100_000).last(), Some(&1));
        assert_eq!(client.get("/missing").status, 404, "{layout}: the connection goes on");
    }
}

/// No write reaches bytes that have been copied into the socket. The date is in the future, so that the file
/// is recent however slow the test is.
#[test]
fn a_file_that_was_just_written_is_copied() {
    const MIB: usize = 1 << 20;
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    for layout in layouts::each_model() {
        let layout = Layout { via: Via::Auto, ..layout };
        make(&path, MIB as u64);
        let hour = Duration::from_secs(3600);
        File::open(&path).unwrap().set_modified(SystemTime::now() + hour).unwrap();
        let mut server = Server::start_with(layout, root.path(), &["--log", "common"]);
        let mut client = server.connect();
        assert_eq!(client.start_get("/f").status, 200);
        let begin = client.read_body(MIB - 100_000);
        let mut line = [0];
        server.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        File::options().write(true).open(&path).unwrap().write_all_at(&vec![1; MIB], 0).unwrap();
        let end = client.read_body(100_000);
        assert!(begin.iter().chain(&end).all(|&byte| byte == 0), "{layout}: two contents");
    }
}
