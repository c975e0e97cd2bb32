//! HTTPS whose records the kernel makes and opens: exact bodies by every via on every model, and the ends
//! of connections.
//!
//! Where the kernel has no module `tls` the tests say `skipped: why`; `.ci/vm` runs them under kernels that
//! have it. With `KAREZ_LAYOUTS=all` every layout gets every via.

use karez_reactor::{Model, Topology};
use karez_transfer::{Direction, Via};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, SystemTime};

use crate::client::Client;
use crate::files::pattern;
use crate::https::{Authority, url};
use crate::layouts::{self, Layout};
use crate::programs::{has, run};
use crate::socket::Socket;
use crate::strace::{Traced, name, returned};

/// Lengths around an inlined file and full records, and one of many steps.
const SIZES: [usize; 9] = [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, (2 << 20) + 1];

/// A body that no socket buffer takes.
const LARGE: u64 = 32 << 20;

/// Returns whether the kernel has TLS; prints the skip if not.
fn is_supported() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let enabled = karez_sys::enable_ktls(socket.as_fd());
    enabled.inspect_err(|errno| println!("skipped: no kernel TLS: {errno}")).is_ok()
}

/// A counter of the kernel, of all connections together.
fn counter(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/net/tls_stat").unwrap();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn all_counters() -> [u64; 3] {
    ["TlsTxSw", "TlsRxSw", "TlsDecryptError"].map(counter)
}

/// Layouts whose records the kernel can make.
fn each_model() -> impl Iterator<Item = Layout> {
    layouts::each_model().filter(|layout| layout.model != Model::PosixAio)
}

fn connect(authority: &Authority, address: std::net::SocketAddr, tls12: bool) -> Client {
    let version = if tls12 { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
    let config = authority.client(&[version], &["http/1.1"]);
    Client::over(Socket::connect_secure(address, config).unwrap())
}

/// Requests every file over one connection, and has the server close it.
fn fetch(mut client: Client, name: &str) {
    for size in SIZES {
        let response = client.get(&format!("/size-{size}"));
        assert_eq!(response.status, 200, "{name}, {size}");
        assert!(response.body == pattern(size), "{name}, {size} bytes");
    }
    let fields = "Range: bytes=16000-40000\r\nConnection: close\r\n";
    let range = client.request("GET", "/size-65537", fields);
    assert_eq!(range.status, 206, "{name}");
    assert!(range.body == pattern(65_537)[16_000..=40_000], "{name}");
    // rustls returns an error for an end without close_notify.
    assert_eq!(client.stream.read(&mut [0; 8]).unwrap(), 0, "{name}: close_notify");
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for size in SIZES {
        fs::write(root.path().join(format!("size-{size}")), pattern(size)).unwrap();
    }
    root
}

#[test]
fn bodies_in_records_of_the_kernel_are_exact() {
    if !is_supported() {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let vias = Direction::FileToSocket.vias();
    let every = layouts::requested().is_some();
    for (number, layout) in each_model().enumerate() {
        // Every via on the models that differ in how they send.
        let all =
            every || matches!(layout.model, Model::EpollEdge | Model::Blocking | Model::Uring);
        let chosen = if all { vias } else { &vias[number % vias.len()..][..1] };
        for &via in chosen {
            let layout = Layout { via, ..layout };
            let server = authority.serve(layout, root.path(), &["--ktls", "require"]);
            assert!(server.first_line.contains(", kernel TLS "), "{}", server.first_line);
            for tls12 in [false, true] {
                let before = all_counters();
                let name = format!("{layout}, TLS 1.2: {tls12}");
                fetch(connect(&authority, server.address, tls12), &name);
                let after = all_counters();
                assert!(after[0] > before[0] && after[1] > before[1], "{name}: {after:?}");
                assert_eq!(after[2], before[2], "{name}: records that did not open");
            }
        }
    }
}

#[test]
fn http2_in_records_of_the_kernel_is_exact() {
    if !is_supported() || !has("curl") {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let into = tempfile::tempdir().unwrap();
    for layout in each_model() {
        let server = authority.serve(layout, root.path(), &["--ktls", "require"]);
        let before = all_counters();
        let mut curl = authority.curl();
        curl.args(["--http2", "--fail", "--parallel", "--write-out", "%{http_version} "]);
        for size in SIZES {
            let name = format!("size-{size}");
            curl.arg("--output")
                .arg(into.path().join(&name))
                .arg(url(&server, &format!("/{name}")));
        }
        let output = run(&mut curl, &layout.to_string());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "2 ".repeat(SIZES.len()), "{layout}");
        for size in SIZES {
            let path = into.path().join(format!("size-{size}"));
            assert!(fs::read(&path).unwrap() == pattern(size), "{layout}, {size} bytes");
            fs::remove_file(path).unwrap();
        }
        let after = all_counters();
        assert!(after[0] > before[0] && after[1] > before[1], "{layout}: {after:?}");
    }
}

#[test]
fn explain_reports_the_via_that_ran_under_kernel_tls() {
    if !is_supported() {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let layout = Layout { model: Model::EpollEdge, topology: Topology::Single, via: Via::Sendfile };
    for (ktls, expected) in [("require", "sendfile"), ("off", "copy")] {
        let server = authority.serve(layout, root.path(), &["--ktls", ktls, "--explain"]);
        let mut client = connect(&authority, server.address, false);
        let response = client.get("/size-65537");
        let field = response.fields.iter().find(|(name, _)| name == "server-timing");
        let (_, timing) = field.unwrap();
        assert!(timing.contains(expected), "{ktls}: {timing}");
    }
}

/// A trace: the file leaves by sendfile(2) alone, and no byte of it is read into memory of the process. A request
/// costs a recvmsg(2), a send of the head, and another recvmsg(2) that finds nothing more.
#[test]
fn a_hot_file_is_sent_by_sendfile_alone_under_kernel_tls() {
    const LENGTH: usize = 1 << 20;
    if !is_supported() {
        return;
    }
    let (authority, root) = (Authority::new(), tempfile::tempdir().unwrap());
    let path = root.path().join("large");
    fs::write(&path, pattern(LENGTH)).unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    File::open(&path).unwrap().set_modified(hour_ago).unwrap();
    let layout = Layout { model: Model::EpollEdge, topology: Topology::Single, via: Via::Sendfile };
    for (ktls, vias) in [("require", [LENGTH, 0]), ("off", [0, LENGTH])] {
        let flags = authority.flags();
        let flags: Vec<_> = flags.iter().map(String::as_str).chain(["--ktls", ktls]).collect();
        let Some(traced) = Traced::start_serving(&[], layout, root.path(), &flags) else { return };
        let mut client = connect(&authority, traced.server.address, false);
        for _ in 0..3 {
            assert!(client.get("/large").body == pattern(LENGTH), "{ktls}");
        }
        let (_, calls) = traced.end();
        let last = calls.iter().rposition(|call| {
            call.contains("GET /large") || {
                // The records of user space are not readable in a trace.
                ktls == "off" && name(call) == "recvfrom" && returned(call) > 0
            }
        });
        let calls = &calls[last.unwrap()..];
        let sum = |wanted: &str| -> i64 {
            calls.iter().filter(|call| name(call) == wanted).map(|call| returned(call).max(0)).sum()
        };
        let moved = ["sendfile", "pread64"].map(|call| usize::try_from(sum(call)).unwrap());
        let mut counts = BTreeMap::<&str, usize>::new();
        for call in calls {
            *counts.entry(name(call)).or_default() += 1;
        }
        println!("--ktls {ktls}, {LENGTH} bytes by {layout}: {counts:?}");
        assert_eq!(moved, vias, "{ktls}: sendfile, pread64: {counts:?}");
    }
}

/// Changes its key in the middle of a connection. A kernel that can follow does; else the connection ends
/// regularly.
#[test]
fn key_updates_of_the_client_are_followed_or_end_the_connection_regularly() {
    if !is_supported() {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    for layout in each_model() {
        let server = authority.serve(layout, root.path(), &["--ktls", "require"]);
        let mut client = connect(&authority, server.address, false);
        assert!(client.get("/size-65537").body == pattern(65_537), "{layout}");
        client.stream.get_mut().tls().refresh_traffic_keys().unwrap();
        client.send("GET /size-65537 HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut received = Vec::new();
        // Not a reset, and not an end without close_notify.
        match client.head() {
            Some(_) => assert!(client.read_body(65_537) == pattern(65_537), "{layout}"),
            None => {
                client.stream.read_to_end(&mut received).unwrap();
                println!("{layout}: the kernel cannot change keys, so the connection ended");
            }
        }
        assert!(connect(&authority, server.address, false).get("/size-1").body == pattern(1));
    }
}

#[test]
fn a_file_that_becomes_shorter_is_never_a_complete_response() {
    if !is_supported() {
        return;
    }
    let authority = Authority::new();
    for layout in each_model() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        File::create(&path).unwrap().set_len(LARGE).unwrap();
        let server = authority.serve(layout, root.path(), &["--ktls", "require"]);
        let mut client = connect(&authority, server.address, false);
        client.start_get("/file");
        client.read_body(1000);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(2000).unwrap();
        let mut rest = Vec::new();
        let error = client.stream.read_to_end(&mut rest).expect_err("no regular end");
        assert!(rest.len() as u64 + 1000 < LARGE, "{layout}: {error}");
    }
}

#[test]
fn alerts_in_the_middle_of_a_body_are_answered() {
    if !is_supported() {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let length = (2 << 20) + 1;
    for layout in each_model() {
        let server = authority.serve(layout, root.path(), &["--ktls", "require"]);
        // A regular end of the client's side: the response is complete, and so is the server's.
        let mut client = connect(&authority, server.address, false);
        client.start_get(&format!("/size-{length}"));
        client.read_body(1000);
        client.stream.get_mut().tls().send_close_notify();
        client.stream.get_mut().flush().unwrap();
        assert!(client.read_body(length - 1000) == pattern(length)[1000..], "{layout}");
        assert_eq!(client.stream.read(&mut [0; 8]).unwrap(), 0, "{layout}: close_notify");

        // A record that does not open. A completion model receives while it sends, and ends the response there.
        let mut client = connect(&authority, server.address, false);
        client.start_get(&format!("/size-{length}"));
        client.read_body(1000);
        let mut record = vec![23, 3, 3, 0, 40];
        record.resize(45, 7);
        (&**client.stream.get_ref()).write_all(&record).unwrap();
        let mut rest = Vec::new();
        let error = client.stream.read_to_end(&mut rest).unwrap_err().to_string();
        // rustls returns the alert before the bytes that it received together with it.
        let _end = client.stream.get_mut().tls().reader().read_to_end(&mut rest);
        let expected = &pattern(length)[1000..];
        let whole = rest.len() == expected.len();
        assert!(expected.starts_with(&rest) && (whole || layout.model.is_completion()), "{layout}");
        assert!(error.contains("BadRecordMac"), "{layout}: {error}");
    }
}
