//! Claims about busy polling of sockets: where it acts, and latency against CPU time.
//!
//! Loopback has no NAPI instance, and a veth device has one if it merges received packets (GRO) that
//! the sending device has not segmented: so both cases can be measured without a network card.
//!
//! # Limitations
//! A veth device has no interrupts, so only the wake-up of the thread is saved. Without busy polling,
//! the softirq of the receiver runs on the time of the sender; with it, on that of the receiver.

use serde_json::{Value, json};

use super::bench::ClaimsBench;
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::ratio::{LATENCY, Order, alternate, noise};
use super::verdict::Verdict;
use super::waiting::errno;
use crate::error::{Error, Result as LabResult};
use crate::language::msg;
use crate::selftest::ExperimentError;
use crate::workers::{CoreSplit, Worker};

/// Microseconds of polling: longer than a round trip also on an emulated CPU, and shorter than the
/// longest gap of the timed runs.
const LONG_POLL: u64 = 50_000;
const POLL: u64 = 200;

/// Round trips of the counted runs.
const ROUND_TRIPS: u64 = 100;

/// The timed runs: microseconds between two messages, the number of messages, and the subjects of the
/// ratios of latency and CPU time.
const GAPS: [(u64, u64, &str, &str); 3] = [
    (0, 200, msg!("latency, no gap"), msg!("CPU time, no gap")),
    (100, 100, SHORT, msg!("CPU time, gaps of 100 us")),
    (1000, 30, LONG, msg!("CPU time, gaps of 1,000 us")),
];
const SHORT: &str = msg!("latency, gaps of 100 us");
const LONG: &str = msg!("latency, gaps of 1,000 us");
const OF_EPOLL: &str = msg!("latency by epoll, gaps of 100 us");

/// Addresses of the veth pair (RFC 5737: documentation only).
const ASKING: &str = "192.0.2.9";
const ANSWERING: &str = "192.0.2.10";

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 51,
        name: "busy-poll-device",
        statement: msg!("with SO_BUSY_POLL a receive polls instead of sleeping"),
        reason: msg!(
            "sk_busy_loop polls the NAPI instance that delivered the last packet; the kernel accepts the \
             option for a socket on lo, which has none, and a network card has one for each queue"
        ),
        needs: &[],
        experiment: sleeps,
        rule: |evidence| {
            let trips = evidence.count("round trips")?;
            let polls = |over: &str| {
                let sleeps = evidence.count(&format!("SO_BUSY_POLL over {over}: sleeps"))?;
                Some(sleeps * 2 < trips)
            };
            let what = msg!("the device: it needs a NAPI instance, which lo does not have");
            Some(match (polls("lo")?, polls("veth")) {
                (true, Some(true)) => Verdict::Confirmed,
                (false, Some(true)) => Verdict::DependsOn(what.to_owned()),
                (false, None) => no_device(),
                _ => Verdict::Refuted,
            })
        },
    },
    Claim {
        number: 52,
        name: "busy-poll-latency",
        statement: msg!("busy polling lowers latency"),
        reason: msg!(
            "the thread that polls needs no wake-up; if the next message comes after the end of polling, \
             it sleeps as before, and the CPU time of polling is lost"
        ),
        needs: &[],
        experiment: latency,
        rule: |evidence| {
            if evidence.count("NAPI id")? == 0 {
                return Some(no_device());
            }
            let what = msg!(
                "the gap between two messages: it has to be shorter than the time of polling, which \
                 costs CPU time in any case"
            );
            Some(match (evidence.order(SHORT)?, evidence.order(LONG)?) {
                (Order::Less, Order::Less) => Verdict::Confirmed,
                (Order::Less, _) => Verdict::DependsOn(what.to_owned()),
                (Order::Unclear, _) => noise(),
                _ => Verdict::Refuted,
            })
        },
    },
];

fn no_device() -> Verdict {
    let why = msg!("no device here gives a socket a NAPI id: it needs a network card");
    Verdict::NotMeasurable(why.to_owned())
}

/// Counts how often the answering process sleeps.
fn sleeps(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut evidence = Evidence::default().with(msg!("round trips"), ROUND_TRIPS);
    for (over, pair) in [("lo", Pair::over_loopback(bench)?), ("veth", Pair::over_veth(bench)?)] {
        let mut pair = match pair {
            Ok(pair) => pair,
            Err(error) => {
                let name = format!("{over}: {}", msg!("error"));
                evidence = evidence.with(name, error.to_string().as_str());
                continue;
            }
        };
        for (name, wait, microseconds) in [
            ("recv", "receive", 0),
            ("SO_BUSY_POLL", "receive", LONG_POLL),
            ("epoll", "epoll", 0),
            ("EPIOCSPARAMS", "epoll", LONG_POLL),
        ] {
            let asked = pair.run(wait, microseconds, ROUND_TRIPS, 0)?;
            evidence = match asked {
                Ok(run) => {
                    let evidence = if microseconds == 0 && wait == "receive" {
                        evidence.with(format!("{over}: {}", msg!("NAPI id")), run.napi_id)
                    } else {
                        evidence
                    };
                    evidence.with(format!("{name} over {over}: {}", msg!("sleeps")), run.sleeps)
                }
                Err(refused) => evidence
                    .with(format!("{name} over {over}: {}", msg!("error")), errno(&json!(refused))),
            };
        }
    }
    Ok(evidence)
}

fn latency(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut pair = match Pair::over_veth(bench)? {
        Ok(pair) => pair,
        Err(error) => return Err(ExperimentError::Skipped(error.to_string())),
    };
    let napi_id = pair.accepted("receive", 0, 1, 0)?.napi_id;
    let mut evidence =
        Evidence::default().with(msg!("NAPI id"), napi_id).with(msg!("us of polling"), POLL);
    for (gap, count, latency, cpu) in GAPS {
        let mut costs = Vec::new();
        let times = alternate(bench.pairs(), |sleeping| {
            let run = pair.accepted("receive", if sleeping { 0 } else { POLL }, count, gap)?;
            costs.push((sleeping, run.cpu));
            Ok(run.latency)
        })?;
        evidence =
            evidence.with_ratio_of(latency, LATENCY, &times).with_ratio(cpu, &in_pairs(&costs));
    }
    let (gap, count, ..) = GAPS[1];
    if let Err(refused) = pair.run("epoll", POLL, 1, 0)? {
        let name = format!("EPIOCSPARAMS: {}", msg!("error"));
        return Ok(evidence.with(name, errno(&json!(refused))));
    }
    let times = alternate(bench.pairs(), |sleeping| {
        Ok(pair.accepted("epoll", if sleeping { 0 } else { POLL }, count, gap)?.latency)
    })?;
    Ok(evidence.with_ratio_of(OF_EPOLL, LATENCY, &times))
}

/// Pairs the costs of alternating runs: polling first; the first pair is discarded.
fn in_pairs(costs: &[(bool, f64)]) -> Vec<(f64, f64)> {
    let pairs = costs.chunks_exact(2).skip(1).map(|pair| {
        let ((first_sleeps, first), (_, second)) = (pair[0], pair[1]);
        if first_sleeps { (second, first) } else { (first, second) }
    });
    pairs.collect()
}

/// Two processes with a core each, one of which asks and the other one answers.
struct Pair {
    asking: Worker,
    answering: Worker,
    at: &'static str,
}

/// The figures of a run.
struct Run {
    /// Median time of a round trip, in nanoseconds.
    latency: f64,
    /// CPU time of the answering process, in nanoseconds.
    cpu: f64,
    sleeps: u64,
    napi_id: u64,
}

impl Pair {
    fn start(bench: &ClaimsBench<'_>, at: &'static str) -> Result<Self, ExperimentError> {
        let cores = CoreSplit::of_allowed()?;
        if cores.server == cores.clients {
            let why = "one core: the process that polls would take it from the one that asks";
            return Err(ExperimentError::Skipped(why.to_owned()));
        }
        let start = |core| bench.plan.workers.start(core);
        Ok(Self { asking: start(0)?, answering: start(1)?, at })
    }

    fn over_loopback(bench: &ClaimsBench<'_>) -> Result<LabResult<Self>, ExperimentError> {
        Self::start(bench, "127.0.0.1").map(Ok)
    }

    /// Connects both processes by veth devices with NAPI instances, in private networks.
    fn over_veth(bench: &ClaimsBench<'_>) -> Result<LabResult<Self>, ExperimentError> {
        let mut pair = Self::start(bench, ANSWERING)?;
        Ok(pair.set_up_veth().map(|()| pair))
    }

    fn set_up_veth(&mut self) -> LabResult<()> {
        let (near, far) = ("karez3", "karez4");
        self.asking.request(&json!({ "command": "enter-network" }))?;
        let with = self.asking.pid().as_raw_nonzero().get();
        self.answering.request(&json!({ "command": "enter-network", "user_of": with }))?;
        let of = self.answering.pid().as_raw_nonzero().get();
        self.asking.request(
            &json!({ "command": "add-veth", "name": near, "peer": far, "peer_process": of }),
        )?;
        for (worker, name, address) in
            [(&mut self.asking, near, ASKING), (&mut self.answering, far, ANSWERING)]
        {
            for (offload, on) in [("receive", true), ("segmentation", false)] {
                worker.request(&json!({
                    "command": "set-offload", "offload": offload, "name": name, "on": on,
                }))?;
            }
            worker
                .request(&json!({ "command": "add-address", "name": name, "address": address }))?;
        }
        Ok(())
    }

    /// Makes round trips, or returns the errno of the option that makes the answering process poll.
    fn run(
        &mut self,
        wait: &str,
        microseconds: u64,
        count: u64,
        gap: u64,
    ) -> Result<Result<Run, i64>, ExperimentError> {
        let listening = self.answering.request(&json!({
            "command": "listen-round-trips", "at": self.at, "wait": wait,
            "microseconds": microseconds,
        }))?;
        if let Some(refused) = listening["errno"].as_i64().filter(|&errno| errno != 0) {
            return Ok(Err(refused));
        }
        self.answering.send(&json!({ "command": "answer-round-trips" }))?;
        let made = self.asking.request(&json!({
            "command": "make-round-trips", "to": listening["address"], "count": count, "gap": gap,
        }))?;
        let answered = self.answering.receive()?;
        let missing = || Error::new("read", "the figures of a run", "one is missing");
        let number = |value: &Value| value.as_f64().ok_or_else(missing);
        let count = |value: &Value| value.as_u64().ok_or_else(missing);
        Ok(Ok(Run {
            latency: number(&made["nanoseconds"])?,
            cpu: number(&answered["usage"]["cpu"])?,
            sleeps: count(&answered["usage"]["voluntary"])?,
            napi_id: count(&answered["napi_id"])?,
        }))
    }

    /// The same, for an option that the kernel has to accept.
    fn accepted(
        &mut self,
        wait: &str,
        microseconds: u64,
        count: u64,
        gap: u64,
    ) -> Result<Run, ExperimentError> {
        self.run(wait, microseconds, count, gap)?.map_err(|refused| {
            ExperimentError::Skipped(format!("busy polling is refused: {}", errno(&json!(refused))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_paired_like_the_times_of_alternating_runs() {
        let costs =
            [(false, 9.0), (true, 9.0), (true, 2.0), (false, 1.0), (false, 3.0), (true, 4.0)];
        assert_eq!(in_pairs(&costs), [(1.0, 2.0), (3.0, 4.0)]);
    }
}
