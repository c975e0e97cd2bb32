//! Claims about options of io_uring: registered buffers, a kernel thread that submits, reads of cached
//! and of cold files, and `SEND_ZC`.
//!
//! # Limitations
//! The CPU time includes that of the submitting thread. Loopback copies what `SEND_ZC` refers to.

use serde_json::{Value, json};

use super::bench::ClaimsBench;
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::ratio::{LATENCY, Order, alternate, costs_less, noise};
use super::sending::worker_with_dummy;
use super::verdict::Verdict;
use crate::language::msg;
use crate::selftest::ExperimentError;
use crate::test_file::CacheState;
use crate::workers::Worker;

/// Size of a read, and the number of operations in flight.
const BLOCK: u64 = 4 << 10;
const DEPTH: u64 = 32;

/// Bytes of the file that a run reads.
const READ: u64 = 4 << 20;

/// Datagrams of a run, and their size.
const DATAGRAMS: u64 = 1024;
const DATAGRAM: u64 = 60 << 10;

const REGISTERED: &str = msg!("registered buffers/none, cached");
const REGISTERED_DIRECT: &str = msg!("registered buffers/none, O_DIRECT");
const SQPOLL: &str = msg!("SQPOLL/none, cached");
const ONE_CACHED: &str = msg!("uring/pread, cached, 1 in flight");
const MANY_CACHED: &str = msg!("uring/pread, cached, 32 in flight");
const MANY_COLD: &str = msg!("uring/pread, from the disk, 32 in flight");
const OVER_LO: &str = msg!("SEND_ZC/send over lo, 60 KiB");
const REGISTERED_LO: &str = msg!("SEND_ZC of registered memory/send over lo, 60 KiB");
const OVER_DUMMY: &str = msg!("SEND_ZC/send over a dummy device, 60 KiB");
const REGISTERED_DUMMY: &str =
    msg!("SEND_ZC of registered memory/send over a dummy device, 60 KiB");

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 56,
        name: "uring-options",
        statement: msg!("registered buffers and SQPOLL make io_uring cheaper"),
        reason: msg!(
            "a registered buffer saves the pinning of its pages, which only O_DIRECT and sends by reference \
             need; SQPOLL saves the calls, by a thread that polls all the time"
        ),
        needs: &[],
        experiment: options,
        rule: |evidence| {
            let subjects = [REGISTERED, REGISTERED_DIRECT, SQPOLL];
            let orders: Vec<_> = subjects.iter().filter_map(|of| evidence.order(of)).collect();
            let what =
                msg!("the option and the kind of read; SQPOLL moves the work to another thread");
            evidence.order(REGISTERED).map(|_| costs_less(&orders, what))
        },
    },
    Claim {
        number: 57,
        name: "uring-reads",
        statement: msg!("io_uring reads a file faster than pread"),
        reason: msg!(
            "a read of cached bytes is a copy in both cases; reads from the disk run at the same time in a \
             ring, while a thread with pread waits for each"
        ),
        needs: &[],
        experiment: reads,
        rule: |evidence| {
            let (one, many) = (evidence.order(ONE_CACHED)?, evidence.order(MANY_CACHED)?);
            let what = msg!(
                "the page cache and the number in flight: it gains where reads wait for the disk"
            );
            let orders: Vec<_> =
                [Some(one), Some(many), evidence.order(MANY_COLD)].into_iter().flatten().collect();
            // Of the cached reads, an unclear one does not hide what the disk shows.
            let from_disk = evidence.order(MANY_COLD);
            Some(match (from_disk, one) {
                (Some(Order::Less), Order::Same | Order::More) => {
                    Verdict::DependsOn(what.to_owned())
                }
                _ => costs_less(&orders, what),
            })
        },
    },
    Claim {
        number: 58,
        name: "send-zc",
        statement: msg!("SEND_ZC with registered buffers takes less CPU than send"),
        reason: msg!(
            "registered memory is pinned once, so a send refers to it without a lookup; lo copies it late in \
             any case"
        ),
        needs: &[],
        experiment: sends,
        rule: |evidence| {
            let over_lo = evidence.order(REGISTERED_LO)?;
            let what =
                msg!("the device: lo copies every send, so only a device that does not copy gains");
            if evidence.word("dummy device").is_some() {
                let what =
                    msg!("the device: lo copied every send; another device could not be tested");
                return Some(Verdict::DependsOn(what.to_owned()));
            }
            Some(match (over_lo, evidence.order(REGISTERED_DUMMY)?) {
                (_, Order::Unclear) => noise(),
                (Order::Less, Order::Less) => Verdict::Confirmed,
                (_, Order::Less) => Verdict::DependsOn(what.to_owned()),
                _ => Verdict::Refuted,
            })
        },
    },
];

/// A way of reading the blocks of the file.
fn blocks(bench: &ClaimsBench<'_>, by: &str, depth: u64) -> Value {
    json!({
        "command": "read-blocks", "file": bench.base.test_file.path(), "by": by, "depth": depth,
        "bytes": READ.min(bench.plan.bytes), "block": BLOCK, "seed": 7,
    })
}

/// Compares two ways of reading in pairs of runs, by one figure of the reply.
fn compared(
    bench: &ClaimsBench<'_>,
    worker: &mut Worker,
    figure: &str,
    ways: &[Value; 2],
) -> Result<Vec<(f64, f64)>, ExperimentError> {
    alternate(bench.pairs(), |is_second| {
        let reply = worker.request(&ways[usize::from(is_second)])?;
        let cost = reply[figure].as_f64();
        cost.ok_or_else(|| ExperimentError::Failed(format!("a worker gave no {figure}")))
    })
}

fn with(mut command: Value, option: &str) -> Value {
    command[option] = json!(true);
    command
}

fn options(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    bench.base.test_file.prepare(CacheState::Warm)?;
    let mut worker = bench.base.worker()?;
    let plain = blocks(bench, "uring", DEPTH);
    let direct = with(plain.clone(), "direct");
    let mut evidence = Evidence::default();
    for (name, command) in
        [(msg!("plain"), plain.clone()), ("SQPOLL", with(plain.clone(), "sqpoll"))]
    {
        if let Ok((_, calls)) = worker.request_traced(&command) {
            let entered = calls.get("io_uring_enter").copied().unwrap_or(0);
            evidence = evidence.with(format!("{name}: calls of io_uring_enter"), entered);
        }
    }
    for (subject, option, base) in [
        (REGISTERED, "registered_memory", &plain),
        (REGISTERED_DIRECT, "registered_memory", &direct),
        (SQPOLL, "sqpoll", &plain),
    ] {
        let ways = [with(base.clone(), option), base.clone()];
        evidence = match compared(bench, &mut worker, "cpu", &ways) {
            Ok(pairs) => evidence.with_ratio(subject, &pairs),
            // A file system without O_DIRECT, or a kernel that does not permit the thread.
            Err(ExperimentError::Failed(why) | ExperimentError::Skipped(why)) => {
                evidence.with(format!("{subject}: {}", msg!("error")), why.as_str())
            }
        };
    }
    if evidence.order(REGISTERED).is_none() {
        return Err(ExperimentError::Skipped("no io_uring".to_owned()));
    }
    Ok(evidence)
}

fn reads(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    bench.base.test_file.prepare(CacheState::Warm)?;
    let mut worker = bench.base.worker()?;
    let pread = blocks(bench, "pread", 1);
    let mut evidence = Evidence::default();
    for (subject, depth) in [(ONE_CACHED, 1), (MANY_CACHED, DEPTH)] {
        let ways = [blocks(bench, "uring", depth), pread.clone()];
        evidence = evidence.with_ratio(subject, &compared(bench, &mut worker, "cpu", &ways)?);
    }
    let ways = [with(blocks(bench, "uring", DEPTH), "cold"), with(pread, "cold")];
    Ok(match compared(bench, &mut worker, "nanoseconds", &ways) {
        Ok(pairs) => evidence.with_ratio_of(MANY_COLD, LATENCY, &pairs),
        // A file system in memory.
        Err(ExperimentError::Failed(why) | ExperimentError::Skipped(why)) => {
            evidence.with(format!("{MANY_COLD}: {}", msg!("error")), why.as_str())
        }
    })
}

fn sends(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let datagrams = |by: &str, to: Option<&str>| {
        json!({
            "command": "ring-datagrams", "by": by, "to": to, "bytes": DATAGRAM, "count": DATAGRAMS,
            "depth": DEPTH,
        })
    };
    let mut evidence = Evidence::default();
    let mut devices = vec![(bench.base.worker()?, None, OVER_LO, REGISTERED_LO)];
    match worker_with_dummy(bench) {
        Ok(worker) => {
            devices.push((worker, Some("192.0.2.6:9"), OVER_DUMMY, REGISTERED_DUMMY));
        }
        Err(error) => evidence = evidence.with(msg!("dummy device"), error.to_string().as_str()),
    }
    for (mut worker, to, plain, registered) in devices {
        for (subject, command) in [
            (plain, datagrams("reference", to)),
            (registered, with(datagrams("reference", to), "registered_memory")),
        ] {
            let ways = [command, datagrams("copy", to)];
            let pairs = compared(bench, &mut worker, "cpu", &ways);
            let pairs = pairs.map_err(|error| match error {
                ExperimentError::Failed(why) => ExperimentError::Skipped(why),
                skipped @ ExperimentError::Skipped(_) => skipped,
            })?;
            evidence = evidence.with_ratio(subject, &pairs);
        }
    }
    Ok(evidence)
}
