//! Checks in which two methods of counting have to agree: provenance with the mutation probe and
//! with function hooks, and the transfers' own counts with ptrace.

use karez_transfer::{Direction, Via};
use std::collections::BTreeMap;

use super::bench::{SelfTestBench, expect};
use super::check::{CheckOutcome, CheckedFigure, ExperimentError};
use super::counter::Counter;
use super::definition::CheckDefinition;
use crate::language::msg;
use crate::mutation::{CopyVerdict, mutation_probe};
use crate::test_file::CacheState;
use crate::transfer_outcome::TransferOutcome;
use crate::transfer_spec::TransferSpec;
use crate::transport::Transport;

/// Large enough to be significant and small enough for every via.
const BYTES: u64 = 4 << 20;

pub(super) const CHECKS: &[CheckDefinition] = &[
    CheckDefinition {
        letter: 'j',
        name: msg!("the mutation probe agrees with provenance, for every via"),
        validates: &[Counter::Mutation, Counter::PageCache, Counter::Kernel],
        body: mutation,
    },
    CheckDefinition {
        letter: 'k',
        name: msg!("hooks on functions agree with tracepoints"),
        validates: &[Counter::FileToUser],
        body: functions,
    },
    CheckDefinition {
        letter: 'm',
        name: msg!("transfers count their own system calls as ptrace sees them"),
        validates: &[Counter::Own],
        body: own_calls,
    },
];

fn vias() -> impl Iterator<Item = Via> {
    Direction::FileToSocket.vias().iter().copied().filter(|&via| via != Via::Auto)
}

fn mutation(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    bench.counters()?;
    for transport in [Transport::Unix, Transport::Loopback] {
        for via in vias() {
            let verdict = mutation_probe(via, transport, &bench.plan.directory)?;
            let expected = match verdict {
                CopyVerdict::Aliased => BYTES.min(bench.plan.bytes),
                CopyVerdict::Copied => 0,
                CopyVerdict::Refused(_) => continue,
            };
            let bytes = BYTES.min(bench.plan.bytes);
            let chunk = Some(bench.plan.chunk);
            let spec = TransferSpec { bytes, ..TransferSpec::of(&bench.test_file, via, chunk) };
            let (outcome, counts) = bench.counted(&spec, transport)?;
            let subject = format!(
                "{via} over {transport}: {}",
                msg!("bytes that were the file's on arrival")
            );
            expect(figures, subject, expected, aliased(&outcome, counts.sent().ours));
            let subject = format!("{via} over {transport}: {}", msg!("bytes in all"));
            expect(figures, subject, bytes, counts.sent().payload());
        }
    }
    Ok(())
}

/// Returns the bytes sent in pages of the file and not copied later, as reported by the error queue
/// for `MSG_ZEROCOPY`.
fn aliased(outcome: &TransferOutcome, ours: u64) -> u64 {
    let reply = outcome.zerocopy;
    if reply.sends > 0 && reply.copied == reply.sends { 0 } else { ours }
}

fn functions(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    let missing = bench.counters()?.missing().iter().find(|one| one.is_function);
    if let Some(missing) = missing {
        return Err(ExperimentError::Skipped(format!("fexit {}: {}", missing.name, missing.why)));
    }
    let spec = TransferSpec::of(&bench.test_file, Via::Copy, Some(bench.plan.chunk));
    let (outcome, _) = bench.counted(&spec, Transport::Loopback)?;
    let own =
        outcome.sender_counts().ok_or_else(|| ExperimentError::Failed("no process".to_owned()))?;
    expect(
        figures,
        msg!("bytes that filemap_read copied"),
        own.read(),
        own.filemap_read.unwrap_or(0),
    );
    let spec = TransferSpec::of(&bench.test_file, Via::Sendfile, Some(bench.plan.chunk));
    let (outcome, _) = bench.counted(&spec, Transport::Loopback)?;
    let copied = outcome.sender_counts().and_then(|own| own.filemap_read).unwrap_or(u64::MAX);
    expect(figures, msg!("bytes that filemap_read copied for sendfile"), 0, copied);
    Ok(())
}

fn own_calls(bench: &mut SelfTestBench<'_>, figures: &mut Vec<CheckedFigure>) -> CheckOutcome {
    bench.test_file.prepare(CacheState::Warm)?;
    for transport in [Transport::Unix, Transport::Loopback] {
        for via in vias() {
            let bytes = BYTES.min(bench.plan.bytes);
            let chunk = Some(bench.plan.chunk);
            let spec = TransferSpec { bytes, ..TransferSpec::of(&bench.test_file, via, chunk) };
            let (outcome, traced) = bench.traced(&spec, transport)?;
            for (name, count) in &outcome.calls {
                // The allocator maps memory as well, and in a debug build the standard library checks
                // by F_GETFD that a descriptor is open before it closes it.
                let is_own = name != "mmap" && !(cfg!(debug_assertions) && name == "fcntl");
                if is_own {
                    let subject = format!("{via} over {transport}: calls of {name}");
                    expect(figures, subject, *count, seen(&traced, name));
                }
            }
        }
    }
    Ok(())
}

/// Counts a call by the transfer's name for it.
fn seen(traced: &BTreeMap<String, u64>, name: &str) -> u64 {
    let names: &[&str] = match name {
        "open" => &["openat", "open"],
        "fstat" => &["fstat", "newfstatat"],
        _ => &[name],
    };
    names.iter().filter_map(|name| traced.get(*name)).sum()
}
