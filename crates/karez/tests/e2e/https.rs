//! What tests of HTTPS share: certificates made for the test, a server with them, and commands.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::layouts::Layout;
use crate::programs::run;
use crate::server::{KAREZ, Server};
use crate::socket::Socket;

/// An authority, and a directory for the files that it issues.
pub struct Authority {
    pub directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name = named("authority of a test");
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        let authority = Self {
            directory,
            issuer: Issuer::new(parameters, key),
            root: certificate.der().clone(),
        };
        authority.issue("server", &["localhost", "127.0.0.1"]);
        authority
    }

    /// The certificate of the authority.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Issues a certificate for these names, and writes NAME.pem and NAME.key.
    pub fn issue(&self, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name = named(file);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let paths = ["pem", "key"].map(|kind| self.directory.path().join(format!("{file}.{kind}")));
        fs::write(&paths[0], certificate.pem()).unwrap();
        fs::write(&paths[1], key.serialize_pem()).unwrap();
        let [certificate, key] = paths;
        (certificate, key)
    }

    /// Returns the flags of a server with a certificate for localhost and 127.0.0.1, and no access log.
    pub fn flags(&self) -> [String; 6] {
        let [certificate, key] = ["server.pem", "server.key"]
            .map(|name| text(&self.directory.path().join(name)).to_owned());
        let [log, off] = ["--log", "off"].map(str::to_owned);
        ["--tls-cert".to_owned(), certificate, "--tls-key".to_owned(), key, log, off]
    }

    /// Starts a server with a certificate for localhost and 127.0.0.1.
    pub fn serve(&self, layout: Layout, root: &Path, flags: &[&str]) -> Server {
        let own = self.flags();
        let own = own.iter().map(String::as_str);
        let flags: Vec<_> = own.chain(flags.iter().copied()).collect();
        Server::start_with(layout, root, &flags)
    }

    /// Starts a server with a plain listener and one for HTTPS. Returns the address of that, too.
    pub fn serve_both(&self, layout: Layout, root: &Path, flags: &[&str]) -> (Server, SocketAddr) {
        self.spawn_both(layout, root, flags, &[])
    }

    /// Like [`Self::serve_both`], with variables in the environment.
    pub fn spawn_both(
        &self,
        layout: Layout,
        root: &Path,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> (Server, SocketAddr) {
        let [certificate, key] =
            ["server.pem", "server.key"].map(|name| self.directory.path().join(name));
        let mut command = Command::new(KAREZ);
        command.arg("serve").arg(root).args(layout.flags()).args(flags);
        command.args(["--tls-cert", text(&certificate), "--tls-key", text(&key)]);
        command.args(["--listen", "http:127.0.0.1:0", "--listen", "https:127.0.0.1:0"]);
        command.envs(environment.iter().copied());
        let server = Server::spawn(command);
        let secure = server.first_line.split("https://").nth(1).unwrap();
        let secure = secure.split('/').next().unwrap().parse().unwrap();
        (server, secure)
    }

    /// Returns the configuration of a client that trusts this authority and offers these protocols.
    pub fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Connects to a server by TLS 1.3 with these protocols.
    pub fn connect(&self, server: &Server, protocols: &[&str]) -> Socket {
        let config = self.client(&[&rustls::version::TLS13], protocols);
        Socket::connect_secure(server.address, config).unwrap()
    }

    /// Returns curl, which trusts this authority alone.
    pub fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60"]);
        curl.arg("--cacert").arg(self.ca());
        curl
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn url(server: &Server, target: &str) -> String {
    format!("https://{}{target}", server.address)
}

/// Runs a Python script with these arguments; its standard output is returned.
pub fn python(script: &str, arguments: &[&OsStr], context: &str) -> String {
    let output = run(Command::new("python3").arg("-c").arg(script).args(arguments), context);
    String::from_utf8(output.stdout).unwrap()
}

/// Starts `openssl s_client` with these flags. Its standard input stays open until it is waited for.
pub fn s_client(server: &Server, flags: &[&str]) -> Child {
    let mut client = Command::new("timeout");
    client.args(["30", "openssl", "s_client", "-connect"]).arg(server.address.to_string());
    client.args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    client.spawn().unwrap()
}

/// Writes input to a client, with a pause behind each piece, and returns everything that it prints
/// until it ends. Only the server can end it: standard input stays open.
pub fn converse(mut client: Child, input: &[&str]) -> String {
    let mut stdin = client.stdin.take().unwrap();
    for piece in input {
        // It may have ended already.
        let _ended = stdin.write_all(piece.as_bytes());
        thread::sleep(Duration::from_millis(300));
    }
    let output = client.wait_with_output().unwrap();
    drop(stdin);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
