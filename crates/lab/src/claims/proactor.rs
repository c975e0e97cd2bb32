//! The claim about Reactor and Proactor: which side reads, by how many calls, and what an idle
//! connection holds. Servers by epoll, by io_uring and by POSIX AIO run the same task on one event loop.
//!
//! # Limitations
//! It counts; the CPU times of epoll and io_uring are compared by the claim "io_uring is faster than
//! epoll". Memory of the kernel, such as that of a socket or a thread, is not counted.

use karez_reactor::Model;
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::fs;

use super::bench::{ClaimsBench, MANY, SOME};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult, Figure};
use super::verdict::Verdict;
use crate::language::msg;
use crate::models::EchoSetup;
use crate::probe::Scope;
use crate::selftest::{Counter, ExperimentError};
use crate::workers::CoreSplit;

/// A Reactor and two Proactors.
const MODELS: [Model; 3] = [Model::EpollEdge, Model::Uring, Model::PosixAio];

/// The calls by which a program receives from a socket.
const RECEIVES: [&str; 5] = ["read", "readv", "recvfrom", "recvmsg", "pread64"];

const CALLS: &str = msg!("system calls per request");
const OWN_RECEIVES: &str = msg!("receive calls of the program per request");
const COPIED: &str = msg!("bytes copied to the program per request");

pub(super) const CLAIMS: &[Claim] = &[Claim {
    number: 53,
    name: "reactor-proactor",
    statement: msg!("a Proactor does less than a Reactor, because the kernel reads for it"),
    reason: msg!(
        "a Reactor calls recv when a socket is readable; io_uring receives in the kernel and reports \
         many completions by one call; glibc has a thread call read for each operation. Each copies \
         every byte once, and only a Reactor needs no receive for an idle connection"
    ),
    needs: &[],
    experiment: in_both_patterns,
    rule: |evidence| {
        let number = |model: Model, name: &str| evidence.number(&format!("{model}: {name}"));
        let reactor = number(Model::EpollEdge, CALLS)?;
        let copied = number(Model::EpollEdge, COPIED);
        let does_less = |model| {
            let calls = number(model, CALLS)? < reactor;
            let receives = number(model, OWN_RECEIVES)? < 0.5;
            // Where copies cannot be counted, the calls decide.
            let more_copies = copied.zip(number(model, COPIED)).is_some_and(|(of, it)| it > of);
            Some(calls && receives && !more_copies)
        };
        let (uring, aio) = (does_less(Model::Uring), does_less(Model::PosixAio));
        let what = msg!(
            "the implementation: with io_uring the kernel receives and the calls are saved, not the copy; \
             with POSIX AIO threads of the program receive, by more calls than a Reactor makes"
        );
        let all: Vec<_> = [uring, aio].into_iter().flatten().collect();
        Some(match (all.iter().any(|&less| less), all.iter().all(|&less| less)) {
            _ if all.is_empty() => return None,
            (true, true) => Verdict::Confirmed,
            (true, false) => Verdict::DependsOn(what.to_owned()),
            (false, _) => Verdict::Refuted,
        })
    },
}];

fn in_both_patterns(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut evidence = Evidence::default()
        .with(msg!("connections"), u64::from(SOME))
        .with(msg!("idle connections"), u64::from(MANY));
    for model in MODELS {
        match figures(bench, model) {
            Ok(figures) => {
                for (name, figure) in figures {
                    evidence = evidence.with(format!("{model}: {name}"), figure);
                }
            }
            // The Reactor is what the others are compared with.
            Err(error) if model == Model::EpollEdge => return Err(error),
            Err(ExperimentError::Failed(why) | ExperimentError::Skipped(why)) => {
                evidence = evidence.with(format!("{model}: {}", msg!("error")), why.as_str());
            }
        }
    }
    Ok(evidence)
}

/// Measures a server by one model.
fn figures(
    bench: &mut ClaimsBench<'_>,
    model: Model,
) -> Result<Vec<(&'static str, Figure)>, ExperimentError> {
    let mut setup = EchoSetup::start(&bench.plan.workers, &CoreSplit::of_allowed()?, model)?;
    setup.connect(SOME)?;
    let calls = setup.count_calls(SOME);
    let calls = calls.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
    let mut figures =
        vec![(CALLS, calls.values().sum::<f64>().into()), (OWN_RECEIVES, receives(&calls).into())];
    if bench.test.usable(Counter::Receiver) {
        let counters = bench.base.counters()?;
        counters.aim(&Scope::default().process(setup.server.pid()))?;
        let requests = setup.marked_requests(SOME)?;
        let counts = counters.take()?;
        let copied = counts.processes.first().map_or(0, |own| own.received);
        figures.push((COPIED, ratio(copied, requests).into()));
    }
    // Each of the first connections has been used: the further ones count.
    let before = anonymous_memory(setup.server.pid());
    setup.connect(MANY)?;
    setup.wait_until_quiescent()?;
    let after = anonymous_memory(setup.server.pid());
    if let Some((before, after)) = before.zip(after) {
        let each = after.saturating_sub(before) / u64::from(MANY - SOME);
        figures.push((msg!("bytes of user memory per idle connection"), each.into()));
    }
    let threads = setup.server.threads()?.values().sum::<u64>();
    figures.push((msg!("threads of the server"), threads.into()));
    Ok(figures)
}

fn receives(calls: &BTreeMap<String, f64>) -> f64 {
    // The sum of no numbers would be -0.
    RECEIVES.iter().filter_map(|name| calls.get(*name)).fold(0.0, |sum, each| sum + each)
}

/// Returns the bytes of anonymous memory of a process (proc(5), Linux 4.14).
fn anonymous_memory(process: Pid) -> Option<u64> {
    let path = format!("/proc/{}/smaps_rollup", process.as_raw_nonzero());
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[allow(clippy::cast_precision_loss, reason = "counts of an experiment")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
