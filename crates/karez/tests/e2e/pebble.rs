//! Pebble, an ACME server for tests, with a DNS server of its own, on a loopback address of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use crate::environment;
use crate::https::{Authority, text};
use crate::programs::run;
use crate::timeouts::TEST_TIMEOUT;

const API: u16 = 14000;
const MANAGEMENT: u16 = 15000;
const DNS: u16 = 8053;
const DNS_MANAGEMENT: u16 = 8055;

/// An ACME server. Every name leads to its address.
pub struct Pebble {
    /// An address of 127.0.0.0/8 that no other test uses, so ports can be chosen freely.
    pub address: IpAddr,
    authority: Authority,
    settings: Vec<(&'static str, u64)>,
    variables: Vec<(&'static str, &'static str)>,
    children: Vec<Child>,
}

impl Pebble {
    /// The ports at which names are checked.
    pub const HTTP: u16 = 8080;
    pub const TLS: u16 = 8443;

    /// Returns a server that has not been started; `None`, with a line, where it is not installed.
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        for program in ["pebble", "pebble-challtestsrv", "curl", "openssl"] {
            if Command::new(program).arg("--help").output().is_err() {
                println!("skipped: no {program}");
                return None;
            }
        }
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let address =
            IpAddr::from([127, 64 + high % 128, low, NEXT.fetch_add(1, Ordering::Relaxed)]);
        let authority = Authority::new();
        authority.issue("pebble", &[&address.to_string()]);
        let settings = vec![("httpPort", Self::HTTP.into()), ("tlsPort", Self::TLS.into())];
        let variables = vec![("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0")];
        Some(Self { address, authority, settings, variables, children: Vec::new() })
    }

    /// Sets a number of the configuration.
    pub fn set(mut self, name: &'static str, value: u64) -> Self {
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value));
        self
    }

    /// Sets an environment variable.
    pub fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value));
        self
    }

    /// Starts it, and returns when it accepts requests.
    pub fn start(&mut self) {
        environment::normalize();
        let address = self.address;
        let mut dns = Command::new("pebble-challtestsrv");
        dns.args(["-dns01", &format!("{address}:{DNS}"), "-defaultIPv6", ""]);
        dns.args(["-management", &format!("{address}:{DNS_MANAGEMENT}")]);
        dns.args(["-defaultIPv4", &address.to_string()]);
        dns.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        self.spawn(dns, "Starting challenge servers");

        let numbers = self.settings.iter().map(|(name, value)| format!(r#", "{name}": {value}"#));
        let configuration = format!(
            r#"{{"pebble": {{"listenAddress": "{address}:{API}", "managementListenAddress": "{address}:{MANAGEMENT}",
            "certificate": "{}", "privateKey": "{}"{}}}}}"#,
            self.file("pebble.pem").display(),
            self.file("pebble.key").display(),
            numbers.collect::<String>(),
        );
        let file = self.file("pebble.json");
        fs::write(&file, configuration).unwrap();
        let mut pebble = Command::new("pebble");
        pebble.args(["-config", text(&file), "-dnsserver", &format!("{address}:{DNS}")]);
        pebble.envs(self.variables.iter().copied());
        self.spawn(pebble, "ACME directory available");
    }

    /// Starts a program, and waits for this text on its standard output or error.
    fn spawn(&mut self, mut command: Command, ready: &str) {
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        self.children.push(command.spawn().unwrap());
        drop(command);
        let mut output = BufReader::new(reader);
        let mut printed = String::new();
        while !printed.contains(ready) {
            let count = output.read_line(&mut printed).unwrap();
            assert!(count > 0, "it ended: {printed}");
        }
        // A full pipe would stop it.
        thread::spawn(move || output.read_to_end(&mut Vec::new()));
    }

    /// Stops it. Accounts and orders are lost.
    pub fn stop(&mut self) {
        for mut child in self.children.drain(..) {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }

    /// The authority of its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.authority.ca()
    }

    /// A file of the directory in which that certificate is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.authority.directory.path().join(name)
    }

    /// The state directory for karez.
    pub fn state(&self) -> PathBuf {
        self.file("state")
    }

    /// The flags with which karez uses it.
    pub fn flags(&self, names: &str) -> Vec<String> {
        let (state, ca, directory) = (self.state(), self.authority.ca(), self.directory());
        let flags = [
            "--acme",
            names,
            "--acme-directory",
            &directory,
            "--acme-ca",
            text(&ca),
            "--state",
            text(&state),
        ];
        flags.map(str::to_owned).to_vec()
    }

    pub fn directory(&self) -> String {
        format!("https://{}:{API}/dir", self.address)
    }

    pub fn socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Returns curl, which resolves this name to the server's address, and trusts what Pebble issues.
    pub fn curl(&self, name: &str) -> Command {
        let roots = self.file("roots.pem");
        let url = format!("https://{}:{MANAGEMENT}/roots/0", self.address);
        let fetched = run(self.authority.curl().arg(url), "Pebble's root");
        fs::File::create(&roots).unwrap().write_all(&fetched.stdout).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-q", "--silent", "--show-error", "--noproxy", "*"]);
        curl.args(["--max-time", &TEST_TIMEOUT.as_secs().to_string(), "--cacert", text(&roots)]);
        for port in [Self::HTTP, Self::TLS] {
            curl.args(["--resolve", &format!("{name}:{port}:{}", self.address)]);
        }
        curl
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}
