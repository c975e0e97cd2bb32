//! The places of the server that count. Each does nothing on a thread of a server without metrics.

use std::time::{Duration, Instant};

use karez_http::{Status, Version};
use karez_transfer::{Observer, Via};

use super::Metrics;
use super::lease::{metrics_of_thread, with_shard, with_shard_of};
use super::lock::lock;
use super::shard::{Shard, protocol, status, via_of_body};
use crate::closing::CloseReason;

/// How long the target of no other request is sampled on a thread.
const SAMPLE_PAUSE: Duration = Duration::from_millis(1);

impl Observer for Metrics {
    fn fell_back(&self, from: Via, to: Via) {
        with_shard_of(self, |shard| shard.fell_back(from, to));
    }

    fn paged_in(&self, bytes: u64, took: Duration) {
        with_shard_of(self, |shard| {
            shard.page_ins.observe(took);
            shard.page_in_bytes.add(bytes);
        });
    }
}

/// Counts a connection from its acceptance to its end.
pub(crate) struct CountedConnection(Option<CloseReason>);

impl CountedConnection {
    pub(crate) fn new(metrics: Option<&Metrics>) -> Self {
        Self(metrics.map(|metrics| {
            with_shard_of(metrics, |shard| shard.accepted.add(1));
            CloseReason::Other
        }))
    }

    pub(crate) fn is_counted(&self) -> bool {
        self.0.is_some()
    }

    /// Sets why the connection ends, if it does before the next call.
    pub(crate) fn set(&mut self, reason: CloseReason) {
        self.0 = self.0.map(|_| reason);
    }

    /// Sets why it ends, if that is not known.
    pub(crate) fn set_if_unknown(&mut self, reason: CloseReason) {
        if self.0 == Some(CloseReason::Other) {
            self.0 = Some(reason);
        }
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        if let Some(reason) = self.0 {
            with_shard(|shard| shard.closed[reason as usize].add(1));
        }
    }
}

/// Counts a request until it is dropped, and a connection of one request at a time as active.
pub(crate) struct InFlight {
    counted: bool,
    only: bool,
}

impl InFlight {
    /// `only`: the connection has no other request meanwhile.
    pub(crate) fn begin(only: bool) -> Self {
        let mut counted = false;
        with_shard(|shard| {
            counted = true;
            shard.in_flight.add(1);
            shard.active.add(u64::from(only));
        });
        Self { counted, only }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.counted {
            with_shard(|shard| {
                shard.in_flight.sub(1);
                shard.active.sub(u64::from(self.only));
            });
        }
    }
}

/// Counts a connection of several requests at a time as active.
#[derive(Default)]
pub(crate) struct ActiveConnection(bool);

impl ActiveConnection {
    pub(crate) fn set(&mut self, active: bool) {
        if self.0 != active {
            self.0 = active;
            with_shard(|shard| match active {
                true => shard.active.add(1),
                false => shard.active.sub(1),
            });
        }
    }
}

impl Drop for ActiveConnection {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Where a file was found.
#[derive(Clone, Copy)]
pub(crate) enum FileSource {
    /// Among the watched files, without a system call of its own.
    Hot,
    /// In the cache of open files.
    Cached,
    /// It was opened.
    Opened,
}

/// The metrics of a site.
#[derive(Clone, Debug)]
pub(crate) struct SiteMetrics {
    metrics: Metrics,
    index: usize,
}

/// An exchange that has ended.
pub(crate) struct FinishedExchange<'a> {
    pub(crate) version: Version,
    pub(crate) status: Status,
    /// The via of its body; `None` for one in memory.
    pub(crate) via: Option<Via>,
    /// Bytes of the body that were sent.
    pub(crate) bytes: u64,
    /// When the request was complete.
    pub(crate) started: Instant,
    pub(crate) target: &'a [u8],
}

impl SiteMetrics {
    pub(super) fn new(metrics: Metrics, index: usize) -> Self {
        Self { metrics, index }
    }

    pub(crate) fn found(&self, source: FileSource) {
        with_shard_of(&self.metrics, |shard| shard.files[source as usize].add(1));
    }

    pub(crate) fn finished(&self, exchange: &FinishedExchange<'_>) {
        with_shard_of(&self.metrics, |shard| self.count(exchange, shard));
    }

    fn count(&self, exchange: &FinishedExchange<'_>, shard: &Shard) {
        let &FinishedExchange { version, bytes, started, .. } = exchange;
        let via = via_of_body(exchange.via, bytes);
        let responses = shard.responses(self.index, version, via);
        // A scrape that has counted the response has its bytes, too.
        responses.bytes.add(bytes);
        responses.statuses[status(exchange.status)].add(1);
        let now = Instant::now();
        shard.wholes[protocol(version)].observe(now.saturating_duration_since(started));
        let served = matches!(exchange.status.code(), 200..=299 | 304);
        if served && self.metrics.samples_targets() {
            self.sample(exchange.target, shard, now);
        }
    }

    /// Counts a target for all requests since the last one that was, at most once in a millisecond.
    fn sample(&self, target: &[u8], shard: &Shard, now: Instant) {
        shard.unsampled.add(1);
        let since_birth = now.saturating_duration_since(self.metrics.0.born);
        let at = u64::try_from(since_birth.as_nanos()).unwrap_or(u64::MAX);
        let pause = u64::try_from(SAMPLE_PAUSE.as_nanos()).unwrap_or(u64::MAX);
        if at.saturating_sub(shard.sampled_at.get()) >= pause {
            // The live page looks at it once a second, for microseconds.
            lock(&shard.top_files).count(target, shard.unsampled.get());
            shard.unsampled.set(0);
            shard.sampled_at.set(at);
        }
    }
}

/// Observes the time from the end of a request to the head of its response.
pub(crate) fn head_ready(version: Version, started: Instant) {
    with_shard(|shard| shard.heads[protocol(version)].observe(started.elapsed()));
}

/// Notes how many files the event loop of this thread watches.
pub(crate) fn watching(files: usize) {
    with_shard(|shard| shard.watched.set(files as u64));
}

/// Counts a job that has to wait for a worker, or for the model of the event loop.
#[derive(Default)]
pub(crate) struct Queued(Option<Metrics>);

impl Queued {
    pub(crate) fn begin() -> Self {
        let metrics = metrics_of_thread();
        with_shard(|shard| {
            shard.jobs.add(1);
            shard.jobs_queued.add(1);
        });
        Self(metrics)
    }

    /// Runs the job.
    pub(crate) fn run<T>(mut self, job: impl FnOnce() -> T) -> T {
        let Some(metrics) = self.0.take() else { return job() };
        with_shard_of(&metrics, |shard| {
            shard.jobs_queued.sub(1);
            shard.jobs_running.add(1);
        });
        let _running = Running(metrics);
        job()
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(metrics) = &self.0 {
            with_shard_of(metrics, |shard| shard.jobs_queued.sub(1));
        }
    }
}

/// A job that runs, and may panic.
struct Running(Metrics);

impl Drop for Running {
    fn drop(&mut self) {
        with_shard_of(&self.0, |shard| shard.jobs_running.sub(1));
    }
}

/// How a TLS handshake ended.
#[cfg(feature = "tls")]
#[derive(Clone, Copy)]
pub(crate) enum HandshakeKind {
    Full,
    Resumed,
    Failed,
}

/// Counts a TLS handshake; one that is dropped after its first byte has failed.
#[cfg(feature = "tls")]
#[derive(Default)]
pub(crate) struct HandshakeAttempt {
    begun: bool,
}

#[cfg(feature = "tls")]
impl HandshakeAttempt {
    pub(crate) fn begin(&mut self) {
        self.begun = true;
    }

    pub(crate) fn done(&mut self, kind: HandshakeKind) {
        self.begun = false;
        with_shard(|shard| shard.handshakes[kind as usize].add(1));
    }
}

#[cfg(feature = "tls")]
impl Drop for HandshakeAttempt {
    fn drop(&mut self) {
        if self.begun {
            self.done(HandshakeKind::Failed);
        }
    }
}
