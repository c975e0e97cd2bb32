//! Claims about the page cache and mapped memory: the CPU time of direct I/O, readahead, page faults, and
//! vmsplice.

use karez_lab_sys::{TouchedMemory, faults_of_touching, pipe_refers_to_memory};
use rustix::fs::{Advice, fadvise};
use rustix::io::pread;
use serde_json::json;
use std::os::fd::AsFd as _;

use super::bench::{ClaimsBench, refuted_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::paths::open;
use super::ratio::{alternate, costs_less};
use super::verdict::Verdict;
use crate::error::ErrorContext as _;
use crate::language::msg;
use crate::selftest::ExperimentError;
use crate::test_file::CacheState;

const FROM_DISK: &str = msg!("O_DIRECT/read, from the disk");
const CACHED: &str = msg!("O_DIRECT/read, in the page cache");

/// Size of a direct read, and of the read that starts readahead.
const CHUNK: u64 = 64 << 10;
const SMALL: usize = 4 << 10;

/// Bytes that are touched: two huge pages.
const TOUCHED: usize = 4 << 20;

const ONE: &str = msg!("pages cached after a read of 4 KiB");
const RANDOM: &str = msg!("pages cached after a read of 4 KiB, POSIX_FADV_RANDOM");

const PAGES: &str = msg!("pages");
const OF_FILE: &str = msg!("faults: cached file");
const OF_PRIVATE: &str = msg!("faults: private memory");

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 61,
        name: "direct-cpu",
        statement: msg!("O_DIRECT saves CPU time"),
        reason: msg!(
            "it saves the copy and the management of cached pages, and adds the request to the disk: also \
             for bytes that are in the page cache"
        ),
        needs: &[],
        experiment: direct_and_cached,
        rule: |evidence| {
            let orders = [evidence.order(FROM_DISK)?, evidence.order(CACHED)?];
            Some(costs_less(
                &orders,
                msg!("the page cache: it saves CPU only where the disk is read anyway"),
            ))
        },
    },
    Claim {
        number: 62,
        name: "readahead",
        statement: msg!("a read of 4 KiB brings 4 KiB into the page cache"),
        reason: msg!(
            "readahead brings some more pages, and doubles their number while the reads are sequential \
             (mm/readahead.c); POSIX_FADV_SEQUENTIAL doubles the limit, POSIX_FADV_RANDOM turns it off"
        ),
        needs: &[],
        experiment: read_once,
        rule: |evidence| {
            let what = msg!("the advice: POSIX_FADV_RANDOM turns readahead off");
            Some(match (evidence.count(ONE)?, evidence.count(RANDOM)?) {
                (0..=1, _) => Verdict::Confirmed,
                (_, 0..=1) => Verdict::DependsOn(what.to_owned()),
                _ => Verdict::Refuted,
            })
        },
    },
    Claim {
        number: 63,
        name: "mapping-faults",
        statement: msg!("a mapping takes a page fault for each page"),
        reason: msg!(
            "a fault on a cached file also maps the pages around it (64 KiB), MAP_POPULATE all; private memory \
             takes one for each page, or for each 2 MiB with huge pages"
        ),
        needs: &[],
        experiment: faults,
        rule: |evidence| {
            let (pages, of_file) = (evidence.count(PAGES)?, evidence.count(OF_FILE)?);
            let of_private = evidence.count(OF_PRIVATE)?;
            let what =
                msg!("the memory: new private memory does, a cached file and huge pages do not");
            Some(match (of_file >= pages, of_private >= pages) {
                (true, true) => Verdict::Confirmed,
                (false, false) => Verdict::Refuted,
                _ => Verdict::DependsOn(what.to_owned()),
            })
        },
    },
    Claim {
        number: 64,
        name: "vmsplice",
        statement: msg!("vmsplice copies memory into the pipe"),
        reason: msg!(
            "the pipe refers to the page, so what the program writes afterwards is what the reader gets: \
             a write(2) would have copied"
        ),
        needs: &[],
        experiment: spliced_memory,
        rule: |evidence| Some(refuted_if(evidence.word("content read from the pipe")? == "new")),
    },
];

fn direct_and_cached(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut worker = bench.base.worker()?;
    let mut evidence = Evidence::default();
    for (subject, state) in [(FROM_DISK, CacheState::Cold), (CACHED, CacheState::Warm)] {
        let pairs = alternate(bench.pairs(), |is_read| {
            let test_file = &bench.base.test_file;
            let prepared = test_file.prepare(state);
            prepared.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
            let reply = worker.request(&json!({
                "command": "read-file", "file": test_file.path(), "direct": !is_read, "chunk": CHUNK,
                "bytes": test_file.bytes(),
            }));
            let reply = reply.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
            let cpu = reply["usage"]["cpu"].as_f64();
            cpu.ok_or_else(|| ExperimentError::Failed("a worker gave no CPU time".to_owned()))
        })?;
        evidence = evidence.with_ratio(subject, &pairs);
    }
    Ok(evidence)
}

fn read_once(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut evidence = Evidence::default();
    for (name, advice, reads) in [
        (ONE, Advice::Normal, 1),
        (RANDOM, Advice::Random, 1),
        (msg!("pages cached after reads of 256 KiB"), Advice::Normal, 64),
        (
            msg!("pages cached after reads of 256 KiB, POSIX_FADV_SEQUENTIAL"),
            Advice::Sequential,
            64,
        ),
    ] {
        let test_file = &bench.base.test_file;
        let prepared = test_file.prepare(CacheState::Cold);
        prepared.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
        let file = open(test_file)?;
        fadvise(&file, 0, None, advice).context("advise on", "the file")?;
        for number in 0..reads {
            pread(&file, &mut [0; SMALL], number * SMALL as u64).context("read", "the file")?;
        }
        evidence = evidence.with(name, test_file.cached()?);
    }
    Ok(evidence)
}

fn faults(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let test_file = &bench.base.test_file;
    test_file.prepare(CacheState::Warm)?;
    let file = open(test_file)?;
    let length = TOUCHED.min(usize::try_from(test_file.bytes()).unwrap_or(TOUCHED));
    let mut evidence = Evidence::default().with(PAGES, length.div_ceil(karez_sys::page_size()));
    for (name, memory) in [
        (OF_FILE, TouchedMemory::File(file.as_fd())),
        (msg!("faults: cached file, MAP_POPULATE"), TouchedMemory::PopulatedFile(file.as_fd())),
        (OF_PRIVATE, TouchedMemory::Private),
        (msg!("faults: private memory, MADV_HUGEPAGE"), TouchedMemory::PrivateHuge),
    ] {
        evidence = match faults_of_touching(memory, length) {
            Ok(faults) => evidence.with(name, faults),
            // A kernel without huge pages.
            Err(errno) => evidence.with(name, Err::<(), _>(errno)),
        };
    }
    Ok(evidence)
}

fn spliced_memory(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    let refers = pipe_refers_to_memory().context("pass memory to", "a pipe")?;
    let content = if refers { msg!("new") } else { msg!("old") };
    Ok(Evidence::default().with(msg!("content read from the pipe"), content))
}
