//! Certificates: the choice by name, client certificates, reload, and errors that name the file.

use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::https::{Authority, text, url};
use crate::layouts;
use crate::programs::{has, run};
use crate::server::{KAREZ, Server};

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "content of f\n").unwrap();
    root
}

/// Returns the common name of the certificate that a client gets for a name.
fn subject(server: &Server, name: &str) -> String {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect"]).arg(server.address.to_string());
    match name {
        "" => client.arg("-noservername"),
        name => client.args(["-servername", name]),
    };
    let output = client.stdin(std::process::Stdio::null()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = printed.lines().find(|line| line.starts_with("subject=")).unwrap_or_default();
    line.rsplit("CN = ").next().unwrap().to_owned()
}

#[test]
fn the_certificate_fits_the_name_that_the_client_asks_for() {
    if !has("openssl") {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let issued = [
        authority.issue("first", &["first.example", "localhost"]),
        authority.issue("second", &["second.example"]),
        authority.issue("wild", &["*.wild.example"]),
    ];
    let pairs = issued
        .iter()
        .flat_map(|(certificate, key)| ["--tls-cert", text(certificate), "--tls-key", text(key)]);
    let flags: Vec<_> = pairs.chain(["--log", "off"]).collect();
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &flags);
        for (name, expected) in [
            ("first.example", "first"),
            ("second.example", "second"),
            ("SECOND.example", "second"),
            ("a.wild.example", "wild"),
            ("a.b.wild.example", "first"),
            ("unknown.example", "first"),
            ("", "first"),
        ] {
            assert_eq!(subject(&server, name), expected, "{layout}: {name}");
        }
    }
}

#[test]
fn client_certificates_are_required_and_checked() {
    if !has("curl") {
        return;
    }
    let (authority, other, root) = (Authority::new(), Authority::new(), root());
    let (certificate, key) = authority.issue("client", &["client.example"]);
    let (stranger, stranger_key) = other.issue("client", &["client.example"]);
    let ca = authority.ca();
    for layout in layouts::sample() {
        let server = authority.serve(layout, root.path(), &["--tls-client-ca", text(&ca)]);
        for version in ["--tlsv1.3", "--tls-max=1.2"] {
            let version: Vec<_> = version.split('=').collect();
            let fetch = |pair: Option<(&str, &str)>| {
                let mut curl = authority.curl();
                curl.args(&version).arg(url(&server, "/f"));
                if let Some((certificate, key)) = pair {
                    curl.args(["--cert", certificate, "--key", key]);
                }
                curl.output().unwrap()
            };
            let known = fetch(Some((text(&certificate), text(&key))));
            assert_eq!(known.stdout, b"content of f\n", "{layout} {version:?}: {known:?}");
            for unknown in [None, Some((text(&stranger), text(&stranger_key)))] {
                let refused = fetch(unknown);
                let said = String::from_utf8_lossy(&refused.stderr).into_owned();
                assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
                assert!(said.contains("alert"), "{layout} {version:?}: {said}");
            }
        }
    }
}

#[test]
fn changed_files_and_sighup_replace_the_certificate_and_bad_ones_do_not() {
    if !has("openssl") {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let (certificate, key) = authority.issue("site", &["localhost"]);
    let copy = |from: &str| {
        let (new, new_key) = authority.issue(from, &["localhost"]);
        // By renaming, as tools for certificates do.
        fs::rename(&new, &certificate).unwrap();
        fs::rename(&new_key, &key).unwrap();
    };
    for layout in layouts::sample() {
        copy("before");
        let flags = ["--tls-cert", text(&certificate), "--tls-key", text(&key), "--log", "off"];
        let mut server = Server::start_with(layout, root.path(), &flags);
        assert_eq!(subject(&server, ""), "before", "{layout}");

        copy("renamed");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut server.stderr, &mut line).unwrap();
        assert_eq!(line, "karez: certificates loaded\n", "{layout}");
        assert_eq!(subject(&server, ""), "renamed", "{layout}");

        let good = fs::read(&certificate).unwrap();
        fs::write(&certificate, "no certificate\n").unwrap();
        line.clear();
        std::io::BufRead::read_line(&mut server.stderr, &mut line).unwrap();
        let expected = format!(
            "karez: the certificates stay as they were: {}: no certificate\n",
            certificate.display()
        );
        assert_eq!(line, expected, "{layout}");
        assert_eq!(subject(&server, ""), "renamed", "{layout}");

        fs::write(&certificate, good).unwrap();
        line.clear();
        std::io::BufRead::read_line(&mut server.stderr, &mut line).unwrap();
        assert_eq!(line, "karez: certificates loaded\n", "{layout}");
        server.signal(Signal::HUP);
        line.clear();
        std::io::BufRead::read_line(&mut server.stderr, &mut line).unwrap();
        assert_eq!(line, "karez: certificates loaded\n", "{layout}");
        assert!(!server.exits_within(Duration::from_millis(50)), "{layout}");
    }
}

#[test]
fn plain_listeners_redirect_to_https() {
    if !has("curl") {
        return;
    }
    let (authority, root) = (Authority::new(), root());
    let (certificate, key) = authority.issue("server", &["localhost", "127.0.0.1"]);
    for layout in layouts::all() {
        let mut command = Command::new(KAREZ);
        command.arg("serve").arg(root.path()).args(layout.flags()).args(["--log", "off"]);
        command.args(["--tls-cert", text(&certificate), "--tls-key", text(&key)]);
        command.args(["--listen", "http:127.0.0.1:0", "--listen", "https:127.0.0.1:0"]);
        let server = Server::spawn({
            command.arg("--redirect-https");
            command
        });
        let first = format!("http://{}/", server.address);
        let secure = server.first_line.split("https://").nth(1).unwrap();
        let secure = secure.split('/').next().unwrap();
        assert!(server.first_line.contains(&first), "{layout}: {}", server.first_line);
        let mut curl = authority.curl();
        curl.args(["--location", "--write-out", "%{num_redirects} %{url_effective}"]);
        let output = run(curl.arg(format!("{first}f?a=b")), &layout.to_string());
        let expected = format!("content of f\n1 https://{secure}/f?a=b");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{layout}");
        let answer = server.get("/f");
        assert_eq!(answer.status, 308, "{layout}");
    }
}

#[test]
fn errors_name_the_file_and_the_reason() {
    let (authority, root) = (Authority::new(), root());
    let (certificate, key) = authority.issue("one", &["localhost"]);
    let (_, other_key) = authority.issue("other", &["localhost"]);
    let nothing = authority.directory.path().join("nothing");
    let bad = authority.directory.path().join("bad.pem");
    fs::write(&bad, "no PEM").unwrap();
    let (certificate, key, other_key) = (text(&certificate), text(&key), text(&other_key));
    let (nothing, bad) = (text(&nothing), text(&bad));
    for (flags, status, words) in [
        (&["--tls-cert", nothing, "--tls-key", key][..], 1, &[nothing, "No such file"][..]),
        (&["--tls-cert", bad, "--tls-key", key], 1, &[bad, "no certificate"]),
        (&["--tls-cert", certificate, "--tls-key", bad], 1, &[bad, "no private key"]),
        (&["--tls-cert", certificate, "--tls-key", other_key], 1, &[other_key, certificate]),
        (&["--tls-self-signed", "--tls-client-ca", bad], 1, &[bad]),
        (&["--tls-cert", certificate], 2, &["--tls-key"]),
        (&["--tls-key", key], 2, &["--tls-cert"]),
        (
            &["--tls-cert", certificate, "--tls-cert", certificate, "--tls-key", key],
            2,
            &["2 --tls-cert but 1 --tls-key"],
        ),
        (&["--listen", "https:127.0.0.1:0"], 2, &["--tls-self-signed"]),
        (&["--redirect-https"], 2, &["--redirect-https"]),
        (&["--tls-self-signed", "--redirect-https"], 2, &["http:ADDR"]),
        (&["--tls-client-ca", certificate], 2, &["--tls-client-ca"]),
    ] {
        let mut command = Command::new(KAREZ);
        command.arg("serve").arg(root.path()).args(flags);
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{flags:?}: {said}");
    }
}

#[test]
fn a_certificate_can_be_made_at_the_start() {
    if !has("openssl") {
        return;
    }
    let root = root();
    let layout = layouts::sample().next().unwrap();
    let flags = ["--tls-self-signed", "--log", "json"];
    let mut server = Server::start_with(layout, root.path(), &flags);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut server.stderr, &mut line).unwrap();
    let printed = line.trim().rsplit(' ').next().unwrap();
    let script = format!(
        "openssl s_client -connect {} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
        server.address
    );
    let output = run(Command::new("sh").args(["-c", &script]), "openssl");
    let found = String::from_utf8(output.stdout).unwrap();
    assert_eq!(found.trim().rsplit('=').next().unwrap(), printed);
}

#[test]
fn memory_that_may_hold_keys_is_in_no_core_dump() {
    let authority = Authority::new();
    let root = tempfile::tempdir().unwrap();
    let layout = layouts::sample().next().unwrap();
    let server = authority.serve(layout, root.path(), &[]);
    let filter = fs::read_to_string(format!("/proc/{}/coredump_filter", server.pid())).unwrap();
    // core(5): bit 0 is private anonymous memory, heap and stacks; bit 1 shared anonymous memory.
    let filter = u32::from_str_radix(filter.trim(), 16).unwrap();
    assert_eq!(filter & 0b11, 0, "{filter:#x}");
}
