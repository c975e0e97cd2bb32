//! State that all connections of a server share.

use karez_reactor::{Model, Shutdown};
use karez_transfer::Via;

use crate::access_log::AccessLog;
use crate::address_limits::AddressLimits;
use crate::log::Log;
use crate::options::Timeouts;
use crate::proxies::ProxyOptions;
use crate::sites::Sites;

/// State that all connections of a server share.
#[derive(Clone)]
pub(crate) struct ServerContext {
    pub(crate) sites: Sites,
    pub(crate) via: Via,
    pub(crate) timeouts: Timeouts,
    pub(crate) proxies: ProxyOptions,
    pub(crate) limits: AddressLimits,
    pub(crate) explain: Option<Model>,
    /// Whether a client may begin with the preface of HTTP/2.
    pub(crate) http2: bool,
    pub(crate) access: Option<AccessLog>,
    pub(crate) error_log: Log,
    pub(crate) stop: Shutdown,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<crate::tls::TlsOptions>,
    /// Counts the contexts of the server.
    pub(crate) generation: u64,
    /// The port to which requests on plain listeners are redirected.
    pub(crate) https_port: Option<u16>,
}

impl ServerContext {
    /// Writes a line to the error log.
    pub(crate) fn log_error(&self, text: &str) {
        self.error_log.notice(text);
    }
}
