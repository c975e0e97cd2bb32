//! Claims about the page cache after a read, and about reads that io_uring passes to a thread.

use karez_sys::{Operation, Outcome, Ring, RingOptions};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use serde_json::json;
use std::fs;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::bench::{ClaimsBench, confirmed_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::paths::open;
use super::verdict::Verdict;
use crate::error::{Error, ErrorContext as _};
use crate::language::msg;
use crate::selftest::ExperimentError;
use crate::test_file::CacheState;

/// `RWF_DONTCACHE` of linux/fs.h (Linux 6.14), which rustix does not name.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Size of a read.
const CHUNK: usize = 64 << 10;

/// Maximum time of an operation.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 47,
        name: "read-fills-cache",
        statement: msg!("reading a file once fills the page cache with it"),
        reason: msg!(
            "read(2) leaves the pages in the cache; O_DIRECT bypasses it, and RWF_DONTCACHE (6.14, not on \
             every file system) drops the pages that it has added"
        ),
        needs: &[],
        experiment: footprint,
        rule: |evidence| {
            let pages = evidence.count("pages")?;
            if evidence.count("pages cached by read")? < pages {
                return Some(Verdict::Refuted);
            }
            let without = ["pages cached by O_DIRECT", "pages cached by RWF_DONTCACHE"];
            let some = without.iter().any(|name| evidence.count(name).is_some_and(|n| n < pages));
            let what = msg!("the flags: read fills it, O_DIRECT and RWF_DONTCACHE do not");
            Some(if some { Verdict::DependsOn(what.to_owned()) } else { Verdict::Confirmed })
        },
    },
    Claim {
        number: 49,
        name: "uring-splice",
        statement: msg!("io_uring passes splice to a kernel thread"),
        reason: msg!(
            "the operation has no non-blocking form (io_uring/splice.c), so it always runs in an iou-wrk \
             thread; a read of cached bytes completes at the submission"
        ),
        needs: &[],
        experiment: ring_threads,
        rule: |evidence| {
            let after_read = evidence.count("iou-wrk threads after a read")?;
            Some(confirmed_if(evidence.count("iou-wrk threads after a splice")? > after_read))
        },
    },
];

fn footprint(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let test_file = &bench.base.test_file;
    let cold = || {
        let state = test_file.prepare(CacheState::Cold);
        state.map_err(|error| ExperimentError::Skipped(error.to_string()))
    };
    let mut evidence = Evidence::default().with(msg!("pages"), test_file.pages());
    for (is_direct, name) in
        [(false, msg!("pages cached by read")), (true, msg!("pages cached by O_DIRECT"))]
    {
        cold()?;
        let read = bench.base.worker()?.request(&json!({
            "command": "read-file", "file": test_file.path(), "direct": is_direct, "chunk": CHUNK,
            "bytes": test_file.bytes(),
        }));
        evidence = match read {
            Err(error) if is_direct => evidence.with(msg!("O_DIRECT"), error.to_string().as_str()),
            other => {
                other.map(drop).and(test_file.cached()).map(|pages| evidence.with(name, pages))?
            }
        };
    }
    cold()?;
    let uncached = read_uncached(bench);
    let is_supported = uncached.is_ok();
    evidence = evidence.with(msg!("RWF_DONTCACHE"), uncached);
    if is_supported {
        let pages = bench.base.test_file.cached()?;
        evidence = evidence.with(msg!("pages cached by RWF_DONTCACHE"), pages);
    }
    Ok(evidence)
}

/// Reads the whole file with `RWF_DONTCACHE`.
fn read_uncached(bench: &ClaimsBench<'_>) -> Result<(), Errno> {
    let file = open(&bench.base.test_file).map_err(|_| Errno::NOENT)?;
    let (mut buffer, mut offset) = (vec![0; CHUNK], 0);
    loop {
        match preadv2(&file, &mut [IoSliceMut::new(&mut buffer)], offset, DONTCACHE)? {
            0 => return Ok(()),
            count => offset += count as u64,
        }
    }
}

fn ring_threads(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let file = Arc::new(open(&bench.base.test_file)?);
    bench.base.test_file.prepare(CacheState::Warm)?;
    // The threads belong to the thread that submits.
    let counts = thread::scope(|scope| scope.spawn(|| read_and_splice(file)).join());
    let counts = counts.map_err(|_| Error::new("run", "a thread", "it has panicked"))?;
    let (read, spliced) = counts?;
    Ok(Evidence::default()
        .with(msg!("iou-wrk threads after a read"), read)
        .with(msg!("iou-wrk threads after a splice"), spliced))
}

/// Reads from a file and splices from it into a pipe by a ring, and returns the number of kernel threads
/// of this thread after each.
fn read_and_splice(file: Arc<fs::File>) -> Result<(usize, usize), ExperimentError> {
    let ring = Ring::new(RingOptions::default());
    let mut ring = ring.map_err(|errno| ExperimentError::Skipped(format!("io_uring: {errno}")))?;
    let (_read, write) = pipe_with(PipeFlags::CLOEXEC).context("open", "a pipe")?;
    let _best_effort = fcntl_setpipe_size(&write, CHUNK);
    let bytes = vec![0; CHUNK];
    let (from, to) = (file.clone(), Arc::new(write));
    let read = Operation::Read { file, offset: 0, bytes, from: 0, remote: false };
    let length = u32::try_from(CHUNK).unwrap_or(u32::MAX);
    let splice = Operation::Splice { from, offset: Some(0), to, length, more: false };
    let mut counts = [0; 2];
    for (count, operation) in counts.iter_mut().zip([read, splice]) {
        ring.start(0, operation);
        let mut done = Vec::new();
        while done.is_empty() {
            ring.wait(Some(TIMEOUT), &mut done).context("wait for", "io_uring")?;
        }
        match &done[0].outcome {
            Outcome::Read { read: Ok(_), .. } | Outcome::Spliced(Ok(_)) => {}
            other => return Err(ExperimentError::Skipped(format!("io_uring: {other:?}"))),
        }
        *count = kernel_threads()?;
    }
    Ok((counts[0], counts[1]))
}

/// Returns the number of io_uring's threads of this thread.
fn kernel_threads() -> Result<usize, Error> {
    let name = format!("iou-wrk-{}", rustix::thread::gettid().as_raw_nonzero());
    let tasks = fs::read_dir("/proc/self/task").context("list", "threads")?;
    let names = tasks.flatten().map(|task| fs::read_to_string(task.path().join("comm")));
    Ok(names.flatten().filter(|comm| comm.trim_end() == name).count())
}
