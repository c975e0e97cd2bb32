//! The system calls are the proof: only those of the via moved the bytes, and the report
//! counts them all.

use karez_transfer::{CachePolicy, Via};

use crate::case::{Case, Transport, calls_of};
use crate::tracer::{LEN, Traced, trace};

/// All that could move a byte, or that a report counts, as strace writes it.
const WATCHED: [&str; 45] = [
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "preadv2",
    "pwritev2",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "sendfile",
    "splice",
    "tee",
    "vmsplice",
    "copy_file_range",
    "ioctl",
    "mmap",
    "madvise",
    "pipe",
    "pipe2",
    "fcntl",
    "lseek",
    "openat",
    "open",
    "statx",
    "fstat",
    "newfstatat",
    "fstatfs",
    "fadvise64",
    "sync_file_range",
    "cachestat",
    "mincore",
    "setsockopt",
    "getsockopt",
    "io_uring_enter",
    "io_submit",
    "fallocate",
    "ftruncate",
    "process_vm_readv",
];

/// Its name in the report.
fn reported(name: &str) -> &str {
    match name {
        "openat" => "open",
        "newfstatat" => "fstat",
        name => name,
    }
}

fn counts(traced: &Traced) -> Vec<(&'static str, u64)> {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for name in WATCHED {
        // The allocator maps memory without a file; a debug build checks descriptors that it closes.
        let ours = |call: &&String| {
            crate::tracer::name_of(call) == name
                && !call.contains("MAP_ANONYMOUS")
                && !call.contains("F_GETFD")
        };
        let count = traced.trace.iter().filter(ours).count() as u64;
        let name = WATCHED.iter().find(|watched| **watched == reported(name)).unwrap();
        match counts.iter_mut().find(|known| known.0 == *name) {
            Some(known) => known.1 += count,
            None => counts.push((name, count)),
        }
    }
    counts
}

#[test]
fn the_calls_of_a_via_moved_the_bytes_and_the_report_counts_them() {
    let cases: Vec<_> = Case::all().into_iter().filter(|case| case.blocking).collect();
    // With `?`, for strace need not know them all.
    let filter = format!("trace=?{},?access,?faccessat", WATCHED.join(",?"));
    let Some(all) = trace(&cases, CachePolicy::Keep, &["-e", &filter]) else {
        return;
    };
    for traced in all {
        assert_counted(&traced, CachePolicy::Keep);
        assert_only_its_own(&traced);
    }
}

#[test]
fn page_cache_calls_are_counted() {
    let cases: Vec<_> = Case::all()
        .into_iter()
        .filter(|case| case.blocking && (case.to_file() || case.transport == Transport::Unix))
        .collect();
    let filter = format!("trace=?{},?access,?faccessat", WATCHED.join(",?"));
    for &cache in &CachePolicy::ALL[1..] {
        let Some(all) = trace(&cases, cache, &["-e", &filter]) else {
            return;
        };
        all.iter().for_each(|traced| assert_counted(traced, cache));
    }
}

/// The report has exactly the calls of the trace.
fn assert_counted(traced: &Traced, cache: CachePolicy) {
    assert!(traced.exact && traced.errors.is_empty(), "{cache}: {traced:#?}");
    assert_eq!(traced.bytes, LEN as u64);
    let told = |name| traced.calls.get(name).copied().unwrap_or(0);
    let wrong = counts(traced).into_iter().filter(|&(name, count)| told(name) != count);
    let wrong: Vec<_> = wrong.map(|(name, count)| (name, count, told(name))).collect();
    assert!(wrong.is_empty(), "{}, {cache}: {wrong:?}\n{:#?}", traced.case, traced.trace);
}

/// The moving calls are those of the effective via; all of them without a fallback.
fn assert_only_its_own(traced: &Traced) {
    let case = traced.case;
    let (movers, around) = calls_of(case.direction, traced.effective);
    let tried = traced.fallbacks.iter().map(|fallback| calls_of(case.direction, fallback.0));
    let tried: Vec<_> = tried.flat_map(|(movers, around)| [movers, around].concat()).collect();
    for (name, count) in counts(traced) {
        let auto = case.via == Via::Auto && ["preadv2", "fstat"].contains(&name);
        let auto = auto || (name == "fstat" && !traced.fallbacks.is_empty());
        let own = movers.contains(&name) || around.contains(&name) || tried.contains(&name);
        assert!(count == 0 || own || auto, "{case}: {name}\n{:#?}", traced.trace);
    }
    assert_eq!(traced.arrived(traced.trace.len()), expected(traced), "{case}\n{:#?}", traced.trace);
}

/// A clone returns no count.
fn expected(traced: &Traced) -> u64 {
    if traced.effective == Via::Reflink { 0 } else { LEN as u64 }
}
