//! State that all connections of a server share.

use std::net::SocketAddr;
use std::sync::Arc;

use karez_reactor::{Model, Shutdown};
use karez_transfer::Via;

use crate::access_log::AccessLog;
use crate::address_limits::AddressLimits;
use crate::drain::Drain;
use crate::error_log::{ErrorLog, Level};
use crate::exchange_record::ExchangeRecord;
use crate::health::HealthOptions;
use crate::metrics::Metrics;
use crate::options::Timeouts;
use crate::proxies::ProxyOptions;
use crate::site::{ContentTags, ListingMemory};
use crate::sites::Sites;
use crate::torn::{Torn, TornResponses};

/// State that all connections of a server share.
#[derive(Clone)]
pub(crate) struct ServerContext {
    pub(crate) sites: Sites,
    pub(crate) via: Via,
    pub(crate) torn: Torn,
    pub(crate) torn_responses: Arc<TornResponses>,
    pub(crate) timeouts: Timeouts,
    /// The memory of all listings, which the sites share.
    pub(crate) listing_memory: ListingMemory,
    pub(crate) proxies: ProxyOptions,
    pub(crate) limits: AddressLimits,
    pub(crate) explain: Option<Model>,
    /// Whether a client may begin with the preface of HTTP/2.
    pub(crate) http2: bool,
    pub(crate) access: Option<AccessLog>,
    pub(crate) error_log: ErrorLog,
    pub(crate) health: HealthOptions,
    pub(crate) drain: Drain,
    /// The hashes of contents, which a reload keeps.
    pub(crate) content_tags: ContentTags,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) stop: Shutdown,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<crate::tls::TlsOptions>,
    /// Counts the contexts of the server.
    pub(crate) generation: u64,
    /// The port to which requests on plain listeners are redirected.
    pub(crate) https_port: Option<u16>,
}

impl ServerContext {
    /// Returns whether a stop signal has arrived.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.has_begun() || self.stop.is_triggered()
    }

    /// Writes a line of level error to the error log.
    pub(crate) fn log_error(&self, text: &str) {
        self.error_log.error(text);
    }

    /// Writes a line of level debug about the connection of a peer. It is made only if the level is that low.
    pub(crate) fn log_debug(&self, peer: Option<SocketAddr>, text: impl FnOnce() -> String) {
        if self.error_log.has(Level::Debug) {
            let peer = peer.map_or("unix".to_owned(), |address| address.to_string());
            self.error_log.debug(&format!("{peer}: {}", text()));
        }
    }
}

/// The consumers of records.
impl ServerContext {
    /// Returns whether there is one, so that a record is made.
    pub(crate) fn records(&self) -> bool {
        self.access.is_some()
    }

    /// Passes the record of an exchange that has ended to each of them.
    pub(crate) fn record(&self, record: &ExchangeRecord<'_>) {
        let logs = !record.is_health || self.health.log;
        if let Some(access) = self.access.as_ref().filter(|_| logs) {
            access.write(record);
        }
    }

    /// Counts a response whose file was written while it was sent, and logs the first one of each file.
    /// `reset` is the connection or the stream.
    pub(crate) fn log_torn(&self, request_line: &[u8], reset: &str) {
        if let Some(count) = self.torn_responses.count(request_line) {
            self.log_error(&format!(
                "\"{}\": the file was written while it was sent, {reset} reset; {count} torn so far, \
                 only the first of each file is logged",
                request_line.escape_ascii()
            ));
        }
    }
}
