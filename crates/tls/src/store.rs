//! The certificates in use, which can be replaced while the server runs.
//!
//! Each handshake takes the [configuration](CertStore::config) of its first moment and keeps it, so a
//! reload disturbs none. A reload that meets an error changes nothing.
//!
//! # Limitations
//!
//! Files are read where [`CertStore::load`] and [`CertStore::reload`] are called, which may block. A
//! key that only a privileged user can read cannot be reloaded after the privileges are dropped.

use rustls::ServerConfig;
use rustls::server::ProducesTickets;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use crate::certificate::CertificateInfo;
use crate::config::Settings;
use crate::config_error::{ConfigError, Problem};
use crate::sni::Certificates;

/// The CPU time of a signature and its key exchange; with RSA for a key of 2048 bits.
const ECDSA: Duration = Duration::from_micros(100);
const RSA: Duration = Duration::from_micros(800);

/// Holds the certificates of a server.
pub struct CertStore {
    settings: Settings,
    current: RwLock<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    /// Kept over reloads, so that clients can resume.
    tickets: Option<Arc<dyn ProducesTickets>>,
}

impl CertStore {
    /// Reads and checks everything that the settings name.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn load(settings: Settings) -> Result<Self, ConfigError> {
        let current = Current::load(&settings, None, None)?;
        Ok(Self { settings, current: RwLock::new(current) })
    }

    /// Returns a store with a certificate that was made in memory.
    #[cfg(feature = "self-signed")]
    pub(crate) fn of_self_signed(
        settings: Settings,
        certificates: Certificates,
    ) -> Result<Self, ConfigError> {
        let current = Current::build(&settings, certificates, None)?;
        Ok(Self { settings, current: RwLock::new(current) })
    }

    /// Reads everything again. Handshakes that begin later use it; earlier tickets stay valid,
    /// unless client certificates are asked for: the authorities may have changed. Without
    /// files, as for a self-signed certificate, nothing changes.
    ///
    /// # Errors
    /// As [`load`](Self::load). All certificates stay as they were.
    pub fn reload(&self) -> Result<(), ConfigError> {
        if self.settings.pairs.is_empty() && self.settings.optional_pairs.is_empty() {
            return Ok(());
        }
        let keeps = self.settings.client_ca.is_none();
        let tickets = self.read().tickets.clone().filter(|_| keeps);
        let earlier = Arc::clone(&self.read().certificates);
        let current = Current::load(&self.settings, tickets, Some(&earlier))?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// Returns the configuration for a handshake that begins now.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.read().config)
    }

    /// Returns how much CPU time the step of a handshake takes that [signs](crate::Handshake::will_sign), in the order of
    /// magnitude: 0.1 ms, or 0.8 ms if one of the keys is for RSA.
    #[must_use]
    pub fn signing_time(&self) -> Duration {
        if self.read().certificates.have_rsa() { RSA } else { ECDSA }
    }

    /// Returns the certificates in use, in the order of the settings.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        self.read().certificates.infos().to_vec()
    }

    /// Returns the files that were read, to be watched for changes; not those of
    /// [optional pairs](Settings::optional_pairs), whose owner calls [`reload`](Self::reload).
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.settings.pairs.iter();
        let files = pairs.flat_map(|pair| [&pair.certificate, &pair.key]);
        files.chain(&self.settings.client_ca).map(PathBuf::as_path)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn load(
        settings: &Settings,
        tickets: Option<Arc<dyn ProducesTickets>>,
        earlier: Option<&Certificates>,
    ) -> Result<Self, ConfigError> {
        let provider = settings.provider()?;
        let now = SystemTime::now();
        let mut certificates = Certificates::default();
        for pair in &settings.pairs {
            let (certified, info) = pair.load(&provider, now)?;
            certificates.add(Arc::new(certified), info);
        }
        for pair in &settings.optional_pairs {
            match pair.load(&provider, now) {
                Ok((certified, info)) => certificates.add(Arc::new(certified), info),
                Err(_) => certificates.keep(earlier, &pair.certificate),
            }
        }
        Self::build(settings, certificates, tickets)
    }

    fn build(
        settings: &Settings,
        certificates: Certificates,
        tickets: Option<Arc<dyn ProducesTickets>>,
    ) -> Result<Self, ConfigError> {
        if certificates.infos().is_empty() && settings.optional_pairs.is_empty() {
            return Err(ConfigError::new(Path::new(""), Problem::NoCertificate));
        }
        let tickets = match tickets {
            None => new_tickets()?,
            kept => kept,
        };
        let certificates = Arc::new(certificates);
        let config = Arc::new(settings.build(Arc::clone(&certificates), tickets.clone())?);
        Ok(Self { config, certificates, tickets })
    }
}

/// Returns a ticketer whose keys are replaced every 6 hours and accepted for 12.
fn new_tickets() -> Result<Option<Arc<dyn ProducesTickets>>, ConfigError> {
    #[cfg(feature = "ring")]
    return rustls::crypto::ring::Ticketer::new()
        .map(Some)
        .map_err(|error| ConfigError::new(Path::new(""), Problem::Unsupported(error.to_string())));
    #[cfg(not(feature = "ring"))]
    Ok(None)
}

impl fmt::Debug for CertStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertStore").field("certificates", &self.certificates()).finish()
    }
}
