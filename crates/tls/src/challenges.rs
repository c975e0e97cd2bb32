//! Answers for the challenges of an ACME server, by which it checks who controls a name: HTTP-01 (RFC 8555
//! §8.3) and TLS-ALPN-01 (RFC 8737).
//!
//! A client of ACME adds an answer, asks the server to check it, and drops it. Meanwhile the HTTP server
//! looks tokens up here, and a [`Handshake`](crate::Handshake) with this
//! [configuration](Challenges::config) presents the certificate of the challenge to a client that offers
//! the protocol `acme-tls/1` alone. All other handshakes are as without a challenge.
//!
//! # Limitations
//!
//! A ClientHello in several records is not recognized as a check; ACME servers send one.

use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::config_error::{ConfigError, Problem};

/// The protocol (ALPN) of a check by TLS-ALPN-01. A connection that has negotiated it carries no data and
/// has to be closed after the handshake: no client certificate was asked for.
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Holds the answers of the challenges that are pending.
pub struct Challenges {
    provider: Arc<CryptoProvider>,
    pending: RwLock<Pending>,
}

#[derive(Default)]
struct Pending {
    /// Key authorizations by token.
    tokens: HashMap<String, Arc<str>>,
    /// Certificates by name.
    certificates: HashMap<String, Arc<CertifiedKey>>,
    /// For checks of these certificates, if there are any.
    config: Option<Arc<ServerConfig>>,
}

/// An answer. It is given until this value is dropped.
#[derive(Debug)]
#[must_use = "a dropped answer is not given any more"]
pub struct Answer {
    challenges: Arc<Challenges>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Token(String),
    Certificate(String),
}

impl Challenges {
    /// Returns a holder without answers, for handshakes with this cryptography.
    #[must_use]
    pub fn new(provider: Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self { provider, pending: RwLock::default() })
    }

    /// Answers a request for `/.well-known/acme-challenge/TOKEN` by this key authorization (HTTP-01).
    pub fn answer_http(self: &Arc<Self>, token: &str, key_authorization: &str) -> Answer {
        self.write().tokens.insert(token.to_owned(), Arc::from(key_authorization));
        Answer { challenges: Arc::clone(self), kind: Kind::Token(token.to_owned()) }
    }

    /// Answers checks of this DNS name by a certificate (TLS-ALPN-01): one that has the extension
    /// `acmeIdentifier`.
    ///
    /// # Errors
    /// The key or the certificate cannot be used.
    pub fn answer_tls_alpn(
        self: &Arc<Self>,
        name: &str,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Answer, ConfigError> {
        let wrong = |error: rustls::Error| {
            ConfigError::new(Path::new(""), Problem::BadKey(error.to_string()))
        };
        let key = self.provider.key_provider.load_private_key(key).map_err(wrong)?;
        let certified = Arc::new(CertifiedKey::new(vec![certificate], key));
        let name = name.to_ascii_lowercase();
        let mut pending = self.write();
        pending.certificates.insert(name.clone(), certified);
        pending.config = self.build(&pending.certificates).map_err(wrong)?;
        Ok(Answer { challenges: Arc::clone(self), kind: Kind::Certificate(name) })
    }

    /// Returns the key authorization that answers a token, if one is pending.
    #[must_use]
    pub fn key_authorization(&self, token: &str) -> Option<Arc<str>> {
        self.read().tokens.get(token).cloned()
    }

    /// Returns the configuration for checks by TLS-ALPN-01, while one is pending.
    #[must_use]
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.read().config.clone()
    }

    fn build(
        &self,
        certificates: &HashMap<String, Arc<CertifiedKey>>,
    ) -> Result<Option<Arc<ServerConfig>>, rustls::Error> {
        if certificates.is_empty() {
            return Ok(None);
        }
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByName(certificates.clone())));
        config.alpn_protocols = vec![ACME_PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.enable_secret_extraction = true;
        Ok(Some(Arc::new(config)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Pending> {
        self.pending.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Pending> {
        self.pending.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut pending = self.challenges.write();
        match &self.kind {
            Kind::Token(token) => {
                pending.tokens.remove(token);
            }
            Kind::Certificate(name) => {
                pending.certificates.remove(name);
                // The same was built before.
                pending.config = self.challenges.build(&pending.certificates).unwrap_or(None);
            }
        }
    }
}

/// Returns whether a ClientHello, in its record, offers the protocol of a check and no other.
pub(crate) fn is_check(record: &[u8]) -> bool {
    let mut acceptor = Acceptor::default();
    if acceptor.read_tls(&mut &*record).is_err() {
        return false;
    }
    let Ok(Some(accepted)) = acceptor.accept() else { return false };
    let offered = accepted.client_hello().alpn();
    offered.is_some_and(|mut offered| {
        offered.next() == Some(ACME_PROTOCOL) && offered.next().is_none()
    })
}

/// The certificates of challenges, for the names that they are for and no other.
#[derive(Debug)]
struct ByName(HashMap<String, Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get(&hello.server_name()?.to_ascii_lowercase()).cloned()
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither key authorizations nor keys.
        let pending = self.read();
        f.debug_struct("Challenges")
            .field("http", &pending.tokens.len())
            .field("tls_alpn", &pending.certificates.keys())
            .finish()
    }
}
