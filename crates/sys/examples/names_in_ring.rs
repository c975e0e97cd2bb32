//! What it costs to look at a name and to open it: by a system call, and by io_uring, one at a time
//! and 32 at once. `cargo run --release -p karez-sys --example names_in_ring`
//!
//! Why names are not looked up in the ring unless they would wait for a disk: the kernel has worker
//! threads do every statx(2) there (`REQ_F_FORCE_ASYNC` in io_uring/statx.c), in its caches or not,
//! and a request for a small file needs one of these and nothing else.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it measures and says what it found")]

use io_uring::types::{Fd, OpenHow};
use io_uring::{IoUring, opcode, squeue};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::time::{ClockId, clock_gettime};
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

const ROUNDS: u32 = 20_000;
const AT_ONCE: u32 = 32;
const NAME: &CStr = c"Cargo.toml";

fn main() {
    let root = rustix::fs::open(env!("CARGO_MANIFEST_DIR"), OFlags::PATH, Mode::empty()).unwrap();
    let Ok(mut ring) = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(64)
    else {
        return println!("skipped: no ring, or a kernel before 6.1");
    };
    println!("{:<34} {:>9} {:>9}   (µs for one)", "", "elapsed", "CPU");
    report("statx, a call", 1, || {
        rustix::fs::statx(&root, NAME, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).unwrap();
    });
    let mut places = vec![[0_u64; 32]; AT_ONCE as usize]; // a statx has 256 bytes
    for count in [1, AT_ONCE] {
        let statx = |place: &mut [u64; 32]| {
            let place = place.as_mut_ptr().cast();
            opcode::Statx::new(Fd(root.as_raw_fd()), NAME.as_ptr(), place)
                .flags(libc::AT_SYMLINK_NOFOLLOW)
                .mask(libc::STATX_BASIC_STATS)
                .build()
        };
        report(&format!("statx, in the ring, {count} at once"), count, || {
            let entries: Vec<_> = places[..count as usize].iter_mut().map(statx).collect();
            for result in run(&mut ring, &entries) {
                assert_eq!(result, 0);
            }
        });
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    report("openat2 and close, calls", 1, || {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat2(&root, NAME, flags, Mode::empty(), resolve).unwrap());
    });
    let how = OpenHow::new()
        .flags((libc::O_RDONLY | libc::O_CLOEXEC).cast_unsigned().into())
        .resolve(resolve.bits());
    for count in [1, AT_ONCE] {
        let open =
            || opcode::OpenAt2::new(Fd(root.as_raw_fd()), NAME.as_ptr(), &raw const how).build();
        report(&format!("openat2, in the ring, {count} at once"), count, || {
            let entries: Vec<_> = (0..count).map(|_| open()).collect();
            for number in run(&mut ring, &entries) {
                assert!(number >= 0);
                // SAFETY: the kernel has just opened it for us.
                drop(unsafe { OwnedFd::from_raw_fd(number) });
            }
        });
    }
    let workers = std::fs::read_dir("/proc/self/task").unwrap().count() - 1;
    println!("threads of the kernel's that worked for the ring: {workers}");
}

/// Hands these over by one call and waits for all.
fn run(ring: &mut IoUring, entries: &[squeue::Entry]) -> Vec<i32> {
    // SAFETY: what the entries refer to outlives this function, which returns when all are over.
    unsafe { ring.submission().push_multiple(entries) }.unwrap();
    ring.submit_and_wait(entries.len()).unwrap();
    ring.completion().map(|entry| entry.result()).collect()
}

/// The best of five, for one operation: the time, and the CPU time of all threads.
fn report(name: &str, count: u32, mut round: impl FnMut()) {
    let rounds = ROUNDS / count;
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let (start, cpu) = (Instant::now(), cpu());
        for _ in 0..rounds {
            round();
        }
        best = best.min((start.elapsed() / ROUNDS, (self::cpu() - cpu) / ROUNDS));
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!("{name:<34} {:>9.2} {:>9.2}", micros(best.0), micros(best.1));
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
