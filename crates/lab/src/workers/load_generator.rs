//! The load generator: clients of a file server in closed loops, each sending its next request as
//! soon as it has received a response.
//!
//! A fast client requests a small file. A slow client requests a large file and reads a part of it
//! every few milliseconds. A blocking client evicts its file from the page cache before each
//! request.
//!
//! # Limitations
//! All clients share a thread, so a response may be read some time after its arrival. A waiting
//! client sends no request, so a stalled server faces few requests (coordinated omission).

use hdrhistogram::Histogram;
use karez_reactor::{EpollLevel, Interest, Selector as _, Token};
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

/// Interval of the reads of a slow client.
const SLOW_INTERVAL: Duration = Duration::from_millis(5);

/// Bytes per read of a slow client, about 13 MB/s.
const SLOW_READ: usize = 64 << 10;

/// Receive buffer of a slow client, so that the server has to wait for it.
const SLOW_RECEIVE_BUFFER: usize = 64 << 10;

/// Bytes per read of the other clients.
const RECEIVE_SIZE: usize = 256 << 10;

/// Maximum time for the eviction of a file before the request is sent anyway.
const EVICTION_TIMEOUT: Duration = Duration::from_millis(20);

/// Delay before the next attempt to evict.
const EVICTION_RETRY: Duration = Duration::from_millis(1);

/// Maximum recordable latency in nanoseconds.
const MAX_LATENCY: u64 = 600_000_000_000;

/// Maximum time to the first responses.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Kind of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// Requests a small cached file.
    Fast,
    /// Requests a large file and reads slowly.
    Slow,
    /// Requests a file that is not cached.
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

/// Clients of one server.
#[derive(Default)]
pub(super) struct LoadGenerator {
    clients: Vec<LoadClient>,
    selector: Option<EpollLevel>,
}

struct LoadClient {
    kind: ClientKind,
    exchange: HttpExchange,
    cold: Option<ColdFile>,
    /// Time of the last request.
    requested_at: u64,
    requests: u64,
    responses: u64,
    bytes: u64,
    /// Deadline for the eviction of the file, after which the request is sent anyway.
    request_by: Option<u64>,
    /// Requests whose file was verified as not cached.
    evicted: u64,
}

impl LoadGenerator {
    /// Connects, and receives one response on each fast client.
    pub(super) fn connect(&mut self, command: &Value) -> Result<Value> {
        *self = Self::default();
        let mut selector = EpollLevel::new().context("start a thread to", "wait")?;
        let to = text(command, "to")?;
        let clients = command["clients"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (client, token) in clients.iter().zip(0..) {
            let client = LoadClient::open(to, client)?;
            if client.kind != ClientKind::Slow {
                let socket = client.exchange.stream.as_fd();
                selector
                    .register(socket, Token(token), Interest::READ)
                    .context("watch", "a socket")?;
            }
            self.clients.push(client);
        }
        self.selector = Some(selector);
        for client in self.clients.iter_mut().filter(|client| client.kind == ClientKind::Fast) {
            client.request()?;
        }
        self.await_first_responses()?;
        Ok(Value::Null)
    }

    /// Waits until every fast client has received a response.
    fn await_first_responses(&mut self) -> Result<()> {
        let (started, mut buffer) = (now(), vec![0; RECEIVE_SIZE]);
        let mut left = self.clients.iter().filter(|client| client.kind == ClientKind::Fast).count();
        while left > 0 {
            for place in self.wait(TIMEOUT)? {
                left -= usize::from(self.clients[place].exchange.receive(&mut buffer)?.complete);
            }
            if u128::from(now() - started) > TIMEOUT.as_nanos() {
                return Err(Error::new(
                    "receive from",
                    "the server",
                    "the first responses did not arrive in \
                    time",
                ));
            }
        }
        // These requests are not counted.
        self.clients.iter_mut().for_each(|client| client.requests = 0);
        Ok(())
    }

    /// Runs all clients for the given time and replies with the figures.
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
                // Missed reads are not made up for: a slow reader stays slow.
                next_slow_read = now() + interval;
            }
        }
        let spent = clock(ClockId::ThreadCPUTime) - cpu;
        Ok(self.result(&latencies, now() - started, spent))
    }

    /// Returns the poll timeout, which is short while files are being evicted.
    fn poll_timeout(&self, time: Duration) -> Duration {
        let is_evicting = self.clients.iter().any(|client| client.request_by.is_some());
        if is_evicting { time.min(EVICTION_RETRY) } else { time }
    }

    /// Closes all connections.
    pub(super) fn disconnect(&mut self) -> Value {
        *self = Self::default();
        Value::Null
    }

    /// Returns the readable clients.
    fn wait(&mut self, timeout: Duration) -> Result<Vec<usize>> {
        let mut ready = Vec::new();
        if let Some(selector) = &mut self.selector {
            selector.wait(Some(timeout), &mut ready).context("wait for", "responses")?;
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
        let kind =
            kind.ok_or_else(|| Error::new("connect", "a client", "unknown kind of connection"))?;
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

    /// Sends a request, after the eviction of the file if the client is a blocking one.
    fn request(&mut self) -> Result<()> {
        if self.cold.is_some() {
            // Until the last bytes are acknowledged, the server's socket holds their pages.
            let _acknowledged = sockopt::set_tcp_quickack(&self.exchange.stream, true);
        }
        self.request_by = Some(now() + nanoseconds(EVICTION_TIMEOUT));
        self.request_when_cold()
    }

    /// Sends the pending request if the file is evicted or the deadline has passed.
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

    /// Receives available data, and sends the next request at the end of a response.
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

/// Latency histograms in nanoseconds, with three significant digits.
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
            // Its latency is determined by its own read rate.
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
