//! Claims about level- and edge-triggered epoll: their system calls by load, and which connections starve
//! or are forgotten when a reader stops early.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde_json::json;
use std::cell::Cell;
use std::os::fd::OwnedFd;

use super::bench::{ClaimsBench, confirmed_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::ratio::alternate;
use super::verdict::Verdict;
use crate::error::{Error, ErrorContext as _};
use crate::language::msg;
use crate::selftest::ExperimentError;

/// Messages that the busy connection sends at most, and the budget of a fair loop.
const FLOOD: u64 = 1000;
const BUDGET: u64 = 16;

/// Numbers of connections and bytes of a message, with the subject.
const LOADS: [(u64, u64, &str); 4] = [
    (1, 64, "1 connection, 64 B"),
    (64, 64, "64 connections, 64 B"),
    (1, 64 << 10, "1 connection, 64 KiB"),
    (64, 64 << 10, "64 connections, 64 KiB"),
];

/// The parts of the subjects, which are translated one by one.
const _PARTS: [&str; 3] = [msg!("1 connection"), msg!("64 connections"), RATIO];
const RATIO: &str = msg!("edge/level");

const CALLS: &str = msg!("calls per message");

/// Bytes of a run.
const RUN: u64 = 2 << 20;

const LEVEL: &str = msg!("level, one read for each event: messages before the quiet one");
const GREEDY: &str = msg!("edge, until EAGAIN: messages before the quiet one");
const FAIR: &str = msg!("edge, at most 16 reads and a list: messages before the quiet one");
const LEVEL_AGAIN: &str = msg!("level, stopped early: events afterwards");
const EDGE_AGAIN: &str = msg!("edge, stopped early: events afterwards");

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 54,
        name: "edge-starvation",
        statement: msg!("edge-triggered epoll lets a busy connection starve the others"),
        reason: msg!(
            "the textbook loop reads until EAGAIN, which a fast sender prevents; a loop that stops early gets \
             no further event, so it has to remember the connection itself"
        ),
        needs: &[],
        experiment: busy_and_quiet,
        rule: |evidence| {
            let (level, greedy) = (evidence.count(LEVEL)?, evidence.count(GREEDY)?);
            if greedy <= 2 * level {
                return Some(Verdict::Refuted);
            }
            let what = msg!(
                "the loop: until EAGAIN it starves them; with a limit and a list of unread connections it \
                 does not"
            );
            let is_fair = evidence.count(FAIR)? < greedy;
            Some(if is_fair { Verdict::DependsOn(what.to_owned()) } else { Verdict::Confirmed })
        },
    },
    Claim {
        number: 55,
        name: "edge-calls",
        statement: msg!("edge-triggered epoll takes fewer system calls than level-triggered"),
        reason: msg!(
            "a message that fits in one read takes one more call with edge triggering, the read that returns \
             EAGAIN; a message of many reads takes one wait instead of one before each read"
        ),
        needs: &[],
        experiment: calls_by_load,
        rule: |evidence| {
            let less = LOADS.map(|(_, _, load)| {
                let calls = |of: &str| evidence.number(&format!("{of}, {load}: {CALLS}"));
                Some(calls("edge")? < calls("level")?)
            });
            let less: Option<Vec<_>> = less.into_iter().collect();
            let less = less?;
            let what =
                msg!("the bytes of an event: it saves calls where an event takes several reads");
            Some(match (less.contains(&true), less.contains(&false)) {
                (true, true) => Verdict::DependsOn(what.to_owned()),
                (some, _) => confirmed_if(some),
            })
        },
    },
];

/// Counts the messages of a busy connection that are read before the one of a quiet connection, and the
/// events of a connection whose reader has stopped early.
fn busy_and_quiet(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    Ok(Evidence::default()
        .with(LEVEL, Pairs::open(false)?.read_before_quiet(1, false)?)
        .with(GREEDY, Pairs::open(true)?.read_before_quiet(FLOOD, false)?)
        .with(FAIR, Pairs::open(true)?.read_before_quiet(BUDGET, true)?)
        .with(LEVEL_AGAIN, Pairs::open(false)?.events_after_one_read()?)
        .with(EDGE_AGAIN, Pairs::open(true)?.events_after_one_read()?))
}

/// Two connections, one of which has a new message after each read.
struct Pairs {
    epoll: OwnedFd,
    busy: (OwnedFd, OwnedFd),
    quiet: (OwnedFd, OwnedFd),
}

const BUSY: u64 = 0;
const QUIET: u64 = 1;

impl Pairs {
    fn open(is_edge: bool) -> Result<Self, Error> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("open", "an epoll")?;
        let wanted = if is_edge { EventFlags::IN | EventFlags::ET } else { EventFlags::IN };
        let pair = |name| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .context("open", "a pair of sockets")?;
            epoll::add(&epoll, &pair.0, EventData::new_u64(name), wanted)
                .context("watch", "a socket")?;
            Ok::<_, Error>(pair)
        };
        let (busy, quiet) = (pair(BUSY)?, pair(QUIET)?);
        for (_, far) in [&busy, &quiet] {
            write(far, &[1]).context("send", "a message")?;
        }
        Ok(Self { epoll, busy, quiet })
    }

    /// Waits without blocking and returns the connections with an event.
    fn wait(&self) -> Result<Vec<u64>, Error> {
        let mut events = Vec::with_capacity(2);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&now))
            .context("wait for", "events")?;
        Ok(events.iter().map(|event| event.data.u64()).collect())
    }

    /// Reads at most `budget` messages of a connection at a time; an unread rest is remembered if the
    /// selector does not report it again. Returns the busy messages before the quiet one.
    fn read_before_quiet(&self, budget: u64, remembers: bool) -> Result<u64, Error> {
        let (mut busy_reads, mut unread) = (0, false);
        while busy_reads < FLOOD {
            let mut ready = self.wait()?;
            if unread && !ready.contains(&BUSY) {
                ready.push(BUSY);
            }
            // The busy one comes first, as it would if its message came first.
            ready.sort_unstable();
            for name in ready {
                if name == QUIET {
                    read(&self.quiet.0, &mut [0]).context("receive", "a message")?;
                    return Ok(busy_reads);
                }
                let mut taken = 0;
                while taken < budget && self.read_busy()? {
                    taken += 1;
                }
                busy_reads += taken;
                unread = remembers && taken == budget;
            }
        }
        Ok(busy_reads)
    }

    /// Reads a message of the busy connection, whose peer sends the next one at once.
    fn read_busy(&self) -> Result<bool, Error> {
        match read(&self.busy.0, &mut [0]) {
            Err(Errno::AGAIN) => Ok(false),
            other => {
                other.context("receive", "a message")?;
                write(&self.busy.1, &[1]).map(|_| true).context("send", "a message")
            }
        }
    }

    /// Sends another message, reads one of two, and returns the events of the next wait.
    fn events_after_one_read(&self) -> Result<usize, Error> {
        write(&self.busy.1, &[1]).context("send", "a message")?;
        self.wait()?;
        for (near, _) in [&self.busy, &self.quiet] {
            read(near, &mut [0]).context("receive", "a message")?;
        }
        Ok(self.wait()?.len())
    }
}

fn calls_by_load(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut worker = bench.base.worker()?;
    let mut evidence = Evidence::default();
    for (connections, bytes, load) in LOADS {
        let rounds = (RUN / bytes / connections).clamp(4, 256);
        let calls = [Cell::new(0_u64), Cell::new(0)];
        let pairs = alternate(bench.pairs(), |is_level| {
            let reply = worker.request(&json!({
                "command": "drain-events", "edge": !is_level, "connections": connections,
                "bytes": bytes, "rounds": rounds,
            }))?;
            calls[usize::from(is_level)].set(reply["calls"].as_u64().unwrap_or(0));
            let cpu = reply["cpu"].as_f64();
            cpu.ok_or_else(|| ExperimentError::Failed("a worker gave no CPU time".to_owned()))
        })?;
        for (of, calls) in [(msg!("edge"), &calls[0]), (msg!("level"), &calls[1])] {
            let each = ratio(calls.get(), rounds * connections);
            evidence = evidence.with(format!("{of}, {load}: {CALLS}"), each);
        }
        evidence = evidence.with_ratio(&format!("{RATIO}, {load}"), &pairs);
    }
    Ok(evidence)
}

#[allow(clippy::cast_precision_loss, reason = "counts of an experiment")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
