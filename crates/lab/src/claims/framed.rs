//! Claims about protocols that put headers between the bytes of a file: HTTP/2 frames, and TLS records
//! that are sealed in user space.
//!
//! # Limitations
//! HTTP/2 is sent without TLS, which browsers require: with TLS in user space sendfile is impossible,
//! and with kernel TLS the records are made after it.

use serde_json::json;

use super::bench::{ClaimsBench, confirmed_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::ratio::{alternate, costs_less};
use crate::language::msg;
use crate::selftest::{Counter, ExperimentError};
use crate::test_file::CacheState;

/// Sizes of frames with the subject of their ratio; 0 for no frames, as HTTP/1.1. 16 KiB is the most that a
/// peer has to accept.
const FRAMES: [(u64, &str); 3] = [
    (0, msg!("sendfile/copy, no frames")),
    (16 << 10, msg!("sendfile/copy, frames of 16 KiB")),
    (64 << 10, msg!("sendfile/copy, frames of 64 KiB")),
];

/// Bytes that a copy reads at once.
const CHUNK: u64 = 64 << 10;

const BYTES: &str = msg!("bytes");
const FROM_FILE: &str = msg!("bytes copied from the file");
const INTO_SOCKET: &str = msg!("bytes copied into the socket");
const SEALED: &str = msg!("bytes that the cipher has passed over");

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 59,
        name: "http2-sendfile",
        statement: msg!("sendfile pays on HTTP/2"),
        reason: msg!(
            "each DATA frame has a header, so sendfile takes two calls for at most 16 KiB by default, while a \
             copy gathers several frames in one call"
        ),
        needs: &[],
        experiment: frames,
        rule: |evidence| {
            let framed = FRAMES.iter().skip(1);
            let orders: Option<Vec<_>> =
                framed.map(|(_, subject)| evidence.order(subject)).collect();
            Some(costs_less(&orders?, msg!("the size of the frames, which the peer limits")))
        },
    },
    Claim {
        number: 60,
        name: "tls-copies",
        statement: msg!("TLS in user space copies each byte twice"),
        reason: msg!(
            "read copies it out of the page cache and send into the socket; between them, the cipher passes \
             over it in place"
        ),
        needs: &[Counter::Kernel, Counter::PageCache],
        experiment: sealed,
        rule: |evidence| {
            let bytes = evidence.count(BYTES)?;
            let twice =
                evidence.count(FROM_FILE)? >= bytes && evidence.count(INTO_SOCKET)? >= bytes;
            Some(confirmed_if(twice))
        },
    },
];

fn frames(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    bench.base.test_file.prepare(CacheState::Warm)?;
    let mut evidence = Evidence::default();
    for (frame, subject) in FRAMES {
        let pairs = alternate(bench.pairs(), |is_copy| {
            let command = json!({
                "command": "send-frames", "by": if is_copy { "copy" } else { "sendfile" },
                "file": bench.base.test_file.path(), "bytes": bench.plan.bytes, "chunk": CHUNK,
                "frame": frame,
            });
            let reply = bench.base.timed_sender_command(&command)?;
            let cpu = reply["usage"]["cpu"].as_f64();
            cpu.ok_or_else(|| ExperimentError::Failed("a worker gave no CPU time".to_owned()))
        })?;
        evidence = evidence.with_ratio(subject, &pairs);
    }
    Ok(evidence)
}

fn sealed(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    bench.base.test_file.prepare(CacheState::Warm)?;
    let command = json!({
        "command": "send-sealed", "file": bench.base.test_file.path(), "bytes": bench.plan.bytes,
    });
    let (reply, counts) = bench.base.sender_command(&command)?;
    let read = counts.processes.first().map_or(0, |own| own.read());
    Ok(Evidence::default()
        .with(BYTES, bench.plan.bytes)
        .with(FROM_FILE, read)
        .with(INTO_SOCKET, counts.sent().copied())
        .with(SEALED, reply["sealed"].as_u64().unwrap_or(0)))
}
