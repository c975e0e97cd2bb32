//! The checks where two ways of counting have to agree: provenance with the mutation probe, with
//! hooks on functions, and what transfers say of themselves with ptrace.

use karez_transfer::{Direction, Via};
use std::collections::BTreeMap;

use super::bench::{Bench, is};
use super::check::{Figure, Stop};
use super::counter::Counter;
use super::definition::Definition;
use crate::ground::Cache;
use crate::movement::Movement;
use crate::mutation::{Fate, fate};
use crate::outcome::Outcome as Moved;
use crate::transport::Transport;

type Outcome = Result<(), Stop>;

/// Enough to tell, and little enough for every via.
const BYTES: u64 = 4 << 20;

pub(super) const CHECKS: &[Definition] = &[
    Definition {
        letter: 'j',
        name: "the mutation probe agrees with provenance, for every via",
        vouches: &[Counter::Mutation, Counter::PageCache, Counter::Kernel],
        body: mutation,
    },
    Definition {
        letter: 'k',
        name: "hooks on functions agree with tracepoints",
        vouches: &[Counter::FileToUser],
        body: functions,
    },
    Definition {
        letter: 'm',
        name: "transfers count their own system calls as ptrace sees them",
        vouches: &[Counter::Own],
        body: own_calls,
    },
];

fn vias() -> impl Iterator<Item = Via> {
    Direction::FileToSocket.vias().iter().copied().filter(|&via| via != Via::Auto)
}

fn mutation(bench: &mut Bench<'_>, figures: &mut Vec<Figure>) -> Outcome {
    bench.counters()?;
    for transport in [Transport::Unix, Transport::Loopback] {
        for via in vias() {
            let fate = fate(via, transport, &bench.plan.directory)?;
            let expected = match fate {
                Fate::Aliased => BYTES.min(bench.plan.bytes),
                Fate::Copied => 0,
                Fate::Refused(_) => continue,
            };
            let bytes = BYTES.min(bench.plan.bytes);
            let chunk = Some(bench.plan.chunk);
            let movement = Movement { bytes, ..Movement::of(&bench.ground, via, chunk) };
            let (outcome, counts) = bench.counted(&movement, transport)?;
            let what = format!("{via} over {transport}: bytes that were the file's on arrival");
            is(figures, what, expected, aliased(&outcome, counts.sent().ours));
            let what = format!("{via} over {transport}: bytes in all");
            is(figures, what, bytes, counts.sent().payload());
        }
    }
    Ok(())
}

/// The bytes that left in pages of the file and were not copied behind the driver, as the error
/// queue tells it of `MSG_ZEROCOPY`.
fn aliased(outcome: &Moved, ours: u64) -> u64 {
    let told = outcome.zerocopy;
    if told.sends > 0 && told.copied == told.sends { 0 } else { ours }
}

fn functions(bench: &mut Bench<'_>, figures: &mut Vec<Figure>) -> Outcome {
    let missing = bench.counters()?.missing().iter().find(|one| one.is_function);
    if let Some(missing) = missing {
        return Err(Stop::Skipped(format!("fexit {}: {}", missing.name, missing.why)));
    }
    let movement = Movement::of(&bench.ground, Via::Copy, Some(bench.plan.chunk));
    let (outcome, _) = bench.counted(&movement, Transport::Loopback)?;
    let own = outcome.sent_by().ok_or_else(|| Stop::Failed("no process".to_owned()))?;
    is(figures, "bytes that filemap_read copied", own.read(), own.filemap_read.unwrap_or(0));
    let movement = Movement::of(&bench.ground, Via::Sendfile, Some(bench.plan.chunk));
    let (outcome, _) = bench.counted(&movement, Transport::Loopback)?;
    let copied = outcome.sent_by().and_then(|own| own.filemap_read).unwrap_or(u64::MAX);
    is(figures, "bytes that filemap_read copied for sendfile", 0, copied);
    Ok(())
}

fn own_calls(bench: &mut Bench<'_>, figures: &mut Vec<Figure>) -> Outcome {
    bench.ground.prepare(Cache::Warm)?;
    for transport in [Transport::Unix, Transport::Loopback] {
        for via in vias() {
            let bytes = BYTES.min(bench.plan.bytes);
            let chunk = Some(bench.plan.chunk);
            let movement = Movement { bytes, ..Movement::of(&bench.ground, via, chunk) };
            let (outcome, traced) = bench.traced(&movement, transport)?;
            for (name, count) in &outcome.calls {
                // The allocator maps memory, too.
                if name != "mmap" {
                    let what = format!("{via} over {transport}: calls of {name}");
                    is(figures, what, *count, seen(&traced, name));
                }
            }
        }
    }
    Ok(())
}

/// A call by the name that the transfer has for it.
fn seen(traced: &BTreeMap<String, u64>, name: &str) -> u64 {
    let names: &[&str] = match name {
        "open" => &["openat", "open"],
        "fstat" => &["fstat", "newfstatat"],
        _ => &[name],
    };
    names.iter().filter_map(|name| traced.get(*name)).sum()
}
