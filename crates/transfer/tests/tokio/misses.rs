//! Files that are not in memory, on a runtime with one thread.

use crate::pairs::{Seeded, Stream as _, file_of, read_slowly};
use karez_transfer::tokio::{send, send_file};
use karez_transfer::{FileToSocket, OnMiss, Progress, Settings, Via};
use rustix::fs::{Advice, Mode, OFlags, fadvise, fdatasync, open};
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};

const SIZE: usize = (2 << 20) + 7;

/// Evicts its pages; returns whether that succeeded.
fn evict(file: &Arc<File>) -> bool {
    fdatasync(file).unwrap();
    fadvise(file, 0, None, Advice::DontNeed).unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    let settings = Settings::from(Via::Sendfile).on_miss(OnMiss::Report);
    let mut probe = FileToSocket::new(file.clone(), 0..SIZE as u64, settings);
    let cold = probe.step(near.as_fd()).unwrap() == Progress::NeedsWorker;
    if !cold {
        println!("skipped: the file system here keeps its pages");
    }
    cold
}

/// A runtime with one thread and one blocking thread, and the number of blocking jobs started.
fn narrow_runtime() -> (Runtime, Arc<AtomicUsize>) {
    let pool = Arc::new(AtomicUsize::new(0));
    let begun = Arc::clone(&pool);
    let mut builder = Builder::new_current_thread();
    builder.enable_io().max_blocking_threads(1);
    builder.on_thread_start(move || {
        begun.fetch_add(1, Ordering::SeqCst);
    });
    (builder.build().unwrap(), pool)
}

/// Includes `direct`, which always reads the disk.
const VIAS: [Via; 7] =
    [Via::Sendfile, Via::Splice, Via::Zerocopy, Via::Mmap, Via::Cow, Via::Direct, Via::Copy];

#[test]
fn the_pool_reads_missing_pages() {
    let bytes = Seeded(1).bytes(SIZE);
    let file = Arc::new(file_of(&bytes));
    for via in VIAS {
        let (runtime, pool) = narrow_runtime();
        runtime.block_on(async {
            let (near, far) = TcpStream::connected().await;
            if !evict(&file) {
                return;
            }
            assert_eq!(pool.load(Ordering::SeqCst), 0);
            let reader = tokio::spawn(read_slowly(far, 1));
            send_file(&near, &file, 0..SIZE as u64, via).await.unwrap();
            drop(near);
            assert!(reader.await.unwrap().0 == bytes, "{via}");
            assert_eq!(pool.load(Ordering::SeqCst), 1, "{via}");
        });
    }
}

/// The pool's only thread is busy: the transfer waits for it, and no other task waits for the
/// transfer.
#[test]
fn other_tasks_run_meanwhile() {
    let bytes = Seeded(2).bytes(SIZE);
    let file = Arc::new(file_of(&bytes));
    for via in VIAS {
        let (runtime, _) = narrow_runtime();
        runtime.block_on(async {
            let (near, far) = TcpStream::connected().await;
            if !evict(&file) {
                return;
            }
            let (release, released) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || released.recv());
            let settings = Settings::from(via).on_miss(OnMiss::Report);
            let mut transfer = FileToSocket::new(file.clone(), 0..SIZE as u64, settings);
            let sending = tokio::spawn(async move {
                send(&mut transfer, &near).await.unwrap();
            });
            let reader = tokio::spawn(read_slowly(far, 2));
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            assert!(!sending.is_finished(), "{via}");
            release.send(()).unwrap();
            busy.await.unwrap().unwrap();
            sending.await.unwrap();
            assert!(reader.await.unwrap().0 == bytes, "{via}");
        });
    }
}

/// A read past the cache leaves no pages there, and an unaligned one fails:
/// then a step blocks on the disk.
#[test]
fn a_file_whose_page_in_fails_is_sent() {
    let whole_blocks = SIZE / 4096 * 4096;
    let bytes = Seeded(3).bytes(whole_blocks);
    let file = Arc::new(file_of(&bytes));
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let Ok(past_the_cache) = open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty()) else {
        println!("skipped: no O_DIRECT here");
        return;
    };
    for via in [Via::Sendfile, Via::Mmap] {
        let (runtime, _) = narrow_runtime();
        runtime.block_on(async {
            let (near, far) = TcpStream::connected().await;
            if !evict(&file) {
                return;
            }
            let reader = tokio::spawn(read_slowly(far, 3));
            let report =
                send_file(&near, &past_the_cache, 0..whole_blocks as u64, via).await.unwrap();
            drop(near);
            let (received, _) = reader.await.unwrap();
            assert!(received == bytes, "{via}");
            assert_eq!(report.effective, via);
        });
    }
}
