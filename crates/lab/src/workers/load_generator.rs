//! The worker that is the clients of a file server: each connection asks again as soon as it was
//! answered (a closed loop), for so long.
//!
//! A fast one asks for a small file, a slow one for a large file of which it takes a little every few
//! milliseconds, a blocking one for a file that it has dropped from the page cache before.
//!
//! What it does badly: one thread is all clients, so an answer may lie a little before it is read;
//! and who waits does not ask, so few wait while a server stands still (coordinated omission).

use hdrhistogram::Histogram;
use karez_reactor::{Demultiplexer as _, EpollLevel, Interest, Token};
use rustix::net::sockopt;
use rustix::time::ClockId;
use serde_json::{Value, json};
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::cold_file::ColdFile;
use super::command::{number, size, text};
use super::http_exchange::HttpExchange;
use super::sender::{clock, now};
use crate::error::{Error, ErrorContext as _, Result};

/// How often a slow one takes something.
const SLOW_INTERVAL: Duration = Duration::from_millis(5);

/// What it takes then: some 13 MB/s.
const SLOW_READ: usize = 64 << 10;

/// What its socket keeps beside, so that the server has to wait for it.
const SLOW_RECEIVE_BUFFER: usize = 64 << 10;

/// What the others take at a time.
const RECEIVE_SIZE: usize = 256 << 10;

/// How long pages of the last answer may stay in memory before it asks all the same.
const EVICTION_TIMEOUT: Duration = Duration::from_millis(20);

/// How long it waits before it tries again to drop them.
const EVICTION_RETRY: Duration = Duration::from_millis(1);

/// The longest that can be told apart, in nanoseconds.
const MAX_LATENCY: u64 = 600_000_000_000;

/// How long the first responses may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What a connection asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// A small file that is in memory.
    Fast,
    /// A large one, of which it takes little at a time.
    Slow,
    /// One that is on the disk only.
    Blocking,
}

impl ClientKind {
    pub(crate) const ALL: [Self; 3] = [Self::Fast, Self::Slow, Self::Blocking];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Slow => "slow",
            Self::Blocking => "blocking",
        }
    }
}

/// Connections to one server.
#[derive(Default)]
pub(super) struct LoadGenerator {
    clients: Vec<LoadClient>,
    demultiplexer: Option<EpollLevel>,
}

struct LoadClient {
    kind: ClientKind,
    exchange: HttpExchange,
    cold: Option<ColdFile>,
    /// When it requested_at last.
    requested_at: u64,
    requests: u64,
    responses: u64,
    bytes: u64,
    /// Its file is to be cold before it asks; by then it asks in any case.
    request_by: Option<u64>,
    /// How often its file was seen to be cold before it requested_at.
    evicted: u64,
}

impl LoadGenerator {
    /// Connects, and has one answer for each who is fast.
    pub(super) fn connect(&mut self, command: &Value) -> Result<Value> {
        *self = Self::default();
        let mut demultiplexer = EpollLevel::new().context("begin to", "wait")?;
        let to = text(command, "to")?;
        let clients = command["clients"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (client, token) in clients.iter().zip(0..) {
            let client = LoadClient::open(to, client)?;
            if client.kind != ClientKind::Slow {
                let socket = client.exchange.stream.as_fd();
                demultiplexer
                    .register(socket, Token(token), Interest::READ)
                    .context("watch", "a socket")?;
            }
            self.clients.push(client);
        }
        self.demultiplexer = Some(demultiplexer);
        for client in self.clients.iter_mut().filter(|client| client.kind == ClientKind::Fast) {
            client.request()?;
        }
        self.await_first_responses()?;
        Ok(Value::Null)
    }

    /// Waits request_by every fast one has been answered once.
    fn await_first_responses(&mut self) -> Result<()> {
        let (started, mut buffer) = (now(), vec![0; RECEIVE_SIZE]);
        let mut left = self.clients.iter().filter(|client| client.kind == ClientKind::Fast).count();
        while left > 0 {
            for place in self.wait(TIMEOUT)? {
                left -= usize::from(self.clients[place].exchange.receive(&mut buffer)?.complete);
            }
            if u128::from(now() - started) > TIMEOUT.as_nanos() {
                return Err(Error::new("hear", "the server", "the first responses do not come"));
            }
        }
        // These do not count.
        self.clients.iter_mut().for_each(|client| client.requests = 0);
        Ok(())
    }

    /// All ask for so long; what came of it.
    pub(super) fn run(&mut self, command: &Value) -> Result<Value> {
        let length = Duration::from_millis(number(command, "milliseconds")?);
        let mut latencies = Latencies::new()?;
        let mut buffer = vec![0; RECEIVE_SIZE];
        let (started, cpu) = (now(), clock(ClockId::ThreadCPUTime));
        let interval = nanoseconds(SLOW_INTERVAL);
        let (end, mut next_slow_read) = (started + nanoseconds(length), started + interval);
        for client in &mut self.clients {
            client.request()?;
        }
        while now() < end {
            let next = end.min(next_slow_read).saturating_sub(now());
            for place in self.wait(self.poll_timeout(Duration::from_nanos(next)))? {
                self.clients[place].receive(&mut buffer, &mut latencies)?;
            }
            self.clients.iter_mut().try_for_each(LoadClient::request_when_cold)?;
            if now() >= next_slow_read {
                for client in
                    self.clients.iter_mut().filter(|client| client.kind == ClientKind::Slow)
                {
                    client.receive(&mut buffer[..SLOW_READ], &mut latencies)?;
                }
                // What was missed is not made up for: a slow reader is slow.
                next_slow_read = now() + interval;
            }
        }
        let spent = clock(ClockId::ThreadCPUTime) - cpu;
        Ok(self.result(&latencies, now() - started, spent))
    }

    /// How long to wait: not that long if a file is to be cold first.
    fn poll_timeout(&self, time: Duration) -> Duration {
        let is_evicting = self.clients.iter().any(|client| client.request_by.is_some());
        if is_evicting { time.min(EVICTION_RETRY) } else { time }
    }

    /// Says good-bye to the server.
    pub(super) fn disconnect(&mut self) -> Value {
        *self = Self::default();
        Value::Null
    }

    /// Who can be read from.
    fn wait(&mut self, timeout: Duration) -> Result<Vec<usize>> {
        let mut ready = Vec::new();
        if let Some(demultiplexer) = &mut self.demultiplexer {
            demultiplexer.wait(Some(timeout), &mut ready).context("wait for", "answers")?;
        }
        Ok(ready.iter().filter_map(|event| usize::try_from(event.token.0).ok()).collect())
    }

    fn result(&self, latencies: &Latencies, nanoseconds: u64, cpu: u64) -> Value {
        let of = |kind| self.clients.iter().filter(move |client| client.kind == kind);
        let kinds = ClientKind::ALL.map(|kind| {
            let result = json!({
                "responses": of(kind).map(|client| client.responses).collect::<Vec<_>>(),
                "bytes": of(kind).map(|client| client.bytes).sum::<u64>(),
                "requests": of(kind).map(|client| client.requests).sum::<u64>(),
                "evicted": of(kind).map(|client| client.evicted).sum::<u64>(),
                "nanoseconds": latencies.of(kind).map(percentiles),
            });
            (kind.name().to_owned(), result)
        });
        let kinds: serde_json::Map<_, _> = kinds.into_iter().collect();
        json!({ "nanoseconds": nanoseconds, "cpu": cpu, "kinds": kinds })
    }
}

impl LoadClient {
    fn open(to: &str, command: &Value) -> Result<Self> {
        let named = |kind: &ClientKind| command["kind"] == kind.name();
        let kind = ClientKind::ALL.into_iter().find(named);
        let kind = kind.ok_or_else(|| Error::new("connect", "a client", "it is of no kind"))?;
        let bytes = size(command, "bytes")? as u64;
        let receive_buffer = (kind == ClientKind::Slow).then_some(SLOW_RECEIVE_BUFFER);
        let exchange = HttpExchange::open(to, text(command, "path")?, bytes, receive_buffer)?;
        let cold = command["file"].as_str().map(|file| ColdFile::open(file, bytes)).transpose()?;
        Ok(Self {
            kind,
            exchange,
            cold,
            requested_at: 0,
            requests: 0,
            responses: 0,
            bytes: 0,
            request_by: None,
            evicted: 0,
        })
    }

    /// Asks, as soon as its file is cold if it is to be.
    fn request(&mut self) -> Result<()> {
        if self.cold.is_some() {
            // Till the last bytes are acknowledged the server's socket holds their pages.
            let _acknowledged = sockopt::set_tcp_quickack(&self.exchange.stream, true);
        }
        self.request_by = Some(now() + nanoseconds(EVICTION_TIMEOUT));
        self.request_when_cold()
    }

    /// Asks, unless it did, or its file is in memory and there is time.
    fn request_when_cold(&mut self) -> Result<()> {
        let Some(request_by) = self.request_by else { return Ok(()) };
        if let Some(cold) = &self.cold {
            let is_cold = cold.evict();
            if !is_cold && now() < request_by {
                return Ok(());
            }
            self.evicted += u64::from(is_cold);
        }
        self.request_by = None;
        self.requests += 1;
        self.requested_at = now();
        self.exchange.request()
    }

    /// Takes what is there, and asks again if that was the end of an answer.
    fn receive(&mut self, buffer: &mut [u8], latencies: &mut Latencies) -> Result<()> {
        let received = self.exchange.receive(buffer)?;
        self.bytes += received.bytes as u64;
        if !received.complete {
            return Ok(());
        }
        self.responses += 1;
        latencies.record(self.kind, now() - self.requested_at);
        self.request()
    }
}

/// How long responses took, in nanoseconds to three digits.
struct Latencies {
    fast: Histogram<u64>,
    blocking: Histogram<u64>,
}

impl Latencies {
    fn new() -> Result<Self> {
        let new = || Histogram::new_with_bounds(1, MAX_LATENCY, 3).context("make", "a histogram");
        Ok(Self { fast: new()?, blocking: new()? })
    }

    fn record(&mut self, kind: ClientKind, nanoseconds: u64) {
        match kind {
            ClientKind::Fast => self.fast.saturating_record(nanoseconds),
            ClientKind::Blocking => self.blocking.saturating_record(nanoseconds),
            // It takes as long as it makes it take.
            ClientKind::Slow => {}
        }
    }

    fn of(&self, kind: ClientKind) -> Option<&Histogram<u64>> {
        match kind {
            ClientKind::Fast => Some(&self.fast),
            ClientKind::Blocking => Some(&self.blocking),
            ClientKind::Slow => None,
        }
    }
}

fn percentiles(latencies: &Histogram<u64>) -> Value {
    json!({
        "count": latencies.len(),
        "p50": latencies.value_at_quantile(0.5),
        "p99": latencies.value_at_quantile(0.99),
        "p999": latencies.value_at_quantile(0.999),
        "max": latencies.max(),
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
