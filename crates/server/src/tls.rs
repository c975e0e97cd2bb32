//! TLS of a server: its certificates, and the listeners that speak it.

use std::sync::Arc;

use karez_reactor::Address;
use karez_tls::{CertStore, Challenges, KernelSupport, TlsDirection, TlsKeys};

/// HTTP/2 in the registry of ALPN.
pub(crate) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Returns the protocols that are negotiated by ALPN (RFC 7301), the preferred one first: the value of
/// [`Settings::protocols`](karez_tls::Settings::protocols). `http2`: as in
/// [`Options::http2`](crate::Options::http2).
#[must_use]
pub fn alpn_protocols(http2: bool) -> Vec<Vec<u8>> {
    let offered = if http2 { &[HTTP2, HTTP1][..] } else { &[HTTP1] };
    offered.iter().map(|name| name.to_vec()).collect()
}

/// The TLS of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The certificates. They can be reloaded while the server runs.
    pub store: Arc<CertStore>,
    /// Whether each listener speaks TLS, in the order of
    /// [`Server::bind`](karez_reactor::Server::bind). A listener beyond the list does.
    pub secure: Vec<bool>,
    /// Whether requests on the other listeners are redirected (308) to the first that speaks TLS over
    /// TCP. Default: false.
    pub redirect: bool,
    /// Answers of challenges by an ACME server, in handshakes (TLS-ALPN-01) and to requests on every
    /// listener (HTTP-01), which are answered before anything else is looked at. Default: `None`.
    pub challenges: Option<Arc<Challenges>>,
    /// The kernel makes and opens the records of connections over TCP, as far as it can. Default: `None`,
    /// user space does.
    pub kernel: Option<Arc<KernelTls>>,
}

/// The use of kernel TLS (Documentation/networking/tls.rst): each direction of a connection is the
/// kernel's by itself, where that takes the cipher.
#[derive(Debug)]
#[non_exhaustive]
pub struct KernelTls {
    /// The answers of the kernel.
    pub support: KernelSupport,
    /// A connection that the kernel does not take is closed. Else user space makes its records.
    pub required: bool,
}

impl KernelTls {
    /// Returns the use of a kernel with these answers.
    #[must_use]
    pub fn new(support: KernelSupport, required: bool) -> Self {
        Self { support, required }
    }

    /// Returns whether the kernel is to be asked for this direction.
    pub(crate) fn takes(&self, direction: TlsDirection, keys: &TlsKeys) -> bool {
        self.required || self.support.takes(direction, keys)
    }

    pub(crate) fn rekeys(&self, keys: &TlsKeys) -> bool {
        self.support.suite(keys.version(), keys.cipher()).is_some_and(|suite| suite.rekey)
    }
}

impl TlsOptions {
    /// Returns options with which every listener speaks TLS.
    #[must_use]
    pub fn new(store: Arc<CertStore>) -> Self {
        Self { store, secure: Vec::new(), redirect: false, challenges: None, kernel: None }
    }

    /// Returns whether a listener speaks TLS.
    pub(crate) fn is_secure(&self, listener: usize) -> bool {
        self.secure.get(listener).copied().unwrap_or(true)
    }

    /// Returns the port of the first address that speaks TLS over TCP.
    pub(crate) fn port<'a>(&self, addresses: impl Iterator<Item = &'a Address>) -> Option<u16> {
        let secure = addresses.enumerate().filter(|(index, _)| self.is_secure(*index));
        secure.into_iter().find_map(|(_, address)| match address {
            Address::Tcp(address) => Some(address.port()),
            Address::Unix(_) => None,
        })
    }
}
