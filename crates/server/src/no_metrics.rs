//! The places of the server that count, in a build without metrics.

use std::convert::Infallible;
use std::time::Instant;

use karez_http::{Status, Version};
use karez_transfer::Via;

use crate::closing::CloseReason;
use crate::log::Log;

/// The metrics of a server, which there are not.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Infallible);

impl Metrics {
    pub(crate) fn add_log(&self, _: &'static str, _: Log) {
        match self.0 {}
    }

    pub(crate) fn observe_transfers(&self) {
        match self.0 {}
    }

    pub(crate) fn site(&self, _: &str) -> SiteMetrics {
        match self.0 {}
    }
}

/// The metrics of a site, which there are not.
#[derive(Clone, Debug)]
pub(crate) struct SiteMetrics(Infallible);

impl SiteMetrics {
    pub(crate) fn found(&self, _: FileSource) {
        match self.0 {}
    }

    pub(crate) fn finished(&self, exchange: &FinishedExchange<'_>) {
        let FinishedExchange { version, status, via, bytes, started, target } = exchange;
        let _ = (version, status, via, bytes, started, target);
        match self.0 {}
    }
}

pub(crate) struct CountedConnection;

impl CountedConnection {
    pub(crate) fn new(_: Option<&Metrics>) -> Self {
        Self
    }

    pub(crate) fn is_counted(&self) -> bool {
        false
    }

    pub(crate) fn set(&mut self, _: CloseReason) {}

    pub(crate) fn set_if_unknown(&mut self, _: CloseReason) {}
}

pub(crate) struct InFlight;

impl InFlight {
    pub(crate) fn begin(_: bool) -> Self {
        Self
    }
}

#[derive(Default)]
pub(crate) struct ActiveConnection(());

impl ActiveConnection {
    pub(crate) fn set(&mut self, _: bool) {}
}

#[derive(Clone, Copy)]
pub(crate) enum FileSource {
    Hot,
    Cached,
    Opened,
}

pub(crate) struct FinishedExchange<'a> {
    pub(crate) version: Version,
    pub(crate) status: Status,
    pub(crate) via: Option<Via>,
    pub(crate) bytes: u64,
    pub(crate) started: Instant,
    pub(crate) target: &'a [u8],
}

pub(crate) fn head_ready(_: Version, _: Instant) {}

pub(crate) fn watching(_: usize) {}

#[derive(Default)]
pub(crate) struct Queued(());

impl Queued {
    pub(crate) fn begin() -> Self {
        Self(())
    }

    pub(crate) fn run<T>(self, job: impl FnOnce() -> T) -> T {
        job()
    }
}

#[cfg(feature = "tls")]
#[derive(Clone, Copy)]
pub(crate) enum HandshakeKind {
    Full,
    Resumed,
}

#[cfg(feature = "tls")]
#[derive(Default)]
pub(crate) struct HandshakeAttempt(());

#[cfg(feature = "tls")]
impl HandshakeAttempt {
    pub(crate) fn begin(&mut self) {}

    pub(crate) fn done(&mut self, _: HandshakeKind) {}
}
