//! A certificate for development: made in memory, signed by itself.
//!
//! # Limitations
//!
//! No client trusts it, unless the user has it accepted by its fingerprint. The next start of the
//! process makes another.

use rcgen::{CertificateParams, KeyPair};
use ring::digest::{SHA256, digest};
use rustls_pki_types::PrivateKeyDer;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::certificate::{Pair, check};
use crate::config::Settings;
use crate::config_error::{ConfigError, Problem};
use crate::sni::Certificates;
use crate::store::CertStore;

/// How long it is valid, from an hour before it is made: a client's clock may be late.
const LIFETIME: Duration = Duration::from_secs(90 * 86_400);
const EARLIER: Duration = Duration::from_secs(3600);

impl CertStore {
    /// Makes a certificate for these names and addresses, and returns a store with it and its SHA-256
    /// fingerprint, as `openssl x509 -fingerprint -sha256` writes it. The settings' own certificates are
    /// not read.
    ///
    /// # Errors
    /// A name is none, or the settings cannot be used.
    pub fn self_signed(
        names: &[String],
        settings: Settings,
    ) -> Result<(Self, String), ConfigError> {
        let wrong = |error: rcgen::Error| {
            ConfigError::new(Path::new(""), Problem::BadCertificate(error.to_string()))
        };
        let no_name = |name: &&String| {
            name.parse::<IpAddr>().is_err()
                && rustls_pki_types::DnsName::try_from(name.as_str()).is_err()
        };
        if let Some(name) = names.iter().find(no_name) {
            let why = format!("{name:?} is not a DNS name or an address");
            return Err(ConfigError::new(Path::new(""), Problem::BadCertificate(why)));
        }
        let settings = Settings { pairs: Vec::new(), optional_pairs: Vec::new(), ..settings };
        let now = SystemTime::now();
        let mut parameters = CertificateParams::new(names).map_err(wrong)?;
        parameters.not_before = (now - EARLIER).into();
        parameters.not_after = (now + LIFETIME).into();
        let key = KeyPair::generate().map_err(wrong)?;
        let certificate = parameters.self_signed(&key).map_err(wrong)?;

        let fingerprint = fingerprint(certificate.der());
        let private = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|error| ConfigError::new(Path::new(""), Problem::BadKey(error.to_owned())))?;
        let pair = Pair { certificate: PathBuf::new(), key: PathBuf::new() };
        let chain = vec![certificate.der().clone()];
        let provider = settings.provider()?;
        let (certified, info) = check(chain, private, &pair, &provider, now)?;
        let mut certificates = Certificates::default();
        certificates.add(Arc::new(certified), info);
        Ok((Self::of_self_signed(settings, certificates)?, fingerprint))
    }
}

fn fingerprint(der: &[u8]) -> String {
    let mut text = String::new();
    for byte in digest(&SHA256, der).as_ref() {
        let colon = if text.is_empty() { "" } else { ":" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}
