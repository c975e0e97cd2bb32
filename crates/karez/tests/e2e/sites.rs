//! Several sites of one server, by the host of the request and by that of the handshake.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::https::{Authority, text};
use crate::layouts::{self, Layout};
use crate::programs::{has, run};
use crate::server::{KAREZ, Server};

/// The directory of a test, with three sites and a file.
struct Sites {
    authority: Authority,
    file: PathBuf,
}

impl Sites {
    fn new(extra: &str) -> Self {
        let authority = Authority::new();
        let directory = authority.directory.path();
        for name in ["default", "a", "b"] {
            fs::create_dir(directory.join(name)).unwrap();
            fs::write(directory.join(name).join("f"), name).unwrap();
        }
        let file = directory.join("karez.toml");
        let content = format!(
            "listen = \"127.0.0.1:0\"\nlog = \"off\"\nroot = \"default\"\n{extra}\n\
             [[site]]\nhosts = [\"a.example\", \"*.a.example\", \"bücher.example\"]\nroot = \"a\"\n\
             [[site]]\nhosts = \"b.example\"\nroot = \"b\"\nno-listing = true\n"
        );
        fs::write(&file, content).unwrap();
        Self { authority, file }
    }

    fn serve(&self, layout: Layout) -> Server {
        let mut command = Command::new(KAREZ);
        command.args(["serve", "--config", text(&self.file)]).args(layout.flags());
        Server::spawn(command)
    }
}

/// Hosts and the site that they belong to.
const HOSTS: &[(&str, &str)] = &[
    ("a.example", "a"),
    ("A.Example.:8080", "a"),
    ("www.a.example", "a"),
    ("x.www.a.example", "default"),
    ("xn--bcher-kva.example", "a"),
    ("XN--BCHER-kva.example", "a"),
    ("b.example", "b"),
    ("www.b.example", "default"),
    ("127.0.0.1", "default"),
    ("[::1]:80", "default"),
    ("other.example", "default"),
];

#[test]
fn the_host_chooses_the_site() {
    let sites = Sites::new("");
    for layout in layouts::all() {
        let server = sites.serve(layout);
        let mut client = server.connect();
        // Twice and more, so that the hot files of the sites are not mixed up.
        for round in 0..4 {
            for (host, expected) in HOSTS {
                client.send(format!("GET /f HTTP/1.1\r\nHost: {host}\r\n\r\n"));
                let response = client.response(false);
                assert_eq!(response.body, expected.as_bytes(), "{layout}: {host}, {round}");
            }
        }
        client.send("GET http://b.example/f HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(client.response(false).body, b"b", "{layout}");
        client.send("GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
        assert_eq!(client.response(false).status, 403, "{layout}");
        client.send("GET /f HTTP/1.0\r\n\r\n");
        assert_eq!(client.response(false).body, b"default", "{layout}");
    }
}

#[test]
fn the_authority_of_http2_chooses_the_site() {
    if !has("curl") {
        return;
    }
    let sites = Sites::new("");
    for layout in layouts::sample() {
        let server = sites.serve(layout);
        let mut curl = sites.authority.curl();
        curl.arg("--http2-prior-knowledge");
        let (mut expected, mut port) = (String::new(), server.address.port().to_string());
        port.insert(0, ':');
        for (host, site) in HOSTS.iter().filter(|(host, _)| !host.contains(['[', '1', ':', 'X'])) {
            curl.arg(format!("http://{host}{port}/f"));
            curl.args(["--connect-to", &format!("{host}{port}:{}", server.address)]);
            expected.push_str(site);
        }
        let output = run(&mut curl, &layout.to_string());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{layout}");
    }
}

#[test]
fn a_request_for_another_site_than_that_of_the_handshake_is_misdirected() {
    if !has("curl") {
        return;
    }
    let certificates = "tls-cert = [\"one.pem\"]\ntls-key = [\"one.key\"]\n";
    let sites = Sites::new(certificates);
    let names = ["a.example", "*.a.example", "b.example", "other.example", "127.0.0.1"];
    sites.authority.issue("one", &names);
    for layout in layouts::sample() {
        let server = sites.serve(layout);
        let port = server.address.port();
        for (name, host, expected) in [
            ("a.example", "a.example", "a200"),
            ("a.example", "www.a.example", "a200"),
            ("www.a.example", "a.example", "a200"),
            ("b.example", "b.example", "b200"),
            ("other.example", "other.example", "default200"),
            ("other.example", "another.example", "default200"),
            ("a.example", "b.example", "421"),
            ("a.example", "other.example", "421"),
            ("other.example", "a.example", "421"),
            // Without a name in the handshake.
            ("127.0.0.1", "b.example", "b200"),
        ] {
            let mut curl = sites.authority.curl();
            curl.args(["--write-out", "%{http_code}", "--header", &format!("Host: {host}")]);
            curl.args(["--connect-to", &format!("{name}:{port}:{}", server.address)]);
            let output = run(curl.arg(format!("https://{name}:{port}/f")), &layout.to_string());
            let printed = String::from_utf8(output.stdout).unwrap();
            assert!(printed.ends_with(expected), "{layout}: {name}, {host}: {printed}");
        }
    }
}

#[test]
fn each_site_has_its_own_certificate() {
    if !has("curl") {
        return;
    }
    let sites = Sites::new("");
    let mut content = fs::read_to_string(&sites.file).unwrap();
    content.push_str("tls-cert = \"b.pem\"\ntls-key = \"b.key\"\n");
    sites.authority.issue("b", &["b.example"]);
    fs::write(&sites.file, content).unwrap();
    let layout = layouts::sample().next().unwrap();
    let server = sites.serve(layout);
    let port = server.address.port();
    let mut curl = sites.authority.curl();
    curl.args(["--connect-to", &format!("b.example:{port}:{}", server.address)]);
    let output = run(curl.arg(format!("https://b.example:{port}/f")), &layout.to_string());
    assert_eq!(output.stdout, b"b");
}

#[test]
fn a_host_of_two_sites_is_a_fault() {
    let sites = Sites::new("");
    let mut content = fs::read_to_string(&sites.file).unwrap();
    content.push_str("[[site]]\nhosts = \"B.example\"\nroot = \"a\"\n");
    fs::write(&sites.file, content).unwrap();
    let output = Command::new(KAREZ).args(["check", text(&sites.file)]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains(":13: the host b.example belongs to another site, too"), "{printed}");
}
