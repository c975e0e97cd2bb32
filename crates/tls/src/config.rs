//! The settings of a TLS server, and the configuration of rustls that is made from them.
//!
//! # Limitations
//!
//! Revocation of client certificates is not checked. Without the feature `ring` the caller has to bring
//! a provider, and no tickets are issued.

use rustls::crypto::CryptoProvider;
use rustls::server::{
    ClientCertVerifierBuilder, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier,
};
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::certificate::{Pair, certificates};
use crate::config_error::{ConfigError, Problem};
use crate::sni::Certificates;

/// Configures a TLS server.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// Certificates and their keys. A client that asks for a name in none of them, or for no name,
    /// gets the first.
    pub pairs: Vec<Pair>,
    /// More certificates and keys, whose files may be missing or unusable, as before they are obtained
    /// by ACME. A pair that cannot be loaded is left out, or stays as it was before a reload. While there
    /// is no certificate at all, handshakes are refused by the alert `unrecognized_name`.
    pub optional_pairs: Vec<Pair>,
    /// The protocols (ALPN, RFC 7301), the preferred one first. A client that offers none of them is
    /// refused, unless it offers no protocol at all.
    pub protocols: Vec<Vec<u8>>,
    /// Client certificates have to be issued by one of the authorities in this file.
    pub client_ca: Option<PathBuf>,
    /// With a client CA: clients without a certificate are accepted, too.
    pub client_optional: bool,
    /// The cryptography of handshakes, if it is not to be ring's. Only the ciphers AES-GCM and
    /// ChaCha20-Poly1305 can be used.
    pub provider: Option<Arc<CryptoProvider>>,
}

impl Settings {
    /// Returns the provider to use.
    pub(crate) fn provider(&self) -> Result<Arc<CryptoProvider>, ConfigError> {
        if let Some(provider) = &self.provider {
            return Ok(Arc::clone(provider));
        }
        #[cfg(feature = "ring")]
        return Ok(Arc::new(rustls::crypto::ring::default_provider()));
        #[cfg(not(feature = "ring"))]
        Err(ConfigError::new(Path::new(""), Problem::NoProvider))
    }

    /// Builds the configuration of rustls.
    pub(crate) fn build(
        &self,
        certificates: Arc<Certificates>,
        tickets: Option<Arc<dyn ProducesTickets>>,
    ) -> Result<ServerConfig, ConfigError> {
        let general = |error: rustls::Error| {
            ConfigError::new(Path::new(""), Problem::Unsupported(error.to_string()))
        };
        let provider = self.provider()?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(general)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = client_verifier(path, provider)?;
                let verifier = match self.client_optional {
                    true => verifier.allow_unauthenticated(),
                    false => verifier,
                };
                let verifier = verifier.build().map_err(|error| {
                    ConfigError::new(path, Problem::BadCertificate(error.to_string()))
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(certificates);
        config.alpn_protocols.clone_from(&self.protocols);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.enable_secret_extraction = true;
        if let Some(tickets) = tickets {
            config.ticketer = tickets;
        }
        Ok(config)
    }
}

fn client_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<ClientCertVerifierBuilder, ConfigError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path)? {
        roots
            .add(authority)
            .map_err(|error| ConfigError::new(path, Problem::BadCertificate(error.to_string())))?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider))
}
