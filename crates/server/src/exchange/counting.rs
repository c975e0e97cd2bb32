//! An exchange in the metrics.

use karez_http::Version;

use super::Exchange;
use crate::context::ServerContext;
use crate::metrics::{FinishedExchange, head_ready};

impl Exchange {
    fn version(&self) -> Version {
        match &self.request {
            Ok(request) => request.version(),
            Err(_) if self.id.is_only() => Version::Http11,
            Err(_) => Version::Http2,
        }
    }

    /// Observes the time to the head.
    pub(super) fn count_head(&self) {
        head_ready(self.version(), self.started);
    }

    /// Counts the exchange, which has ended.
    pub(crate) fn count(&self, context: &ServerContext) {
        if let Some(metrics) = context.sites.get(self.site).metrics() {
            metrics.finished(&FinishedExchange {
                version: self.version(),
                status: self.status,
                via: self.via,
                bytes: self.sent.saturating_sub(self.head_length),
                started: self.started,
                target: self.request.as_ref().map_or(&[], |request| request.target()),
            });
        }
    }
}
