//! Limits by the address of the client: connections, requests, user agents, over HTTP/1.1 and HTTP/2.

use std::fs;
use std::io::{ErrorKind, Read as _};

use crate::client::Client;
use crate::command::expect_error;
use crate::http2_client::Http2Client;
use crate::layouts;
use crate::rules::{Case, check, get};
use crate::server::Server;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "file").unwrap();
    root
}

/// Returns the seconds after which a client may try again.
fn retry_after(fields: &[(String, String)]) -> u64 {
    let found = fields.iter().find(|(name, _)| name == "retry-after");
    found.expect("Retry-After").1.parse().unwrap()
}

#[test]
fn connections_of_an_address_are_limited() {
    let root = root();
    for layout in layouts::each_model() {
        let flags = ["--max-per-ip", "1", "--log", "off"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut first = server.connect();
        assert_eq!(first.get("/f").status, 200, "{layout}");
        let mut second = server.connect();
        let response = second.get("/f");
        assert_eq!(response.status, 429, "{layout}");
        assert_eq!(response.field("connection"), Some("close"), "{layout}");
        assert_eq!(retry_after(&response.fields), 1, "{layout}");
        assert!(second.is_closed(), "{layout}");

        let server = Server::start_with(layout, root.path(), &flags);
        let mut first = Http2Client::connect(&server, &[]);
        assert_eq!(first.request(1, "GET", "/f", &[]).status, 200, "{layout}");
        let mut second = Http2Client::connect(&server, &[]);
        assert!(second.read_until(|client| client.has_settings), "{layout}");
        // The second is open without a request, so this is one too many even for a response.
        assert!(server.connect().is_closed(), "{layout}");
        let response = second.request(1, "GET", "/f", &[]);
        assert_eq!(response.status, 429, "{layout}");
        assert_eq!(retry_after(&response.fields), 1, "{layout}");
        assert!(second.read_until(|client| client.goaway.is_some()), "{layout}");
        assert_eq!(first.request(3, "GET", "/f", &[]).status, 200, "{layout}");
        drop((first, second));
        server.wait_until("the address has connections left", || {
            let mut client = server.connect();
            client.send("GET /f HTTP/1.1\r\nHost: a\r\n\r\n");
            // An end or a reset: it came too early.
            let mut begin = [0; 12];
            match client.stream.read_exact(&mut begin) {
                Ok(()) => &begin == b"HTTP/1.1 200",
                Err(error) => {
                    let ends = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                    assert!(ends.contains(&error.kind()), "{error}");
                    false
                }
            }
        });
    }
}

#[test]
fn the_proxied_address_is_counted() {
    let root = root();
    for layout in layouts::sample() {
        let flags =
            ["--max-per-ip=1", "--trust-proxy=127.0.0.1", "--proxy-protocol", "--log", "off"];
        let server = Server::start_with(layout, root.path(), &flags);
        let status = |client: &mut Client, address: &str| {
            client.send(format!("PROXY TCP4 {address} 127.0.0.1 1 2\r\n"));
            client.get("/f").status
        };
        let mut clients = [(); 4].map(|()| server.connect());
        assert_eq!(status(&mut clients[0], "192.0.2.1"), 200, "{layout}");
        assert_eq!(status(&mut clients[1], "192.0.2.1"), 429, "{layout}");
        assert_eq!(status(&mut clients[2], "192.0.2.2"), 200, "{layout}");
        // A proxy has as many as it needs.
        clients[3].send("PROXY UNKNOWN\r\n");
        assert_eq!(clients[3].get("/f").status, 200, "{layout}");
        let mut another = server.connect();
        another.send("PROXY UNKNOWN\r\n");
        assert_eq!(another.get("/f").status, 200, "{layout}");
    }
}

#[test]
fn requests_of_an_address_are_limited() {
    let root = root();
    for layout in layouts::sample() {
        let flags = ["--max-rate-per-ip", "4/h", "--trust-proxy=127.0.0.1", "--log", "off"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        let mut multiplexed = Http2Client::connect(&server, &[]);
        let mut streams = (1..).step_by(2);
        // One client has one bucket, by whatever protocol, and with any address of its network.
        for [address, another] in
            [["192.0.2.1"; 2], ["2001:db8::1", "2001:db8::2"], ["127.0.0.1"; 2]]
        {
            let line = format!("X-Forwarded-For: {address}\r\n");
            let fields = [("x-forwarded-for", another)];
            for expected in [200, 200, 429] {
                let response = client.request("GET", "/f", &line);
                assert_eq!(response.status, expected, "{layout}: {address}");
                let stream = streams.next().unwrap();
                let multiplexed = multiplexed.request(stream, "GET", "/f", &fields);
                assert_eq!(multiplexed.status, expected, "HTTP/2, {layout}: {address}");
                if expected == 429 {
                    for fields in [&response.fields, &multiplexed.fields] {
                        assert!((1..=900).contains(&retry_after(fields)), "{layout}: {fields:?}");
                    }
                    assert_eq!(response.body, b"429 Too Many Requests: too many requests\n");
                }
            }
        }
        // The connection stays open, and other clients are served on it.
        let fields = "X-Forwarded-For: 192.0.2.2\r\n";
        assert_eq!(client.request("GET", "/f", fields).status, 200, "{layout}");
    }
}

#[test]
fn user_agents_are_denied() {
    const BODY: &str = "403 Forbidden: this user agent is not served\n";
    check(
        &["--deny-agent=*GPTBot*", "--deny-agent", "spider", "--error-page=403=errors/403.html"],
        &[
            get("/", 200, &[], "the index"),
            Case { fields: &[("User-Agent", "x (gptbot/1.1)")], ..get("/", 403, &[], BODY) },
            Case { fields: &[("User-Agent", "A Spider")], ..get("/none", 403, &[], BODY) },
            Case { fields: &[("User-Agent", "curl/8")], ..get("/", 200, &[], "the index") },
        ],
    );
}

#[test]
fn malformed_limits_are_rejected() {
    for (flag, value, word) in [
        ("--max-per-ip", "0", "0"),
        ("--max-rate-per-ip", "5/d", "N/h"),
        ("--max-rate-per-ip", "0", "N/h"),
        ("--deny-agent", "[", "--deny-agent"),
    ] {
        expect_error(&["serve", flag, value], 2, &[word]);
    }
}
