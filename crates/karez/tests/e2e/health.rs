//! `--health`, also while the server drains, and `karez health`.

use rustix::process::Signal;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::Command;

use crate::command::expect_error;
use crate::environment;
use crate::https::{Authority, text};
use crate::layouts::{self, Layout};
use crate::rules::{Case, check, get};
use crate::server::{KAREZ, Server};
use crate::timeouts::TimedReader;

const HEALTHY: &[&str] = &[
    "Cache-Control: no-store",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Length: 3",
    "ETag: !",
    "X-Rule: !",
];

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "file").unwrap();
    fs::create_dir(root.path().join("directory")).unwrap();
    root
}

#[test]
fn the_path_is_answered_before_all_rules() {
    let rules = ["--health", "/-/health", "--header", "**: X-Rule: 1", "--deny", "all"];
    let flags = [&rules[..], &["--deny-agent", "*", "--redirect", "/** /elsewhere"]].concat();
    let agent: &[_] = &[("User-Agent", "probe/1")];
    check(
        &flags,
        &[
            get("/-/health", 200, HEALTHY, "ok\n"),
            get("/-/health?from=balancer", 200, HEALTHY, "ok\n"),
            Case { method: "HEAD", ..get("/-/health", 200, HEALTHY, "") },
            Case { fields: agent, ..get("/-/health", 200, HEALTHY, "ok\n") },
            Case { fields: agent, ..get("/-/health/", 403, &["X-Rule: 1"], "") },
            Case { fields: agent, method: "POST", ..get("/-/health", 403, &[], "") },
            get("/-/healthy", 302, &["Location: /elsewhere"], ""),
        ],
    );
    check(
        &["--health", "/about.html"],
        &[
            get("/about.html", 200, HEALTHY, "ok\n"),
            Case { method: "POST", ..get("/about.html", 405, &[], "") },
            Case { fields: &[("Range", "bytes=0-0")], ..get("/about.html", 200, HEALTHY, "ok\n") },
        ],
    );
    check(&[], &[get("/-/health", 404, &[], "")]);
}

#[test]
fn every_site_and_listener_answers() {
    let (root, authority) = (root(), Authority::new());
    let layout = layouts::sample().next().unwrap();
    let flags = ["--redirect-https", "--health", "/healthz", "--log", "off"];
    let (server, _) = authority.serve_both(layout, root.path(), &flags);
    let mut client = server.connect();
    assert_eq!(client.get("/file").status, 308);
    assert_eq!(client.get("/healthz").body, b"ok\n");
    drop(server);
    let file = root.path().join("karez.toml");
    let keys = "listen = \"127.0.0.1:0\"\nlog = \"off\"\nhealth = \"/healthz\"\nroot = \".\"\n";
    fs::write(&file, format!("{keys}[[site]]\nhosts = \"a.example\"\nroot = \"directory\"\n"))
        .unwrap();
    let mut command = Command::new(KAREZ);
    command.args(["serve", "--config", text(&file)]).args(layout.flags());
    let server = Server::spawn(command);
    for host in ["a.example", "b.example"] {
        let mut client = server.connect();
        client.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response(false).body, b"ok\n", "{host}");
    }
}

#[test]
fn a_draining_server_serves_but_is_not_healthy() {
    let root = root();
    let flags = ["--log", "off", "--health", "/healthz", "--drain", "1h", "--grace", "1h"];
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        assert_eq!(client.get("/healthz").status, 200, "{layout}");
        server.signal(Signal::TERM);
        server.wait_until(&format!("{layout}: it drains"), || client.get("/healthz").status == 503);
        // Old and new connections are served.
        for client in [&mut client, &mut server.connect()] {
            let response = client.get("/healthz");
            assert_eq!(
                (response.status, &response.body[..]),
                (503, &b"draining\n"[..]),
                "{layout}"
            );
            assert_eq!(response.field("cache-control"), Some("no-store"), "{layout}");
            assert_eq!(client.get("/file").body, b"file", "{layout}");
        }
        server.signal(Signal::TERM);
        assert_eq!(client.read_to_end(), b"", "{layout}: an idle connection is closed");
        let (status, printed) = server.wait();
        assert_eq!((status.code(), &*printed), (Some(0), ""), "{layout}");
    }
}

#[test]
fn a_request_in_flight_hears_of_the_shutdown() {
    let root = root();
    let flags = ["--log", "off", "--health", "/healthz", "--grace", "1h"];
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        // In one segment, so the first response proves that the rest is there.
        client.send("GET /healthz HTTP/1.1\r\nHost: test\r\n\r\nGET /healthz HTTP/1.1\r\n");
        assert_eq!(client.response(false).status, 200, "{layout}");
        server.signal(Signal::TERM);
        crate::shutdown::wait_until_refused(&server, layout);
        client.send("Host: test\r\n\r\n");
        let response = client.response(false);
        assert_eq!(response.status, 503, "{layout}");
        assert_eq!(response.field("connection"), Some("close"), "{layout}");
    }
}

fn first_logged(layout: Layout, flags: &[&str]) -> String {
    let root = root();
    let mut server = Server::start_with(layout, root.path(), flags);
    let mut client = server.connect();
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.get("/file").status, 200);
    let mut line = String::new();
    let stdout = TimedReader(server.stdout.take().unwrap());
    BufReader::new(stdout).read_line(&mut line).unwrap();
    line
}

#[test]
fn its_requests_are_logged_only_if_asked() {
    let layout = layouts::sample().next().unwrap();
    let flags = ["--health", "/healthz", "--log", "common", "--log-health"];
    assert!(first_logged(layout, &flags[..4]).contains("GET /file "));
    assert!(first_logged(layout, &flags).contains("GET /healthz "));
}

/// Returns the exit status, and what was printed.
fn health(args: &[&str]) -> (Option<i32>, String) {
    environment::normalize();
    let output = Command::new(KAREZ).arg("health").args(args).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

#[test]
fn the_command_tells_healthy_from_not() {
    let root = root();
    let layout = layouts::sample().next().unwrap();
    let server = Server::start_with(layout, root.path(), &["--log", "off", "--health", "/healthz"]);
    let url = |path: &str| format!("http://{}{path}", server.address);
    assert_eq!(health(&[&url("/healthz")]), (Some(0), String::new()));
    for (url, reason) in [
        (url("/none"), "status 404 Not Found"),
        (url("/directory"), "status 308 Permanent Redirect"),
        // No program listens on tcpmux.
        ("http://127.0.0.1:1/healthz".to_owned(), "refused"),
    ] {
        expect_error(&["health", &url], 1, &[&url, reason]);
    }
    // The kernel accepts, and nothing answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    expect_error(&["health", "--timeout", "50ms", &url], 1, &[&url, "timeout"]);
}

#[test]
fn the_command_verifies_certificates() {
    let (root, authority) = (root(), Authority::new());
    let layout = layouts::sample().next().unwrap();
    let server = authority.serve(layout, root.path(), &["--health", "/healthz"]);
    let url = format!("https://localhost:{}/healthz", server.address.port());
    let ca = authority.ca();
    assert_eq!(health(&["--tls-ca", text(&ca), &url]), (Some(0), String::new()));
    assert_eq!(health(&["--insecure", &url]), (Some(0), String::new()));
    expect_error(&["health", &url], 1, &[&url, "certificate"]);
    let other = Authority::new();
    expect_error(&["health", "--tls-ca", text(&other.ca()), &url], 1, &[&url, "certificate"]);
    expect_error(&["health", "--tls-ca", "/nonexistent", &url], 1, &["/nonexistent", "os error 2"]);
}

#[test]
fn other_arguments_are_rejected() {
    for (args, words) in [
        (&["health", "ftp://a.example/"][..], &["expected a URL"][..]),
        (&["health", "127.0.0.1:80"], &["expected a URL"]),
        (&["health", "--insecure", "--tls-ca", "a", "https://a.example/"], &["--tls-ca"]),
        (&["serve", "--health", "healthz"], &["begins with a slash"]),
        (&["serve", "--health", "/a?b"], &["no query"]),
        (&["serve", "--log-health"], &["--health"]),
    ] {
        expect_error(args, 2, words);
    }
}
