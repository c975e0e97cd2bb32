//! Claims about system calls, sockets and blocking.

use karez_reactor::{LinuxAio, Selector as _};
use karez_sys::{Operation, Outcome as RingOutcome, Ring, RingOptions};
use serde_json::json;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::bench::{ClaimsBench, confirmed_if, refuted_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::verdict::Verdict;
use crate::copies::Copies;
use crate::error::ErrorContext as _;
use crate::language::msg;
use crate::selftest::{Counter, ExperimentError};
use crate::transfer_spec::TransferSpec;
use crate::transport::{ReceiveMode, Transport};

/// Number of clock reads.
const CLOCK_READS: u64 = 1000;

/// Time to wait for a response.
const REPLY_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 1,
        name: "kernel-data",
        statement: msg!("a program reaches kernel data only through system calls"),
        reason: msg!("with the vDSO it reads the clock from a page that the kernel updates"),
        needs: &[],
        experiment: clock,
        rule: |evidence| {
            let vdso = evidence.count("system calls")? < evidence.count("clock reads")?;
            let what = msg!("the data: reading the clock takes no call (vDSO), all else takes one");
            Some(if vdso { Verdict::DependsOn(what.to_owned()) } else { Verdict::Confirmed })
        },
    },
    Claim {
        number: 2,
        name: "socket-read-copies",
        statement: msg!("every read from a socket copies from the kernel to user space"),
        reason: msg!(
            "recv copies with skb_copy_datagram_iter; MSG_TRUNC on TCP discards without a copy"
        ),
        needs: &[Counter::Receiver],
        experiment: receiving,
        rule: |evidence| {
            let bytes = evidence.count("bytes sent")?;
            let by_read = evidence.count("copied by recv")?;
            let without = evidence.count("copied by recv with MSG_TRUNC")?;
            let what = msg!("the receive call: a plain recv copies all bytes, MSG_TRUNC none");
            Some(match (by_read == bytes, without == bytes) {
                (true, false) => Verdict::DependsOn(what.to_owned()),
                (read, _) => confirmed_if(read),
            })
        },
    },
    Claim {
        number: 3,
        name: "blocking-threads",
        statement: msg!("blocking I/O needs one thread per connection"),
        reason: msg!("a thread in read sleeps on one socket; data on another does not wake it"),
        needs: &[],
        experiment: blocking_threads,
        rule: |evidence| {
            let (one, two) = (
                evidence.count("responses with one thread")?,
                evidence.count("responses with two threads")?,
            );
            Some(confirmed_if(one == 0 && two == 1))
        },
    },
    Claim {
        number: 21,
        name: "signal-direction",
        statement: msg!("in signal-driven I/O the process sends a signal to the kernel"),
        reason: msg!("F_SETOWN and O_ASYNC make the kernel send the signal; the read still copies"),
        needs: &[],
        experiment: signal_driven,
        rule: |evidence| {
            let sent = evidence.count("signals sent by the process")?;
            Some(refuted_if(sent == 0 && evidence.count("signals received")? > 0))
        },
    },
    Claim {
        number: 22,
        name: "no-aio",
        statement: msg!("Linux has no asynchronous I/O"),
        reason: msg!("io_submit exists since 2.5, io_uring since 5.1"),
        needs: &[],
        experiment: asynchronous,
        rule: |evidence| {
            let read = evidence.count("bytes read by io_uring").unwrap_or(0) > 0;
            let aio = evidence.word("io_setup")? == "ok";
            Some(refuted_if(read || aio))
        },
    },
];

fn clock(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut worker = bench.base.worker()?;
    let traced = worker.request_traced(&json!({ "command": "read-clock", "times": CLOCK_READS }));
    let (_, calls) = traced.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
    Ok(Evidence::default()
        .with(msg!("clock reads"), CLOCK_READS)
        .with(msg!("system calls"), calls.values().sum::<u64>()))
}

fn receiving(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut copied = |receive_mode| {
        let spec = bench.spec(karez_transfer::Via::Sendfile);
        let spec = TransferSpec { receive_mode, ..spec };
        let (outcome, _) = bench.base.counted(&spec, Transport::Loopback)?;
        Ok::<_, ExperimentError>((
            outcome.bytes,
            Copies::of(&outcome, Transport::Loopback).received,
        ))
    };
    let (bytes, by_read) = copied(ReceiveMode::Read)?;
    let (_, without) = copied(ReceiveMode::Discard)?;
    Ok(Evidence::default()
        .with(msg!("bytes sent"), bytes)
        .with(msg!("copied by recv"), by_read)
        .with(msg!("copied by recv with MSG_TRUNC"), without))
}

fn blocking_threads(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    Ok(Evidence::default()
        .with(msg!("responses with one thread"), replies(1)?)
        .with(msg!("responses with two threads"), replies(2)?))
}

/// Runs the given number of threads, each serving its connections one after the other, on two
/// connections of which the first stays silent. Returns the number of responses on the second.
fn replies(threads: usize) -> Result<u64, ExperimentError> {
    let (silent, first) = UnixStream::pair().context("open", "a socket pair")?;
    let (mut speaker, second) = UnixStream::pair().context("open", "a socket pair")?;
    let connections = [first, second];
    let replied = thread::scope(|scope| {
        for from in 0..threads {
            let connections = &connections;
            scope.spawn(move || {
                for mut connection in connections.iter().skip(from).step_by(threads) {
                    let mut byte = [0];
                    let _peer_gone =
                        connection.read_exact(&mut byte).and_then(|()| connection.write_all(&byte));
                }
            });
        }
        let replied = speaker
            .set_read_timeout(Some(REPLY_TIMEOUT))
            .and_then(|()| speaker.write_all(b"?"))
            .map(|()| u64::from(speaker.read_exact(&mut [0]).is_ok()));
        // Ends the read on the silent connection.
        drop(silent);
        replied
    });
    Ok(replied.context("write to", "a socket")?)
}

fn signal_driven(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut worker = bench.base.worker()?;
    let (rounds, command) = (8_u64, "wait");
    let traced = worker.request_traced(&json!({
        "command": command, "model": "signal", "descriptors": 10, "active": 1,
        "min_rounds": rounds, "max_rounds": rounds, "microseconds": 0,
    }));
    let (_, calls) = traced.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
    let made = |name: &str| calls.get(name).copied().unwrap_or(0);
    let sent = made("kill") + made("tgkill") + made("rt_sigqueueinfo");
    Ok(Evidence::default()
        .with(msg!("wake-ups"), rounds)
        .with(msg!("signals received"), made("rt_sigtimedwait"))
        .with(msg!("signals sent by the process"), sent)
        .with(msg!("reads of the data"), made("read")))
}

fn asynchronous(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let path = bench.base.test_file.path();
    let file = Arc::new(File::open(path).context("open", path.display())?);
    let evidence = Evidence::default().with(msg!("io_setup"), LinuxAio::new().map(drop));
    let mut ring = match Ring::new(RingOptions::default()) {
        Ok(ring) => ring,
        Err(errno) => return Ok(evidence.with(msg!("io_uring_setup"), Err::<(), _>(errno))),
    };
    let bytes = vec![0; 4096];
    ring.start(0, Operation::Read { file, offset: 0, bytes, from: 0, remote: false });
    let mut done = Vec::new();
    ring.wait(Some(REPLY_TIMEOUT * 20), &mut done).context("wait for", "io_uring")?;
    let read = done.iter().find_map(|one| match &one.outcome {
        RingOutcome::Read { read: Ok(count), .. } => Some(*count),
        _ => None,
    });
    Ok(evidence.with(msg!("bytes read by io_uring"), read.unwrap_or(0)))
}
