//! Claims about the path from a file to a socket: mode switches, copies, DMA, aliasing.

use karez_transfer::Via;
use rustix::pipe::SpliceFlags;
use serde_json::json;
use std::fs::File;
use std::os::unix::net::UnixStream;

use super::bench::{ClaimsBench, CountedTransfer, confirmed_if, refuted_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::verdict::Verdict;
use crate::error::{Error, ErrorContext as _};
use crate::language::msg;
use crate::mutation::{CopyVerdict, mutation_probe};
use crate::selftest::{Counter, ExperimentError};
use crate::test_file::{CacheState, TestFile};
use crate::transport::Transport;

/// Counters of the claims about copies.
const COPIES: &[Counter] = &[Counter::Calls, Counter::Kernel, Counter::PageCache];
const AND_DISK: &[Counter] = &[Counter::Calls, Counter::Kernel, Counter::PageCache, Counter::Disk];
const AND_LINEAR: &[Counter] =
    &[Counter::Calls, Counter::Kernel, Counter::PageCache, Counter::Linear];

/// Names of shared figures.
const BYTES: &str = msg!("bytes");
const CHUNKS: &str = msg!("chunks");
const CALLS: &str = msg!("calls that move data");
const COPIED: &str = msg!("bytes copied before the receiver");
const COLD: &str = msg!("disk bytes, cold");
const WARM: &str = msg!("disk bytes, warm");

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 24,
        name: "read-write",
        statement: msg!("read and write cost 4 mode switches, 2 copies by the CPU and 2 by DMA"),
        reason: msg!(
            "two calls per chunk; a copy into the buffer and one out; disk reads on a cache \
            miss"
        ),
        needs: AND_DISK,
        experiment: |bench| cold_and_warm(bench, Via::Copy),
        rule: |evidence| {
            let bytes = evidence.count(BYTES)?;
            let (calls, copied) =
                (calls_a_chunk(evidence, 2)?, evidence.count(COPIED)? == 2 * bytes);
            let disk = evidence.count(COLD)? >= bytes && evidence.count(WARM)? == 0;
            let what =
                msg!("page cache and device for DMA: disk reads only when cold, no DMA on lo");
            Some(match (calls && copied, disk) {
                (true, true) => Verdict::DependsOn(what.to_owned()),
                (so, _) => confirmed_if(so),
            })
        },
    },
    Claim {
        number: 25,
        name: "direct",
        statement: msg!("direct I/O bypasses the kernel, which only sets up memory"),
        reason: msg!(
            "O_DIRECT bypasses only the page cache: file system and block layer still run"
        ),
        needs: AND_DISK,
        experiment: direct,
        rule: |evidence| {
            let works = evidence.count(CALLS)? > 0 && evidence.count("disk requests")? > 0;
            Some(refuted_if(works && evidence.count(COLD)? >= evidence.count(BYTES)?))
        },
    },
    Claim {
        number: 26,
        name: "mmap-write",
        statement: msg!("mmap and write cost 4 mode switches, 1 copy by the CPU and 2 by DMA"),
        reason: msg!(
            "one call per chunk and one mmap; the cost is page faults, most inside the call"
        ),
        needs: AND_DISK,
        experiment: |bench| cold_and_warm(bench, Via::Mmap),
        rule: |evidence| {
            if evidence.count(COPIED)? != evidence.count(BYTES)? {
                return Some(Verdict::Refuted);
            }
            let what =
                msg!("the number of chunks: 2 switches for each and 2 for mmap; one copy is right");
            let one = calls_a_chunk(evidence, 1)? && evidence.count(CHUNKS)? > 1;
            Some(if one { Verdict::DependsOn(what.to_owned()) } else { Verdict::Confirmed })
        },
    },
    Claim {
        number: 30,
        name: "sendfile",
        statement: msg!("sendfile costs 2 mode switches, 1 copy by the CPU and 2 by DMA"),
        reason: msg!("pages are attached to the socket; without scatter-gather GSO copies them"),
        needs: AND_LINEAR,
        experiment: |bench| over_veths(bench, &[Via::Sendfile]),
        rule: |evidence| {
            let bytes = evidence.count(BYTES)?;
            let (with, without) = copies_of(evidence, Via::Sendfile)?;
            if evidence.count("sendfile: calls that move data")? != evidence.count(CHUNKS)? {
                return Some(Verdict::Refuted);
            }
            let what = msg!("scatter-gather: no copy with it, one without; 2 switches per chunk");
            Some(match (with, without) {
                (0, without) if without == bytes => Verdict::DependsOn(what.to_owned()),
                (with, _) => confirmed_if(with == bytes),
            })
        },
    },
    Claim {
        number: 31,
        name: "sendfile-hardware",
        statement: msg!("sendfile needs hardware support, splice does not"),
        reason: msg!(
            "both end in splice_to_socket: with scatter-gather neither copies, without both do"
        ),
        needs: AND_LINEAR,
        experiment: |bench| over_veths(bench, &[Via::Sendfile, Via::Splice]),
        rule: |evidence| {
            let (sendfile, splice) =
                (copies_of(evidence, Via::Sendfile)?, copies_of(evidence, Via::Splice)?);
            Some(refuted_if(sendfile == splice))
        },
    },
    Claim {
        number: 32,
        name: "splice",
        statement: msg!("splice costs 2 mode switches and no copy, and one end must be a pipe"),
        reason: msg!(
            "from file to socket it takes two calls, into a pipe and out of it: 4 switches"
        ),
        needs: COPIES,
        experiment: splice,
        rule: |evidence| {
            let pipe = evidence.word("splice without a pipe")? == "EINVAL";
            let right = pipe && evidence.count(COPIED)? == 0;
            Some(confirmed_if(right && calls_a_chunk(evidence, 1)?))
        },
    },
    Claim {
        number: 33,
        name: "sendfile-immutable",
        statement: msg!("data in flight by sendfile cannot be changed by user space"),
        reason: msg!(
            "the socket refers to the page cache: a later write to the file changes the sent \
            data"
        ),
        needs: &[Counter::Mutation],
        experiment: overwritten,
        rule: |evidence| {
            Some(match evidence.word("bytes received after the file was overwritten")? {
                "aliased" => Verdict::Refuted,
                "copied" => Verdict::Confirmed,
                other => Verdict::NotMeasurable(other.to_owned()),
            })
        },
    },
    Claim {
        number: 35,
        name: "zerocopy",
        statement: msg!("MSG_ZEROCOPY sends without a copy"),
        reason: msg!(
            "lo and veth copy late (skb_copy_ubufs) and report SO_EE_CODE_ZEROCOPY_COPIED"
        ),
        needs: &[Counter::Notifications],
        experiment: zerocopy,
        rule: |evidence| {
            let (sends, copied) =
                (evidence.count("sends over lo")?, evidence.count("sends copied")?);
            let to_dummy = evidence.count("datagrams to a dummy device copied");
            let what = match to_dummy {
                Some(0) => msg!("the device: lo copied every send, a dummy device none"),
                None => {
                    msg!("the device: lo copied every send; another device could not be tested")
                }
                Some(_) => return Some(Verdict::Refuted),
            };
            Some(match copied {
                0 => Verdict::Confirmed,
                _ if copied == sends => Verdict::DependsOn(what.to_owned()),
                _ => Verdict::DependsOn(
                    msg!("the send: some were copied and some were not").to_owned(),
                ),
            })
        },
    },
];

/// Returns whether each chunk took this number of calls.
fn calls_a_chunk(evidence: &Evidence, calls: u64) -> Option<bool> {
    Some(evidence.count(CALLS)? == calls * evidence.count(CHUNKS)?)
}

/// Returns the copied bytes with and without scatter-gather.
fn copies_of(evidence: &Evidence, via: Via) -> Option<(u64, u64)> {
    Some((
        evidence.count(&format!("{via}: copied"))?,
        evidence.count(&format!("{via}: without SG"))?,
    ))
}

/// Returns the number of calls that move data, for any via.
fn data_calls(counted: &CountedTransfer) -> u64 {
    let names = ["read", "pread64", "write", "sendto", "sendmsg", "sendfile", "splice"];
    names.iter().map(|name| counted.calls(name)).sum()
}

fn cold_and_warm(bench: &mut ClaimsBench<'_>, via: Via) -> ExperimentResult {
    let cold = bench.counted(via, Transport::Loopback, CacheState::Cold)?;
    let warm = bench.counted(via, Transport::Loopback, CacheState::Warm)?;
    let own = warm.outcome.sender_counts();
    let faults = own.and_then(|own| own.faults_user.zip(own.faults_kernel));
    let evidence = Evidence::default()
        .with(BYTES, warm.outcome.bytes)
        .with(CHUNKS, bench.chunks())
        .with(CALLS, data_calls(&warm))
        .with(COPIED, warm.copies.before_receiver())
        .with(COLD, cold.counts.disk.read_bytes)
        .with(WARM, warm.counts.disk.read_bytes);
    Ok(match faults {
        Some((user, kernel)) => evidence
            .with(msg!("faults in user mode"), user)
            .with(msg!("faults in kernel mode"), kernel),
        None => evidence,
    })
}

fn direct(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let counted = bench.counted(Via::Direct, Transport::Loopback, CacheState::Cold)?;
    Ok(Evidence::default()
        .with(BYTES, counted.outcome.bytes)
        .with(CALLS, data_calls(&counted))
        .with(msg!("bytes copied from the file"), counted.copies.file_to_user)
        .with(msg!("bytes copied to the socket"), counted.copies.to_socket)
        .with(COLD, counted.counts.disk.read_bytes)
        .with(msg!("disk requests"), counted.counts.disk.reads)
        .with(msg!("pages in the cache afterwards"), bench.base.test_file.cached()?))
}

fn over_veths(bench: &mut ClaimsBench<'_>, vias: &[Via]) -> ExperimentResult {
    let mut evidence = Evidence::default().with(BYTES, bench.plan.bytes);
    evidence = evidence.with(CHUNKS, bench.chunks());
    for &via in vias {
        let with = bench.counted(via, Transport::Veth, CacheState::Warm)?;
        let without = bench.counted(via, Transport::VethWithoutScatterGather, CacheState::Warm)?;
        evidence = evidence
            .with(format!("{via}: {CALLS}"), data_calls(&with))
            .with(format!("{via}: {}", msg!("copied")), with.copies.before_receiver())
            .with(format!("{via}: {}", msg!("without SG")), without.copies.before_receiver());
    }
    Ok(evidence)
}

fn splice(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let file = open(&bench.base.test_file)?;
    let (out, _peer) = UnixStream::pair().context("open", "a socket pair")?;
    let mut offset = 0;
    let flags = SpliceFlags::empty();
    let bare = rustix::pipe::splice(&file, Some(&mut offset), &out, None, 4096, flags);
    let counted = bench.counted(Via::Splice, Transport::Loopback, CacheState::Warm)?;
    Ok(Evidence::default()
        .with(BYTES, counted.outcome.bytes)
        .with(CHUNKS, bench.chunks())
        .with(CALLS, data_calls(&counted))
        .with(COPIED, counted.copies.before_receiver())
        .with(msg!("splice without a pipe"), bare))
}

fn overwritten(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let verdict = match mutation_probe(Via::Sendfile, Transport::Loopback, &bench.plan.directory)? {
        CopyVerdict::Refused(why) => return Err(ExperimentError::Skipped(why)),
        verdict => verdict.to_string(),
    };
    Ok(Evidence::default()
        .with(msg!("bytes received after the file was overwritten"), verdict.as_str()))
}

fn zerocopy(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let spec = bench.spec(Via::Zerocopy);
    let notifications = bench.base.uncounted(&spec, Transport::Loopback)?.zerocopy;
    if notifications.sends == 0 {
        return Err(ExperimentError::Skipped("MSG_ZEROCOPY is unsupported here".to_owned()));
    }
    let evidence = Evidence::default()
        .with(msg!("sends over lo"), u64::from(notifications.sends))
        .with(msg!("sends copied"), u64::from(notifications.copied));
    Ok(match send_to_dummy(bench) {
        Ok(copied) => evidence.with(msg!("datagrams to a dummy device copied"), copied),
        Err(error) => evidence.with(msg!("dummy device"), error.to_string().as_str()),
    })
}

/// Sends datagrams to a dummy device and returns how many the kernel copied.
fn send_to_dummy(bench: &ClaimsBench<'_>) -> Result<u64, Error> {
    let mut worker = bench.base.worker()?;
    worker.request(&json!({ "command": "enter-network" }))?;
    worker.request(&json!({ "command": "add-dummy", "name": "karez2" }))?;
    worker
        .request(&json!({ "command": "add-address", "name": "karez2", "address": "192.0.2.5" }))?;
    let command =
        json!({ "command": "send-datagrams", "to": "192.0.2.6:9", "bytes": 1400, "count": 1024 });
    let reply = worker.request(&command)?;
    reply["copied"].as_u64().ok_or_else(|| Error::new("send to", "a dummy", "no answer"))
}

pub(super) fn open(test_file: &TestFile) -> Result<File, ExperimentError> {
    Ok(File::open(test_file.path()).context("open", test_file.path().display())?)
}
