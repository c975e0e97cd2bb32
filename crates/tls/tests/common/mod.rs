//! Certificates, a client in memory and a server in memory.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

pub mod exposed;
pub mod trusting;

use karez_tls::{
    CertStore, ConnectionInfo, Handshake, Incoming, Opener, Pair, Progress, Reading, Sealer,
    Session, Settings, TlsError,
};
use karez_transfer::{Chunk, Outbox, Via};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// An authority, and a folder for its certificates.
pub struct Authority {
    pub issuer: CertifiedIssuer<'static, KeyPair>,
    pub folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Issues a certificate, and returns it and its key.
    pub fn issue(
        &self,
        names: &[&str],
        algorithm: &'static rcgen::SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        // Another subject than the authority's, or OpenSSL takes it for self-signed.
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
        change(&mut parameters);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Issues an ECDSA certificate to files that begin with `file`.
    pub fn pair(&self, file: &str, names: &[&str]) -> Pair {
        let (certificate, key) = self.issue(names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| {});
        let certificate = self.write(&format!("{file}.pem"), certificate);
        Pair { certificate, key: self.write(&format!("{file}.key"), key) }
    }

    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.pairs = vec![self.pair("server", &["server.example"])];
        settings
    }

    pub fn store(&self) -> CertStore {
        CertStore::load(self.settings()).unwrap()
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// A client that offers all that ring can do, without a certificate of its own.
    pub fn client(&self) -> ClientConfig {
        self.client_with(ring::default_provider())
    }

    pub fn client_with(&self, provider: CryptoProvider) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        config
    }

    /// A client with one cipher suite, and so one version.
    pub fn client_of_suite(&self, suite: SupportedCipherSuite) -> ClientConfig {
        let provider = CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[suite.version()])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        config
    }

    /// A client with a certificate of `issuer`.
    pub fn client_with_certificate(&self, issuer: &Self) -> ClientConfig {
        let (certificate, key) = issuer.issue(&["client"], &rcgen::PKCS_ECDSA_P256_SHA256, |it| {
            it.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        });
        use rustls_pki_types::pem::PemObject as _;
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain, key)
            .unwrap()
    }
}

/// The suites that can be negotiated with an ECDSA certificate.
pub fn suites() -> Vec<SupportedCipherSuite> {
    use ring::cipher_suite::*;
    vec![
        TLS13_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
}

pub fn connect(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// Returns the bytes that the client has to send.
pub fn outgoing(client: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    wire
}

/// Gives bytes to the client, and returns the plaintext that it has then.
pub fn incoming(client: &mut ClientConnection, mut wire: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    while !wire.is_empty() {
        client.read_tls(&mut wire).unwrap();
        client.process_new_packets()?;
        read_plain(client, &mut plain);
    }
    Ok(plain)
}

fn read_plain(client: &mut ClientConnection, plain: &mut Vec<u8>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = client.reader().read(&mut buffer) {
        plain.extend_from_slice(&buffer[..count]);
    }
}

/// Writes plaintext and returns its records. The client's buffer is bounded, so it is done in pieces.
pub fn seal(client: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in plain.chunks(16 << 10) {
        client.writer().write_all(piece).unwrap();
        wire.extend(outgoing(client));
    }
    wire
}

/// A connection of the server, in user space.
pub struct Server {
    pub info: ConnectionInfo,
    pub session: Session,
    pub outbox: Outbox,
    pub opener: Opener,
}

impl Server {
    pub fn new(handshake: Handshake) -> Self {
        let established = handshake.finish().unwrap();
        assert_eq!(established.unread, []);
        let mut outbox = Outbox::new();
        let sealer = Sealer::new(established.tx, &established.session).unwrap();
        outbox.push_seal(Box::new(sealer));
        let opener = Opener::new(established.rx).unwrap();
        Self { info: established.info, session: established.session, outbox, opener }
    }

    /// Opens received bytes, and returns the plaintext and whether the client has ended.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(Vec<u8>, bool), TlsError> {
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        let (mut plain, mut closed) = (Vec::new(), false);
        while let Some(next) = self.opener.next(&mut input, &mut self.session)? {
            match next {
                Incoming::Data(data) => plain.extend_from_slice(data),
                _ => closed = true,
            }
        }
        Ok((plain, closed))
    }

    /// Appends bytes as a task does, and returns the bytes that are sent.
    pub fn send(&mut self, plain: &[u8]) -> Vec<u8> {
        self.session.update_keys(&mut self.outbox);
        self.outbox.push_bytes(plain.to_vec());
        drain(&mut self.outbox)
    }
}

/// Plays a backend that sends everything at once.
pub fn drain(outbox: &mut Outbox) -> Vec<u8> {
    let mut wire = Vec::new();
    loop {
        match outbox.next_chunk(|_| true) {
            Chunk::Empty => return wire,
            Chunk::Memory { .. } => {
                wire.extend_from_slice(outbox.memory());
                let count = outbox.memory().len();
                outbox.complete(count);
            }
            Chunk::Gather => {
                let mut gather = outbox.gather(Vec::new(), 64 << 10);
                assert!(outbox.gather_next(&mut gather, |_| Via::Copy).is_none(), "memory only");
                outbox.seal(&mut gather).unwrap();
            }
            Chunk::File { .. } | Chunk::Record | Chunk::Switch => panic!("memory only"),
        }
    }
}

/// Shakes hands, everything at once.
pub fn handshake(
    config: Arc<ServerConfig>,
    client: &mut ClientConnection,
) -> Result<Handshake, TlsError> {
    let mut handshake = Handshake::new(config, Reading::Beyond);
    for _ in 0..4 {
        let wire = outgoing(client);
        let progress = handshake.receive(&wire);
        // Errors of the client are not tested here.
        let _ = incoming(client, &handshake.take_output());
        if progress? == Progress::Done {
            return Ok(handshake);
        }
    }
    panic!("the handshake does not end");
}

/// A connection from end to end.
pub fn established(
    config: Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> (Server, ClientConnection) {
    let mut client = connect(client, name);
    let server = Server::new(handshake(config, &mut client).unwrap());
    assert!(!client.is_handshaking());
    (server, client)
}

/// Takes TLS records apart and makes new ones of the same type, with at most `most` bytes each.
pub fn fragmented(wire: &[u8], most: usize) -> Vec<u8> {
    let mut fragments = Vec::new();
    let mut rest = wire;
    while let [kind, major, minor, high, low, body @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        for piece in body[..length].chunks(most) {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            fragments.extend([*kind, *major, *minor, length[0], length[1]]);
            fragments.extend_from_slice(piece);
        }
        rest = &body[length..];
    }
    fragments
}

/// The alert in a record that is not encrypted.
pub fn plain_alert(wire: &[u8]) -> Option<u8> {
    match wire {
        [21, 3, _, 0, 2, 2, description] => Some(*description),
        _ => None,
    }
}

/// A connection by one of the [`suites`].
pub fn pair(suite: usize) -> (Server, ClientConnection) {
    let authority = Authority::new();
    let client = Arc::new(authority.client_of_suite(suites()[suite]));
    established(authority.store().config(), &client, "server.example")
}

/// The lengths of records, without their headers.
pub fn record_lengths(mut wire: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length);
        wire = &rest[length..];
    }
    lengths
}
