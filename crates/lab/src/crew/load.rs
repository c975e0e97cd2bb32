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

use super::cold::Cold;
use super::exchange::Exchange;
use super::order::{number, size, text};
use super::sender::{clock, now};
use crate::error::{Error, ErrorContext as _, Result};

/// How often a slow one takes something.
const TICK: Duration = Duration::from_millis(5);

/// What it takes then: some 13 MB/s.
const SIP: usize = 64 << 10;

/// What its socket keeps beside, so that the server has to wait for it.
const ROOM: usize = 64 << 10;

/// What the others take at a time.
const MOUTHFUL: usize = 256 << 10;

/// How long pages of the last answer may stay in memory before it asks all the same.
const CHILLING: Duration = Duration::from_millis(20);

/// How long it waits before it tries again to drop them.
const PAUSE: Duration = Duration::from_millis(1);

/// The longest that can be told apart, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;

/// How long the first answers may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a connection asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A small file that is in memory.
    Fast,
    /// A large one, of which it takes little at a time.
    Slow,
    /// One that is on the disk only.
    Blocking,
}

impl Kind {
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
pub(super) struct Load {
    peers: Vec<Peer>,
    demultiplexer: Option<EpollLevel>,
}

struct Peer {
    kind: Kind,
    exchange: Exchange,
    cold: Option<Cold>,
    /// When it asked last.
    asked: u64,
    questions: u64,
    answers: u64,
    bytes: u64,
    /// Its file is to be cold before it asks; by then it asks in any case.
    until: Option<u64>,
    /// How often its file was seen to be cold before it asked.
    chilled: u64,
}

impl Load {
    /// Connects, and has one answer for each who is fast.
    pub(super) fn approach(&mut self, order: &Value) -> Result<Value> {
        *self = Self::default();
        let mut demultiplexer = EpollLevel::new().context("begin to", "wait")?;
        let to = text(order, "to")?;
        let peers = order["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (peer, token) in peers.iter().zip(0..) {
            let peer = Peer::open(to, peer)?;
            if peer.kind != Kind::Slow {
                let socket = peer.exchange.stream.as_fd();
                demultiplexer
                    .register(socket, Token(token), Interest::READ)
                    .context("watch", "a socket")?;
            }
            self.peers.push(peer);
        }
        self.demultiplexer = Some(demultiplexer);
        for peer in self.peers.iter_mut().filter(|peer| peer.kind == Kind::Fast) {
            peer.ask()?;
        }
        self.settle()?;
        Ok(Value::Null)
    }

    /// Waits until every fast one has been answered once.
    fn settle(&mut self) -> Result<()> {
        let (begun, mut buffer) = (now(), vec![0; MOUTHFUL]);
        let mut left = self.peers.iter().filter(|peer| peer.kind == Kind::Fast).count();
        while left > 0 {
            for place in self.wait(PATIENCE)? {
                left -= usize::from(self.peers[place].exchange.take(&mut buffer)?.whole);
            }
            if u128::from(now() - begun) > PATIENCE.as_nanos() {
                return Err(Error::new("hear", "the server", "the first answers do not come"));
            }
        }
        // These do not count.
        self.peers.iter_mut().for_each(|peer| peer.questions = 0);
        Ok(())
    }

    /// All ask for so long; what came of it.
    pub(super) fn load(&mut self, order: &Value) -> Result<Value> {
        let length = Duration::from_millis(number(order, "milliseconds")?);
        let mut times = Times::new()?;
        let mut buffer = vec![0; MOUTHFUL];
        let (begun, cpu) = (now(), clock(ClockId::ThreadCPUTime));
        let tick = nanoseconds(TICK);
        let (end, mut sip) = (begun + nanoseconds(length), begun + tick);
        for peer in &mut self.peers {
            peer.ask()?;
        }
        while now() < end {
            let next = end.min(sip).saturating_sub(now());
            for place in self.wait(self.at_most(Duration::from_nanos(next)))? {
                self.peers[place].go_on(&mut buffer, &mut times)?;
            }
            self.peers.iter_mut().try_for_each(Peer::ask_when_cold)?;
            if now() >= sip {
                for peer in self.peers.iter_mut().filter(|peer| peer.kind == Kind::Slow) {
                    peer.go_on(&mut buffer[..SIP], &mut times)?;
                }
                // What was missed is not made up for: a slow reader is slow.
                sip = now() + tick;
            }
        }
        let spent = clock(ClockId::ThreadCPUTime) - cpu;
        Ok(self.told(&times, now() - begun, spent))
    }

    /// How long to wait: not that long if a file is to be cold first.
    fn at_most(&self, time: Duration) -> Duration {
        let chills = self.peers.iter().any(|peer| peer.until.is_some());
        if chills { time.min(PAUSE) } else { time }
    }

    /// Says good-bye to the server.
    pub(super) fn leave(&mut self) -> Value {
        *self = Self::default();
        Value::Null
    }

    /// Who can be read from.
    fn wait(&mut self, timeout: Duration) -> Result<Vec<usize>> {
        let mut ready = Vec::new();
        if let Some(demultiplexer) = &mut self.demultiplexer {
            demultiplexer.wait(Some(timeout), &mut ready).context("wait for", "answers")?;
        }
        Ok(ready.iter().filter_map(|told| usize::try_from(told.token.0).ok()).collect())
    }

    fn told(&self, times: &Times, nanoseconds: u64, cpu: u64) -> Value {
        let of = |kind| self.peers.iter().filter(move |peer| peer.kind == kind);
        let kinds = Kind::ALL.map(|kind| {
            let told = json!({
                "answers": of(kind).map(|peer| peer.answers).collect::<Vec<_>>(),
                "bytes": of(kind).map(|peer| peer.bytes).sum::<u64>(),
                "questions": of(kind).map(|peer| peer.questions).sum::<u64>(),
                "chilled": of(kind).map(|peer| peer.chilled).sum::<u64>(),
                "nanoseconds": times.of(kind).map(told_of),
            });
            (kind.name().to_owned(), told)
        });
        let kinds: serde_json::Map<_, _> = kinds.into_iter().collect();
        json!({ "nanoseconds": nanoseconds, "cpu": cpu, "kinds": kinds })
    }
}

impl Peer {
    fn open(to: &str, order: &Value) -> Result<Self> {
        let named = |kind: &Kind| order["kind"] == kind.name();
        let kind = Kind::ALL.into_iter().find(named);
        let kind = kind.ok_or_else(|| Error::new("connect", "a client", "it is of no kind"))?;
        let bytes = size(order, "bytes")? as u64;
        let room = (kind == Kind::Slow).then_some(ROOM);
        let exchange = Exchange::open(to, text(order, "path")?, bytes, room)?;
        let cold = order["file"].as_str().map(|file| Cold::open(file, bytes)).transpose()?;
        Ok(Self {
            kind,
            exchange,
            cold,
            asked: 0,
            questions: 0,
            answers: 0,
            bytes: 0,
            until: None,
            chilled: 0,
        })
    }

    /// Asks, as soon as its file is cold if it is to be.
    fn ask(&mut self) -> Result<()> {
        if self.cold.is_some() {
            // Till the last bytes are acknowledged the server's socket holds their pages.
            let _acknowledged = sockopt::set_tcp_quickack(&self.exchange.stream, true);
        }
        self.until = Some(now() + nanoseconds(CHILLING));
        self.ask_when_cold()
    }

    /// Asks, unless it did, or its file is in memory and there is time.
    fn ask_when_cold(&mut self) -> Result<()> {
        let Some(until) = self.until else { return Ok(()) };
        if let Some(cold) = &self.cold {
            let is_cold = cold.chill();
            if !is_cold && now() < until {
                return Ok(());
            }
            self.chilled += u64::from(is_cold);
        }
        self.until = None;
        self.questions += 1;
        self.asked = now();
        self.exchange.ask()
    }

    /// Takes what is there, and asks again if that was the end of an answer.
    fn go_on(&mut self, buffer: &mut [u8], times: &mut Times) -> Result<()> {
        let taken = self.exchange.take(buffer)?;
        self.bytes += taken.bytes as u64;
        if !taken.whole {
            return Ok(());
        }
        self.answers += 1;
        times.note(self.kind, now() - self.asked);
        self.ask()
    }
}

/// How long answers took, in nanoseconds to three digits.
struct Times {
    fast: Histogram<u64>,
    blocking: Histogram<u64>,
}

impl Times {
    fn new() -> Result<Self> {
        let new = || Histogram::new_with_bounds(1, LONGEST, 3).context("make", "a histogram");
        Ok(Self { fast: new()?, blocking: new()? })
    }

    fn note(&mut self, kind: Kind, nanoseconds: u64) {
        match kind {
            Kind::Fast => self.fast.saturating_record(nanoseconds),
            Kind::Blocking => self.blocking.saturating_record(nanoseconds),
            // It takes as long as it makes it take.
            Kind::Slow => {}
        }
    }

    fn of(&self, kind: Kind) -> Option<&Histogram<u64>> {
        match kind {
            Kind::Fast => Some(&self.fast),
            Kind::Blocking => Some(&self.blocking),
            Kind::Slow => None,
        }
    }
}

fn told_of(times: &Histogram<u64>) -> Value {
    json!({
        "count": times.len(),
        "p50": times.value_at_quantile(0.5),
        "p99": times.value_at_quantile(0.99),
        "p999": times.value_at_quantile(0.999),
        "max": times.max(),
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
