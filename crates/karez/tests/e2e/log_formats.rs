//! Formats of one's own for the access log: values, escaping, errors and documentation.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Command;

use crate::access::ANNA;
use crate::command::expect_error;
use crate::http2_client::Http2Client;
use crate::https::text;
use crate::layouts;
use crate::server::{KAREZ, Server};
use crate::timeouts::TimedReader;

/// Target, field, expected line behind the protocol.
type Case = (&'static str, (&'static str, &'static str), &'static str);

const TEMPLATE: &str = "$server_protocol $remote_addr $remote_user $host $request_method \
                        $request_uri $uri $args $status $body_bytes_sent $scheme $via $http_x_test";

const CASES: [Case; 6] = [
    ("/small?a=b", ("x-test", "1 2"), "- test GET /small?a=b /small a=b 200 10 http copy 1 2"),
    ("/./s%6dall", ("x-test", ""), "- test GET /./s%6dall /small - 200 10 http copy "),
    ("/none", ("x-other", "1"), "- test GET /none /none - 404 14 http - -"),
    // anna:U*U, then anna:u*u and bert:U*U
    (
        "/private/a",
        ("authorization", "Basic YW5uYTpVKlU="),
        "anna test GET /private/a /private/a - 200 6 http copy -",
    ),
    (
        "/private/a",
        ("authorization", "Basic YmVydDpVKlU="),
        "bert test GET /private/a /private/a - 401 17 http - -",
    ),
    // No password is asked for.
    (
        "/small",
        ("authorization", "Basic YmVydDpVKlU="),
        "- test GET /small /small - 200 10 http copy -",
    ),
];

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "0123456789").unwrap();
    fs::create_dir(root.path().join("private")).unwrap();
    fs::write(root.path().join("private/a"), "secret").unwrap();
    root
}

fn lines(server: &mut Server) -> impl Iterator<Item = String> + use<> {
    BufReader::new(TimedReader(server.stdout.take().unwrap())).lines().map(Result::unwrap)
}

#[test]
fn variables_over_both_protocols() {
    let (root, users) = (root(), tempfile::NamedTempFile::new().unwrap());
    fs::write(&users, ANNA).unwrap();
    let auth = format!("--auth=/private/**={}", text(users.path()));
    for layout in layouts::sample() {
        let flags = ["--log-format", TEMPLATE, &auth];
        let mut server = Server::start_with(layout, root.path(), &flags);
        let mut lines = lines(&mut server);
        let mut client = server.connect();
        let mut multiplexed = Http2Client::connect(&server, &[]);
        for (number, (target, (name, value), expected)) in (0..).zip(CASES) {
            client.request("GET", target, &format!("{name}: {value}\r\n"));
            let line = lines.next().unwrap();
            assert_eq!(line, format!("HTTP/1.1 127.0.0.1 {expected}"), "{layout}");
            multiplexed.request(2 * number + 1, "GET", target, &[(name, value)]);
            let line = lines.next().unwrap();
            assert_eq!(line, format!("HTTP/2.0 127.0.0.1 {expected}"), "{layout}");
        }
    }
}

#[test]
fn times_grow_and_bytes_include_the_head() {
    let root = root();
    let template = "$msec $request_time $head_time $bytes_sent $time_local|$time_iso8601";
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &["--log-format", template]);
        let mut lines = lines(&mut server);
        assert_eq!(server.get("/small").status, 200, "{layout}");
        let line = lines.next().unwrap();
        let words: Vec<_> = line.split(' ').collect();
        let [msec, whole, head] = [0, 1, 2].map(|number| words[number].parse::<f64>().unwrap());
        assert!(msec > 1.7e9 && whole >= head && head >= 0.0, "{layout}: {line}");
        assert!(words[3].parse::<u64>().unwrap() > 100, "{layout}: {line}");
        assert!(words[5].starts_with("+0000|20") && words[5].ends_with("+00:00"), "{line}");
    }
}

#[test]
fn no_request_can_add_a_line() {
    let root = root();
    let requests = [
        "GET /%0aGET%20/evil HTTP/1.1\r\nHost: a\r\nUser-Agent: \"\\\x1b[31m\r\n\r\n",
        "GET /small HTTP/1.1\r\nHost: a\r\nUser-Agent: a\u{85}b\u{2028}c\t\r\n\r\n",
        "GET /\"} HTTP/1.1\r\nHost: a\r\nUser-Agent: \",\"x\":\"\r\n\r\n",
    ];
    let json = r#"{"uri":"$uri","agent":"$http_user_agent","request":"$request"}"#;
    let layout = layouts::sample().next().unwrap();
    for (form, template) in [("common", "$uri|$http_user_agent|$request"), ("json", json)] {
        let flags = ["--log", form, "--log-format", template];
        let mut server = Server::start_with(layout, root.path(), &flags);
        let mut lines = lines(&mut server);
        for request in requests {
            let mut client = server.connect();
            client.send(request);
            client.response(false);
            let line = lines.next().unwrap();
            assert!(line.chars().all(|one| !one.is_control()), "{line:?}");
            if form == "common" {
                assert_eq!(line.split('|').count(), 3, "{line}");
                assert!(line.is_ascii() && !line.contains('"'), "{line}");
            } else {
                let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(entry.as_object().unwrap().len(), 3, "{line}");
            }
        }
    }
}

#[test]
fn bad_formats_are_rejected() {
    for (format, words) in [
        ("$remote_adr", &["unknown variable $remote_adr", "$remote_addr"][..]),
        ("$http_authorization", &["would log passwords"]),
        ("common", &["no variable"]),
    ] {
        expect_error(&["serve", "--log-format", format], 2, words);
    }
}

#[test]
fn every_variable_is_documented() {
    let output = Command::new(KAREZ).args(["serve", "--log-format", "$x"]).output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    let known = printed.split("known: ").nth(1).unwrap().lines().next().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OBSERVING.md");
    let page = fs::read_to_string(path).unwrap();
    assert!(known.split(' ').count() > 20, "{known}");
    for name in known.split(' ') {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/OBSERVING.md");
    }
}
