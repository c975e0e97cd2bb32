//! Certificates from an ACME server: Pebble, which checks names as Let's Encrypt does.

use rustix::process::Signal;
use std::fs;
use std::io::BufRead as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::environment;
use crate::https::{Authority, python, text};
use crate::pebble::Pebble;
use crate::programs::run;
use crate::server::{KAREZ, Server};

pub fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "content of f\n").unwrap();
    root
}

/// Starts a server with these listeners and flags.
pub fn serve(pebble: &Pebble, root: &Path, listen: &[&str], flags: &[String]) -> Server {
    let mut command = Command::new(KAREZ);
    command.arg("serve").arg(root).args(["--log", "off"]).args(flags);
    for scheme in listen {
        let port = if *scheme == "http" { Pebble::HTTP } else { Pebble::TLS };
        command.arg(format!("--listen={scheme}:{}", pebble.socket(port)));
    }
    for proxy in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    Server::spawn(command)
}

/// Returns the next line on standard error.
pub fn line(server: &mut Server) -> String {
    let mut line = String::new();
    server.stderr.read_line(&mut line).unwrap();
    line
}

/// Reads lines up to one with these words, and returns it.
pub fn line_with(server: &mut Server, words: &str) -> String {
    loop {
        let line = line(server);
        assert!(!line.is_empty(), "the server ended before: {words}");
        if line.contains(words) {
            return line;
        }
    }
}

/// Returns what `openssl s_client` prints when it asks for a name.
fn handshake(pebble: &Pebble, name: &str) -> String {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &pebble.socket(Pebble::TLS).to_string()]);
    let output = client.args(["-servername", name]).stdin(Stdio::null()).output().unwrap();
    [output.stdout, output.stderr]
        .map(|printed| String::from_utf8_lossy(&printed).into_owned())
        .concat()
}

/// Returns the certificate that the server presents for a name.
pub fn certificate(pebble: &Pebble, name: &str) -> String {
    let printed = handshake(pebble, name);
    let (_, rest) = printed.split_once("BEGIN CERTIFICATE").unwrap_or_else(|| panic!("{printed}"));
    rest.split("END CERTIFICATE").next().unwrap().to_owned()
}

fn expect_file(pebble: &Pebble, name: &str) {
    let url = format!("https://{name}:{}/f", Pebble::TLS);
    let output = run(pebble.curl(name).arg(url), name);
    assert_eq!(output.stdout, b"content of f\n", "{name}");
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Expects that only the owner can read what is below a directory. Returns its files.
fn files_of_the_owner(directory: &Path) -> Vec<String> {
    assert_eq!(mode(directory), 0o700, "{}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_of_the_owner(&entry.path()));
        } else {
            assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found.sort();
    found
}

#[test]
fn certificates_are_obtained_by_tls_alpn_01_and_used_after_a_restart() {
    // A server that rejects some nonces has the client repeat requests (RFC 8555 §6.5).
    let Some(pebble) = Pebble::new() else { return };
    let mut pebble = pebble.variable("PEBBLE_WFE_NONCEREJECT", "15");
    let root = root();
    let mut flags = pebble.flags("a.example,B.example");
    flags.push("--acme-contact=ops@a.example".to_owned());
    let mut server = serve(&pebble, root.path(), &["https"], &flags);
    // The ACME server does not answer yet: handshakes are refused, with the right alert.
    let error = line_with(&mut server, "acme: a.example: ");
    assert!(error.contains(&pebble.directory()) && error.contains("next attempt in 2s"), "{error}");
    let refused = handshake(&pebble, "a.example");
    assert!(refused.contains("alert number 112"), "{refused}");
    pebble.start();
    server.signal(Signal::HUP);
    let mut names = [0; 2].map(|_| {
        let line = line_with(&mut server, "certificate in use, valid until ");
        line.split(": ").nth(2).unwrap().to_owned()
    });
    names.sort();
    assert_eq!(names, ["a.example", "b.example"]);
    for name in &names {
        expect_file(&pebble, name);
    }
    let kept = "renewal.json";
    let files = ["account.json", "lock", "pair.pem", "pair.pem", kept, kept];
    assert_eq!(files_of_the_owner(&pebble.state()), files);
    let first = certificate(&pebble, "a.example");
    assert_ne!(first, certificate(&pebble, "b.example"), "each name has its own");

    // After a restart no request is necessary, and none is made.
    drop(server);
    pebble.stop();
    let mut server = serve(&pebble, root.path(), &["https"], &flags);
    assert_eq!(certificate(&pebble, "a.example"), first);
    server.signal(Signal::HUP);
    assert_eq!(line(&mut server), "karez: certificates loaded\n");
    server.signal(Signal::TERM);
    let (status, printed) = server.wait();
    assert!(status.success() && printed.is_empty(), "{printed}");
}

#[test]
fn certificates_are_obtained_by_http_01_and_renewed() {
    let Some(pebble) = Pebble::new() else { return };
    let mut pebble = pebble.set("certificateValidityPeriod", 4);
    pebble.start();
    let root = root();
    let challenge = root.path().join(".well-known/acme-challenge");
    fs::create_dir_all(&challenge).unwrap();
    fs::write(challenge.join("token"), "of another client\n").unwrap();
    let mut flags = pebble.flags("c.example");
    flags.extend(["--redirect-https", "--acme-challenge=http-01"].map(str::to_owned));
    let mut server = serve(&pebble, root.path(), &["http", "https"], &flags);
    let first = line_with(&mut server, "certificate in use");
    let second = line_with(&mut server, "certificate in use");
    assert!(first < second, "valid for longer: {first}{second}");

    // A server that has lost its accounts, as one for tests does, gets a new one.
    let account = |pebble: &Pebble| {
        let found = fs::read_dir(pebble.state().join("acme")).unwrap().next().unwrap().unwrap();
        fs::read_to_string(found.path().join("account.json")).unwrap()
    };
    let before = account(&pebble);
    pebble.stop();
    pebble.start();
    let third = line_with(&mut server, "certificate in use");
    assert!(second < third && before != account(&pebble), "{third}");

    // The other names below the directory are redirected, or files, as without ACME.
    let plain = format!("http://c.example:{}/.well-known/acme-challenge/token", Pebble::HTTP);
    let mut curl = pebble.curl("c.example");
    let output =
        run(curl.args(["--write-out", "%{http_code}", "--output", "/dev/null", &plain]), "");
    assert_eq!(output.stdout, b"308");
    let mut curl = pebble.curl("c.example");
    let secure = format!("https://c.example:{}/.well-known/acme-challenge/token", Pebble::TLS);
    assert_eq!(run(curl.arg(secure).arg("--insecure"), "").stdout, b"of another client\n");
}

#[test]
fn a_failed_challenge_is_explained_and_another_one_is_tried() {
    let Some(pebble) = Pebble::new() else { return };
    // Names are checked at a port of the test, so that the challenge stays pending.
    let mut pebble = pebble.set("tlsPort", 8444);
    let checked = TcpListener::bind(pebble.socket(8444)).unwrap();
    pebble.start();
    let (root, authority) = (root(), Authority::new());
    let mut flags = pebble.flags("d.example");
    flags.extend(["--tls-client-ca".to_owned(), text(&authority.ca()).to_owned()]);
    let mut server = serve(&pebble, root.path(), &["http", "https"], &flags);
    let (connection, _) = checked.accept().unwrap();
    // A client without a certificate gets the certificate of the challenge, and no data.
    let script = r#"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["acme-tls/1"])
plain = socket.create_connection((sys.argv[1], 8443))
with context.wrap_socket(plain, server_hostname="d.example") as client:
    certificate = client.getpeercert(True)
    print(client.selected_alpn_protocol(), bytes.fromhex("06082b0601050507011f0101ff04220420") in certificate)
    try:
        client.sendall(b"GET /f HTTP/1.1\r\nHost: d.example\r\n\r\n")
        print(client.recv(1000))
    except OSError:
        print(b"")
"#;
    let address = pebble.address.to_string();
    assert_eq!(python(script, &[address.as_ref()], ""), "acme-tls/1 True\nb''\n");
    drop((connection, checked));
    let failed = line_with(&mut server, "acme: d.example: ");
    assert!(failed.contains("the challenge tls-alpn-01 failed: API error: "), "{failed}");
    assert!(failed.contains("urn:ietf:params:acme:error:"), "{failed}");
    assert!(failed.trim_end().ends_with("next attempt by http-01"), "{failed}");
    line_with(&mut server, "certificate in use");
    let printed = handshake(&pebble, "d.example");
    assert!(printed.contains("Pebble Intermediate CA"), "{printed}");
}

#[test]
fn errors_name_the_url_and_the_name() {
    let Some(mut pebble) = Pebble::new() else { return };
    pebble.start();
    let root = root();
    let mut flags = pebble.flags("e.example");
    let wrong = pebble.directory().replace("/dir", "/nonesuch");
    flags
        .iter_mut()
        .filter(|flag| **flag == pebble.directory())
        .for_each(|flag| flag.clone_from(&wrong));
    let mut server = serve(&pebble, root.path(), &["https"], &flags);
    let error = line(&mut server);
    let expected =
        format!("karez: acme: e.example: {wrong}: status 404 Not Found; next attempt in ");
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn invalid_acme_arguments_are_rejected() {
    environment::normalize();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let (state, file) = (text(directory.path()), text(&file));
    for (flags, status, words) in [
        (&["--acme", "a.example"][..], 2, &["--state"][..]),
        (&["--acme", "*.a.example", "--state", state], 2, &["*.a.example", "dns-01"]),
        (&["--acme", "192.0.2.1", "--state", state], 2, &["192.0.2.1", "IP address"]),
        (&["--acme", "bücher.example", "--state", state], 2, &["xn--"]),
        (&["--acme", "a b", "--state", state], 2, &["not a DNS name"]),
        (&["--acme", "a.example", "--state", file], 1, &["--acme", "mkdir", file, "os error 20"]),
        (
            &["--acme", "a.example", "--state", state, "--acme-directory", "http://ca.example/"],
            2,
            &["https://"],
        ),
        (
            &["--acme", "a.example", "--state", state, "--acme-ca", file],
            1,
            &[file, "no certificate"],
        ),
        (&["--acme", "a.example", "--state", state, "--acme-contact", "x"], 2, &["mail address"]),
        (
            &["--acme", "a.example", "--state", state, "--tls-self-signed"],
            2,
            &["--tls-self-signed"],
        ),
        (&["--acme-contact", "x@a.example"], 2, &["--acme"]),
    ] {
        let mut command = Command::new(KAREZ);
        command.arg("serve").args(flags).args(["--listen", "127.0.0.1:0"]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{flags:?}: {said}");
    }
}
