//! Claims about system calls, sockets and who waits for whom.

use karez_reactor::{Demultiplexer as _, LinuxAio};
use karez_sys::{Operation, Outcome as Came, Ring, RingOptions};
use serde_json::json;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::bench::{Bench, confirmed_if, refuted_if};
use super::{Claim, Evidence, Verdict};
use crate::cost::Copies;
use crate::error::Doing as _;
use crate::selftest::{Counter, Stop};
use crate::stage::Movement;
use crate::transport::{Taking, Transport};

type Outcome = Result<Evidence, Stop>;

/// How often the time is asked for.
const TIMES: u64 = 1000;

/// How long somebody who speaks waits for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 1,
        says: "a program reaches what the kernel has only through system calls",
        reason: "the vDSO lets it read the clock from a page that the kernel keeps up to date",
        needs: &[],
        experiment: clock,
        rule: |told| {
            let vdso = told.count("system calls")? < told.count("times read")?;
            let what = "what it wants: the clock is read without any (vDSO), all else with";
            Some(if vdso { Verdict::DependsOn(what.to_owned()) } else { Verdict::Confirmed })
        },
    },
    Claim {
        number: 2,
        says: "every read from a socket copies from the kernel to the user",
        reason: "recv copies with skb_copy_datagram_iter; MSG_TRUNC on TCP takes bytes without",
        needs: &[Counter::Receiver],
        experiment: receiving,
        rule: |told| {
            let bytes = told.count("bytes sent")?;
            let by_read = told.count("copied by a receiver that reads")?;
            let without = told.count("copied by one with MSG_TRUNC")?;
            let what = "how it is received: reading copies all, MSG_TRUNC nothing";
            Some(match (by_read == bytes, without == bytes) {
                (true, false) => Verdict::DependsOn(what.to_owned()),
                (read, _) => confirmed_if(read),
            })
        },
    },
    Claim {
        number: 3,
        says: "blocking I/O needs a thread for each connection",
        reason: "a thread in read sleeps at that one socket; data at another does not wake it",
        needs: &[],
        experiment: blocked,
        rule: |told| {
            let (one, two) = (told.count("answers of one thread")?, told.count("of two")?);
            Some(confirmed_if(one == 0 && two == 1))
        },
    },
    Claim {
        number: 21,
        says: "in signal-driven I/O the process sends a signal to the kernel",
        reason: "F_SETOWN and O_ASYNC make the kernel send one; the copy is still a read",
        needs: &[],
        experiment: signalled,
        rule: |told| {
            let sent = told.count("signals sent by the process")?;
            Some(refuted_if(sent == 0 && told.count("signals taken")? > 0))
        },
    },
    Claim {
        number: 22,
        says: "Linux has no asynchronous I/O",
        reason: "io_submit came in 2.5, io_uring in 5.1",
        needs: &[],
        experiment: asynchronous,
        rule: |told| {
            let read = told.count("bytes read by io_uring").unwrap_or(0) > 0;
            let aio = told.word("io_setup")? == "ok";
            Some(refuted_if(read || aio))
        },
    },
];

fn clock(bench: &mut Bench<'_>) -> Outcome {
    let mut worker = bench.ground.worker()?;
    let traced = worker.traced(&json!({ "do": "clock", "times": TIMES }));
    let (_, calls) = traced.map_err(|error| Stop::Skipped(error.to_string()))?;
    Ok(Evidence::default()
        .with("times read", TIMES)
        .with("system calls", calls.values().sum::<u64>()))
}

fn receiving(bench: &mut Bench<'_>) -> Outcome {
    let mut copied = |taking| {
        let movement = bench.movement(karez_transfer::Via::Sendfile);
        let movement = Movement { taking, ..movement };
        let (outcome, _) = bench.ground.counted(&movement, Transport::Loopback)?;
        Ok::<_, Stop>((outcome.bytes, Copies::of(&outcome, Transport::Loopback).received))
    };
    let (bytes, by_read) = copied(Taking::Read)?;
    let (_, without) = copied(Taking::WithoutCopy)?;
    Ok(Evidence::default()
        .with("bytes sent", bytes)
        .with("copied by a receiver that reads", by_read)
        .with("copied by one with MSG_TRUNC", without))
}

fn blocked(_: &mut Bench<'_>) -> Outcome {
    Ok(Evidence::default().with("answers of one thread", answers(1)?).with("of two", answers(2)?))
}

/// Of two connections the first is silent. How many answers the second gets from so many threads,
/// of which each takes the connections in turn.
fn answers(threads: usize) -> Result<u64, Stop> {
    let (silent, first) = UnixStream::pair().doing("open", "a socket pair")?;
    let (mut speaks, second) = UnixStream::pair().doing("open", "a socket pair")?;
    let connections = [first, second];
    let heard = thread::scope(|scope| {
        for from in 0..threads {
            let connections = &connections;
            scope.spawn(move || {
                for mut connection in connections.iter().skip(from).step_by(threads) {
                    let mut byte = [0];
                    let _nobody_is_there =
                        connection.read_exact(&mut byte).and_then(|()| connection.write_all(&byte));
                }
            });
        }
        let heard = speaks
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| speaks.write_all(b"?"))
            .map(|()| u64::from(speaks.read_exact(&mut [0]).is_ok()));
        // Whoever waits for this one waits no more.
        drop(silent);
        heard
    });
    Ok(heard.doing("speak to", "a socket")?)
}

fn signalled(bench: &mut Bench<'_>) -> Outcome {
    let mut worker = bench.ground.worker()?;
    let (laps, order) = (8_u64, "watch");
    let traced = worker.traced(&json!({
        "do": order, "model": "signal", "descriptors": 10, "active": 1,
        "least": laps, "most": laps, "microseconds": 0,
    }));
    let (_, calls) = traced.map_err(|error| Stop::Skipped(error.to_string()))?;
    let made = |name: &str| calls.get(name).copied().unwrap_or(0);
    let sent = made("kill") + made("tgkill") + made("rt_sigqueueinfo");
    Ok(Evidence::default()
        .with("wake-ups", laps)
        .with("signals taken", made("rt_sigtimedwait"))
        .with("signals sent by the process", sent)
        .with("reads for the bytes", made("read")))
}

fn asynchronous(bench: &mut Bench<'_>) -> Outcome {
    let path = bench.ground.ground.path();
    let file = Arc::new(File::open(path).doing("open", path.display())?);
    let evidence = Evidence::default().with("io_setup", LinuxAio::new().map(drop));
    let mut ring = match Ring::new(RingOptions::default()) {
        Ok(ring) => ring,
        Err(errno) => return Ok(evidence.with("io_uring_setup", Err::<(), _>(errno))),
    };
    let bytes = vec![0; 4096];
    ring.start(0, Operation::Read { file, offset: 0, bytes, from: 0, remote: false });
    let mut done = Vec::new();
    ring.wait(Some(PATIENCE * 20), &mut done).doing("wait for", "io_uring")?;
    let read = done.iter().find_map(|one| match &one.outcome {
        Came::Read { read: Ok(count), .. } => Some(*count),
        _ => None,
    });
    Ok(evidence.with("bytes read by io_uring", read.unwrap_or(0)))
}
