//! OpenSSL's client against the example server.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod common;
#[allow(dead_code, unreachable_pub, reason = "the example has a main of its own")]
#[path = "../examples/tls_echo.rs"]
mod echo;

use common::*;
use karez_tls::{CertStore, Settings};
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;

/// The example's server, until the test ends.
fn server(settings: Settings) -> SocketAddr {
    let store = Arc::new(CertStore::load(settings).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                if let Err(error) = echo::serve(socket.unwrap(), &store) {
                    println!("server: {error}");
                }
            });
        }
    });
    address
}

struct Client {
    process: Child,
    input: ChildStdin,
    output: BufReader<PipeReader>,
    seen: String,
}

impl Client {
    /// None where there is no openssl.
    fn new(address: SocketAddr, ca: &Path, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address.to_string(), "-CAfile"]).arg(ca);
        command.args(["-servername", "server.example", "-verify_return_error"]).args(arguments);
        let (output, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::piped()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                println!("skipped: openssl: {error}");
                return None;
            }
        };
        let input = process.stdin.take().unwrap();
        Some(Self { process, input, output: BufReader::new(output), seen: String::new() })
    }

    /// Sends a line, which is a command if it begins with `K`, `k`, `Q` or `R`.
    fn line(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Reads until a line has this text.
    fn expect(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).unwrap();
            assert!(count > 0, "{text:?} was not said: {}", self.seen);
            self.seen.push_str(&line);
            if line.contains(text) {
                return;
            }
        }
    }

    fn echo(&mut self, line: &str) {
        self.line(line);
        self.expect(line);
    }

    /// Ends, and returns everything that was said and whether that was a success.
    fn quit(mut self) -> (String, bool) {
        // It may have ended by itself.
        let _ = writeln!(self.input, "Q");
        drop(self.input);
        self.output.read_to_string(&mut self.seen).unwrap();
        (self.seen, self.process.wait().unwrap().success())
    }
}

#[test]
fn every_suite_and_key_updates_are_understood() {
    let authority = Authority::new();
    let address = server(authority.settings());
    let cases = [
        ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
        ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
        ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    ];
    for case in cases {
        let Some(mut client) = Client::new(address, &authority.path("ca.pem"), &case) else {
            return;
        };
        client.echo("water");
        if case[0] == "-tls1_3" {
            // With the wish that the server does the same, and without it.
            for (command, text) in [("K", "still water"), ("k", "more water")] {
                client.line(command);
                client.expect("KEYUPDATE");
                client.echo(text);
            }
        }
        let long = "w".repeat(15_000);
        client.echo(&long);
        let (said, success) = client.quit();
        assert!(success && said.contains(&format!("Cipher is {}", case[2])), "{said}");
        assert!(said.contains("Verification: OK"), "{said}");
    }
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new();
    let address = server(authority.settings());
    let ticket = authority.path("ticket");
    let ticket = ticket.to_str().unwrap();
    for version in ["-tls1_3", "-tls1_2"] {
        for (option, state) in [("-sess_out", "New, TLSv1"), ("-sess_in", "Reused, TLSv1")] {
            let arguments = [version, option, ticket];
            let ca = authority.path("ca.pem");
            let Some(mut client) = Client::new(address, &ca, &arguments) else { return };
            client.echo("water");
            let (said, success) = client.quit();
            assert!(success && said.contains(state), "{said}");
        }
    }
}

#[test]
fn protocols_and_client_certificates_are_understood() {
    let authority = Authority::new();
    let mut settings = authority.settings();
    settings.protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    settings.client_ca = Some(authority.path("ca.pem"));
    let address = server(settings);
    let pair = authority.pair("client", &["client"]);
    let (certificate, key) = (pair.certificate.to_str().unwrap(), pair.key.to_str().unwrap());
    let ca = authority.path("ca.pem");
    for version in ["-tls1_3", "-tls1_2"] {
        let arguments = [version, "-alpn", "http/1.1", "-cert", certificate, "-key", key];
        let Some(mut client) = Client::new(address, &ca, &arguments) else { return };
        client.echo("water");
        let (said, success) = client.quit();
        assert!(success && said.contains("ALPN protocol: http/1.1"), "{said}");

        let without = Client::new(address, &ca, &[version]).unwrap();
        assert!(!without.quit().0.contains("water"), "no certificate");
    }
}

#[test]
fn renegotiation_is_refused() {
    let authority = Authority::new();
    let address = server(authority.settings());
    let Some(mut client) = Client::new(address, &authority.path("ca.pem"), &["-tls1_2"]) else {
        return;
    };
    client.echo("water");
    client.line("R");
    let (_, success) = client.quit();
    assert!(!success, "the server closes");
}

#[test]
fn plain_http_is_answered_in_plain() {
    let authority = Authority::new();
    let address = server(authority.settings());
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    // The rest of the request may make the close a reset.
    let _ = socket.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
