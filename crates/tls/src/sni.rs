//! The choice of a certificate by the name that a client asks for (SNI, RFC 6066 §3).
//!
//! A certificate for the full name is preferred, then one with a wildcard for the first label (RFC 9525
//! §6.3), then the first certificate of all. Of several certificates for one name, the client gets the first that it can
//! check: a name can have both an RSA and an ECDSA certificate.
//!
//! # Limitations
//!
//! Only DNS names of the extension subjectAltName count, as in browsers: neither the common name nor IP
//! addresses, for which clients send no name.

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::certificate::CertificateInfo;

/// The certificates of a server, by name.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    infos: Vec<CertificateInfo>,
    /// Indexes in `all`. The names of wildcards begin with `*.`.
    by_name: HashMap<String, Vec<usize>>,
    have_rsa: bool,
}

impl Certificates {
    pub(crate) fn add(&mut self, certified: Arc<CertifiedKey>, info: CertificateInfo) {
        for name in &info.names {
            self.by_name.entry(name.clone()).or_default().push(self.all.len());
        }
        self.have_rsa |= certified.key.algorithm() == SignatureAlgorithm::RSA;
        self.all.push(certified);
        self.infos.push(info);
    }

    /// Takes over the earlier certificate of a file, if there is one.
    pub(crate) fn keep(&mut self, earlier: Option<&Self>, path: &Path) {
        let Some(earlier) = earlier else { return };
        let found = earlier.infos.iter().zip(&earlier.all).find(|(info, _)| info.path == path);
        if let Some((info, certified)) = found {
            self.add(Arc::clone(certified), info.clone());
        }
    }

    /// Returns whether a key is for RSA, whose signatures cost several times as much as those of ECDSA.
    pub(crate) fn have_rsa(&self) -> bool {
        self.have_rsa
    }

    pub(crate) fn infos(&self) -> &[CertificateInfo] {
        &self.infos
    }

    fn choose(
        &self,
        name: Option<&str>,
        suits: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let exact = name.as_deref().and_then(|name| self.by_name.get(name));
        let wildcard = name
            .as_deref()
            .and_then(|name| name.split_once('.'))
            .and_then(|(_, parent)| self.by_name.get(&format!("*.{parent}")));
        let named = exact.into_iter().chain(wildcard).flatten().filter_map(|at| self.all.get(*at));
        named
            .chain(&self.all)
            .find(|certified| suits(certified))
            // Then the handshake fails with the right alert.
            .or_else(|| self.all.first())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let suits = |certified: &CertifiedKey| certified.key.choose_scheme(schemes).is_some();
        self.choose(hello.server_name(), suits).cloned()
    }
}

/// Remembers the name that one client asks for; rustls's unbuffered connection does not show it.
#[derive(Debug)]
pub(crate) struct Remembering {
    inner: Arc<dyn ResolvesServerCert>,
    name: OnceLock<String>,
    found_none: AtomicBool,
}

impl Remembering {
    pub(crate) fn new(inner: Arc<dyn ResolvesServerCert>) -> Self {
        Self { inner, name: OnceLock::new(), found_none: AtomicBool::new(false) }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }

    /// Returns whether there was no certificate to present.
    pub(crate) fn found_none(&self) -> bool {
        self.found_none.load(Ordering::Relaxed)
    }
}

impl ResolvesServerCert for Remembering {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            self.name.get_or_init(|| name.to_owned());
        }
        let found = self.inner.resolve(hello);
        self.found_none.store(found.is_none(), Ordering::Relaxed);
        found
    }

    fn only_raw_public_keys(&self) -> bool {
        self.inner.only_raw_public_keys()
    }
}
