//! Claims about the direct cost of a context switch and of a page fault.

use serde_json::{Value, json};

use super::bench::ClaimsBench;
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::ratio::noise;
use super::verdict::Verdict;
use crate::language::msg;
use crate::selftest::ExperimentError;
use crate::stats::MedianRange;

/// Nanoseconds that "several microseconds" means at least.
const SEVERAL: f64 = 2000.0;

/// Rounds of a run, each with two switches; pages of a run.
const ROUNDS: u64 = 2000;
const PAGES: u64 = 16 << 10;

const SWITCH: &str = msg!("context switch");
const FAULT: &str = msg!("page fault");
const CPU: &str = msg!("CPU ns");

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 45,
        name: "context-switch",
        statement: msg!("a context switch costs several microseconds"),
        reason: msg!(
            "the direct cost is that of wake-up and schedule(), between threads of one process \
             without a change of page tables; cold caches cost more afterwards"
        ),
        needs: &[],
        experiment: switches,
        rule: |evidence| {
            // Two in each round; other threads on the core may have saved some.
            let rounds = evidence.count("rounds")?;
            let switched = evidence.count("context switches")? * 2 >= rounds * 3;
            let why = msg!("the threads did not switch");
            if switched {
                several_microseconds(evidence, SWITCH)
            } else {
                Some(Verdict::NotMeasurable(why.to_owned()))
            }
        },
    },
    Claim {
        number: 46,
        name: "page-fault",
        statement: msg!("a page fault without disk I/O costs several microseconds"),
        reason: msg!(
            "the fault allocates a page, clears it and enters it in the page table; one that reads from \
             a disk waits for it"
        ),
        needs: &[],
        experiment: faults,
        rule: |evidence| {
            if evidence.count("faults")? * 2 < evidence.count("pages")? {
                let why = msg!("a fault provided more than one page");
                return Some(Verdict::NotMeasurable(why.to_owned()));
            }
            several_microseconds(evidence, FAULT)
        },
    },
];

fn several_microseconds(evidence: &Evidence, subject: &str) -> Option<Verdict> {
    let low = evidence.number(&format!("{subject}: at least"))?;
    let high = evidence.number(&format!("{subject}: at most"))?;
    Some(match (low >= SEVERAL, high < SEVERAL) {
        (true, _) => Verdict::Confirmed,
        (_, true) => Verdict::Refuted,
        _ => noise(),
    })
}

fn switches(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let command = json!({ "command": "switch-threads", "rounds": ROUNDS });
    let replies = replies(bench, &command)?;
    let number = |reply: &Value, name: &str| reply[name].as_u64().unwrap_or(0);
    // The same calls by one thread are not part of a switch.
    let each = replies.iter().map(|reply| {
        ratio(number(reply, "both").saturating_sub(number(reply, "alone")), 2 * ROUNDS)
    });
    let switches = replies.iter().map(|reply| number(reply, "switches")).min();
    Ok(Evidence::default()
        .with(msg!("rounds"), ROUNDS)
        .with(msg!("context switches"), switches.unwrap_or(0))
        .with_interval(SWITCH, CPU, MedianRange::with_confidence(each)))
}

fn faults(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let replies = replies(bench, &json!({ "command": "touch-pages", "pages": PAGES }))?;
    let number = |reply: &Value, name: &str| reply[name].as_u64().unwrap_or(0);
    let each = replies.iter().map(|reply| {
        let cost = number(reply, "first").saturating_sub(number(reply, "second"));
        ratio(cost, number(reply, "faults"))
    });
    let faults = replies.iter().map(|reply| number(reply, "faults")).min();
    Ok(Evidence::default()
        .with(msg!("pages"), PAGES)
        .with(msg!("faults"), faults.unwrap_or(0))
        .with_interval(FAULT, CPU, MedianRange::with_confidence(each)))
}

/// Runs a command repeatedly on a fresh worker, without the first reply.
fn replies(bench: &ClaimsBench<'_>, command: &Value) -> Result<Vec<Value>, ExperimentError> {
    let mut worker = bench.base.worker()?;
    worker.request(command)?;
    let replies: Result<_, _> = (0..bench.pairs()).map(|_| worker.request(command)).collect();
    Ok(replies?)
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds and counts of an experiment")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
