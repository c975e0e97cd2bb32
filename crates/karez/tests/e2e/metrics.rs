//! `--metrics` and `--status`: counts equal what was requested, and nothing there delays a response.

use rustix::process::{Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::client::{Client, Response};
use crate::http2_client::Http2Client;
use crate::https::Authority;
use crate::layouts::{self, Layout};
use crate::server::Server;
use crate::socket::Socket;
use crate::timeouts::TimedReader;
use scrape::Scrape;

mod dashboard;
mod scrape;
mod status_page;

const FLAGS: [&str; 6] = ["--log", "off", "--metrics", "127.0.0.1:0", "--status", "127.0.0.1:0"];

/// The most connections of the listener.
const CONNECTIONS: usize = 16;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "0123456789").unwrap();
    fs::write(root.path().join("large"), vec![b'x'; 3 << 20]).unwrap();
    root
}

/// Starts a server whose metrics and live page are at one address.
fn start(layout: Layout, root: &tempfile::TempDir) -> (Server, SocketAddr) {
    let server = Server::start_with(layout, root.path(), &FLAGS);
    let address = address_of("metrics", &server);
    assert_eq!(address, address_of("status", &server), "one listener serves both");
    (server, address)
}

/// Returns an address that the first line names.
fn address_of(what: &str, server: &Server) -> SocketAddr {
    let url = server.first_line.split(&format!(", {what} http://")).nth(1);
    let url = url.unwrap_or_else(|| panic!("no {what} in {}", server.first_line));
    url.split('/').next().unwrap().parse().unwrap()
}

fn get(address: SocketAddr, target: &str) -> Response {
    Client::connect(address).get(target)
}

fn scrape(address: SocketAddr) -> Scrape {
    let response = get(address, "/metrics");
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((response.status, response.field("content-type")), (200, Some(media_type)));
    Scrape::parse(&String::from_utf8(response.body).unwrap())
}

/// Returns the requests by protocol and code.
fn requests(scrape: &Scrape) -> BTreeMap<(String, String), u64> {
    let mut requests = BTreeMap::new();
    for sample in scrape.samples("karez_requests_total") {
        let key = (sample.labels["protocol"].clone(), sample.labels["code"].clone());
        *requests.entry(key).or_default() += sample.count();
    }
    requests
}

/// Returns a scrape that has all requests. One is counted when its last byte has been sent, and the client may have
/// that before.
fn counted(
    server: &Server,
    address: SocketAddr,
    expected: &BTreeMap<(String, String), u64>,
) -> Scrape {
    let mut last = None;
    server.wait_until("all requests are counted", || {
        let scrape = last.insert(scrape(address));
        scrape.sum("karez_requests_in_flight") == 0.0 && requests(scrape) == *expected
    });
    last.unwrap()
}

/// Makes requests over both protocols. Returns how many there were, and the bytes of their bodies.
fn make_requests(server: &Server) -> (BTreeMap<(String, String), u64>, u64) {
    let mut bytes = 0;
    let mut expected = BTreeMap::new();
    let mut count = |protocol: &str, status: u16, body: usize| {
        *expected.entry((protocol.to_owned(), status.to_string())).or_default() += 1;
        bytes += body as u64;
    };
    let mut client = server.connect();
    for _ in 0..5 {
        count("HTTP/1.1", client.get("/small").status, 10);
    }
    let large = client.get("/large");
    count("HTTP/1.1", large.status, large.body.len());
    count("HTTP/1.1", client.request("HEAD", "/small", "").status, 0);
    let part = client.request("GET", "/small", "Range: bytes=2-4\r\n");
    count("HTTP/1.1", part.status, part.body.len());
    let missing = client.get("/none");
    count("HTTP/1.1", missing.status, missing.body.len());
    client.send("nonsense\x01\r\n\r\n");
    let nonsense = client.response(false);
    count("HTTP/1.1", nonsense.status, nonsense.body.len());

    let mut client = Http2Client::connect(server, &[]);
    for (stream, target) in [(1, "/small"), (3, "/large"), (5, "/none"), (7, "/small")] {
        let response = client.request(stream, "GET", target, &[]);
        count("HTTP/2", response.status, response.body.len());
    }
    (expected, bytes)
}

#[test]
fn counts_equal_the_requests_over_both_protocols() {
    let root = root();
    for layout in layouts::sample() {
        let (server, address) = start(layout, &root);
        let (expected, bytes) = make_requests(&server);
        let scrape = counted(&server, address, &expected);
        assert_eq!(scrape.sum("karez_response_body_bytes_total"), bytes as f64, "{layout}");
        let all: u64 = expected.values().sum();
        for histogram in
            ["karez_request_head_seconds_count", "karez_request_duration_seconds_count"]
        {
            assert_eq!(scrape.sum(histogram), all as f64, "{layout}, {histogram}");
        }
        let accepted = scrape.sum("karez_connections_accepted_total");
        let closed = scrape.sum("karez_connections_closed_total");
        assert_eq!(accepted, 2.0, "{layout}: the listener of metrics does not count");
        assert_eq!(scrape.sum("karez_connections"), accepted - closed, "{layout}");
        let found = scrape.sum("karez_file_lookups_total");
        assert!(found >= 10.0, "{layout}: {found} files were found");
        let vias = scrape.samples("karez_requests_total").map(|sample| &*sample.labels["via"]);
        assert!(
            vias.clone().any(|via| via == "none"),
            "{layout}: the response to HEAD has no body"
        );
        assert!(vias.clone().all(|via| via != "auto"), "{layout}");
        assert!(scrape.samples("karez_requests_total").all(|it| it.labels["site"] == "default"));
    }
}

#[test]
fn connections_are_closed_for_a_reason() {
    let root = root();
    let layout = layouts::sample().next().unwrap();
    let mut flags = FLAGS.to_vec();
    flags.extend(["--idle-timeout", "100ms"]);
    let server = Server::start_with(layout, root.path(), &flags);
    let address = address_of("metrics", &server);
    let mut idle = server.connect();
    idle.get("/small");
    let mut told = server.connect();
    told.request("GET", "/small", "Connection: close\r\n");
    let gone = server.connect();
    drop(gone);
    assert!(idle.is_closed() && told.is_closed());
    drop(told);
    let reasons = || -> BTreeMap<String, u64> {
        let scrape = scrape(address);
        let closed = scrape.samples("karez_connections_closed_total");
        let closed = closed.filter(|sample| sample.value > 0.0);
        closed.map(|it| (it.labels["reason"].clone(), it.count())).collect()
    };
    let expected = [("client", 1), ("finished", 1), ("idle_timeout", 1)];
    let expected: BTreeMap<_, _> = expected.map(|(name, count)| (name.to_owned(), count)).into();
    server.wait_until("all connections are counted", || reasons() == expected);
    assert_eq!(scrape(address).sum("karez_connections"), 0.0);
}

#[test]
fn slow_scrapers_delay_no_response_and_are_bounded() {
    let root = root();
    for layout in layouts::sample().take(2) {
        let (server, address) = start(layout, &root);
        let slow: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let mut slow = TcpStream::connect(address).unwrap();
                slow.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
                slow
            })
            .collect();
        // One more is closed, at once or after the time for its request.
        assert!(Client::connect(address).is_closed(), "{layout}");
        let mut client = server.connect();
        for _ in 0..100 {
            assert_eq!(client.get("/small").body, b"0123456789", "{layout}");
        }
        drop(slow);
        server.wait_until("there is a place again", || {
            let mut client = Client::connect(address);
            // A connection without a place may have been reset already.
            let _closed =
                client.stream.get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            !client.is_closed() && client.head().is_some_and(|head| head.status == 200)
        });
        assert!(scrape(address).sum("karez_requests_total") >= 99.0, "{layout}");
    }
}

#[test]
fn only_get_and_head_of_known_paths_are_answered() {
    let root = root();
    let layout = layouts::sample().next().unwrap();
    let flags = ["--log", "off", "--metrics", "127.0.0.1:0"];
    let server = Server::start_with(layout, root.path(), &flags);
    let address = address_of("metrics", &server);
    let ask = |method, target| Client::connect(address).request(method, target, "");
    assert_eq!(ask("POST", "/metrics").status, 405);
    assert_eq!(ask("POST", "/metrics").field("allow"), Some("GET, HEAD"));
    for target in ["/", "/events", "/small", "/metrics/"] {
        assert_eq!(ask("GET", target).status, 404, "{target}");
    }
    let mut client = Client::connect(address);
    client.send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.response(true);
    assert_eq!((head.status, head.field("connection")), (200, Some("close")));
    assert!(client.read_to_end().is_empty());
    let mut client = Client::connect(address);
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.response(false).status, 400);
}

#[test]
fn an_address_in_use_is_an_error() {
    let root = root();
    let layout = layouts::sample().next().unwrap();
    let (_server, address) = start(layout, &root);
    let mut command = Command::new(crate::server::KAREZ);
    command.arg("serve").arg(root.path()).args(["--listen", "127.0.0.1:0", "--metrics"]);
    let output = command.arg(address.to_string()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains(&format!("bind {address}")), "{printed}");
}

#[test]
fn handshakes_are_counted_by_their_result() {
    let (root, authority) = (root(), Authority::new());
    for layout in layouts::sample() {
        let server = authority.serve(layout, root.path(), &["--metrics", "127.0.0.1:0"]);
        let address = address_of("metrics", &server);
        let config = authority.client(&[&rustls::version::TLS13], &[]);
        for _ in 0..2 {
            // The ticket for the second one arrives with the response.
            let socket = Socket::connect_secure(server.address, config.clone()).unwrap();
            assert_eq!(Client::over(socket).get("/small").status, 200);
        }
        let mut plain = server.connect();
        plain.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(plain.response(false).status, 400);
        let results = || -> Vec<(String, u64)> {
            let scrape = scrape(address);
            let results = scrape.samples("karez_tls_handshakes_total");
            results.map(|it| (it.labels["result"].clone(), it.count())).collect()
        };
        let expected = [("full", 1), ("resumed", 1), ("failed", 1)];
        let expected = expected.map(|(result, count)| (result.to_owned(), count));
        server.wait_until("the handshakes are counted", || results() == expected);
    }
}

/// Has the parser of Prometheus' client read a scrape.
const PARSE: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(sys.stdin.read()))
print(sum(s.value for f in families for s in f.samples if s.name == 'karez_requests_total'))
";

#[test]
fn the_parser_of_prometheus_accepts_a_scrape() {
    let python = std::env::var("KAREZ_PYTHON").unwrap_or("python3".to_owned());
    let mut probe = Command::new(&python);
    probe.args(["-c", "import prometheus_client.openmetrics.parser"]).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return println!("skipped: {python} has no package prometheus_client");
    }
    let root = root();
    let layout = layouts::sample().next().unwrap();
    let (server, address) = start(layout, &root);
    let (expected, _) = make_requests(&server);
    counted(&server, address, &expected);
    let text = get(address, "/metrics").body;
    let mut parser = Command::new(&python);
    parser.args(["-c", PARSE]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut parser = parser.spawn().unwrap();
    parser.stdin.take().unwrap().write_all(&text).unwrap();
    let mut line = String::new();
    BufReader::new(TimedReader(parser.stdout.take().unwrap())).read_line(&mut line).unwrap();
    assert!(parser.wait().unwrap().success());
    let all: u64 = expected.values().sum();
    assert_eq!(line.trim().parse(), Ok(all as f64), "{line}");
}

#[test]
fn an_upgrade_keeps_the_unix_sockets_of_metrics_and_status() {
    let root = root();
    let directory = tempfile::tempdir().unwrap();
    let (metrics, status) = (directory.path().join("metrics"), directory.path().join("status"));
    let flags = [format!("unix:{}", metrics.display()), format!("unix:{}", status.display())];
    for layout in layouts::sample() {
        let flags = ["--log", "off", "--metrics", &flags[0], "--status", &flags[1]];
        let server = Server::start_with(layout, root.path(), &flags);
        let answers = |path: &Path, target: &str| {
            let mut stream = UnixStream::connect(path).unwrap();
            write!(stream, "GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).unwrap();
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{layout}: {target}: {response}");
        };
        let both = || {
            answers(&metrics, "/metrics");
            answers(&status, "/");
        };
        both();
        // A failure leaves them to the old process.
        let moved = root.path().with_extension("moved");
        fs::rename(root.path(), &moved).unwrap();
        let output = crate::upgrades::run_upgrade(server.process());
        assert_eq!(output.status.code(), Some(1), "{layout}: {output:?}");
        fs::rename(&moved, root.path()).unwrap();
        both();
        let second = crate::upgrades::upgrade(server.process());
        crate::upgrades::wait_for_end(server.process());
        both();
        let third = crate::upgrades::upgrade(second.pid());
        crate::upgrades::wait_for_end(second.pid());
        both();
        // The next server binds them anew, whether their names are left or not.
        kill_process(third.pid(), Signal::TERM).unwrap();
        crate::upgrades::wait_for_end(third.pid());
    }
}

#[test]
fn an_upgrade_keeps_the_address_of_metrics() {
    let root = root();
    for layout in layouts::sample().take(2) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let flags = ["--log", "off", "--metrics", &address.to_string()];
        let server = Server::start_with(layout, root.path(), &flags);
        assert_eq!(get(address, "/metrics").status, 200, "{layout}");
        let successor = crate::upgrades::upgrade(server.process());
        crate::upgrades::wait_for_end(server.process());
        let start = scrape(address).sum("process_start_time_seconds");
        assert!(start > 0.0, "{layout}");
        drop(successor);
    }
}
