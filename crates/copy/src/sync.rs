//! Synchronizes copies to the disk: fsync(2) of files, then of the directories that have their names.
//!
//! Write-out of a file's pages starts as soon as the file has its name (sync_file_range(2)). Files
//! and directories wait in one batch for all threads; a full batch is synchronized by many threads at
//! once, so that the file system commits, and the disk flushes its cache, once for many files.
//! Measured with 128 files of 20 KB on a loop device: 256 flushes by ext4 and xfs for a write and an
//! fsync each, 130 for one fsync after the other, 10 to 50 for 32 at once.
//!
//! A file that replaces another is synchronized alone before it gets the name: after a loss of power
//! the name has the old content or the new. A file under a new name may be empty or missing after a
//! loss of power before the end of the copy, never after it.
//!
//! # Limitations
//!
//! Each replaced file costs a flush, except for those that other jobs synchronize at the same time.
//! syncfs(2) would flush once for a whole tree, but also writes the data of other programs, and FUSE
//! does not forward it; it is the fallback for a file or a directory without fsync. A disk that
//! acknowledges a flush early breaks the promise.

use karez_sys::write_out;
use rustix::fs::{Stat, fstat, fsync, syncfs};
use rustix::io::{self, Errno};
use std::mem;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::error::Error;
use crate::hard_links::{Identity, identity};

/// Maximum number of files and directories in a batch, each with an open descriptor.
const BATCH: usize = 64;

/// Maximum number of concurrent fsync(2) calls: each waits for the same disk.
const THREADS: usize = 32;

/// Maximum number of attempts of an interrupted call.
const ATTEMPTS: u32 = 16;

/// Files and directories that wait to be synchronized.
#[derive(Debug, Default)]
pub(crate) struct SyncBatch(Mutex<Waiting>);

/// The result of a flush; empty where none was due.
#[derive(Debug, Default)]
pub(crate) struct Synced {
    pub(crate) count: u64,
    pub(crate) errors: Vec<Error>,
}

#[derive(Debug, Default)]
struct Waiting {
    files: Vec<Item>,
    directories: Vec<Item>,
    /// The identities of the directories: several sources may go into one.
    known: Vec<Identity>,
}

#[derive(Debug)]
struct Item {
    file: Arc<OwnedFd>,
    path: PathBuf,
}

/// Returns an error if the copy is to stop.
type CheckStop<'a> = &'a (dyn Fn() -> Result<(), Error> + Sync);

impl SyncBatch {
    /// Adds a file of `size` bytes, starts its write-out, and flushes a full batch.
    pub(crate) fn add_file(
        &self,
        file: &Arc<OwnedFd>,
        size: u64,
        path: PathBuf,
        check_stop: CheckStop<'_>,
    ) -> Synced {
        // If it fails, so does fsync(2), which returns the error.
        let _started = write_out(file.as_fd(), 0..size, false);
        let item = Item { file: Arc::clone(file), path };
        self.add(check_stop, |waiting| waiting.files.push(item))
    }

    /// Adds a directory unless it is in the batch already, and flushes a full batch.
    pub(crate) fn add_directory(
        &self,
        opened: OwnedFd,
        path: PathBuf,
        check_stop: CheckStop<'_>,
    ) -> Result<Synced, Error> {
        let stat: Stat = fstat(&opened).map_err(Error::of("fstat", &path))?;
        let item = Item { file: Arc::new(opened), path };
        Ok(self.add(check_stop, |waiting| {
            if !waiting.known.contains(&identity(&stat)) {
                waiting.known.push(identity(&stat));
                waiting.directories.push(item);
            }
        }))
    }

    /// Synchronizes the whole batch.
    pub(crate) fn flush(&self, check_stop: CheckStop<'_>) -> Synced {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush(check_stop)
    }

    fn add(&self, check_stop: CheckStop<'_>, add: impl FnOnce(&mut Waiting)) -> Synced {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut waiting);
        // Under the lock: the other threads wait, and no more files are opened.
        if waiting.is_full() { waiting.flush(check_stop) } else { Synced::default() }
    }
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.files.len() + self.directories.len() >= BATCH
    }

    fn flush(&mut self, check_stop: CheckStop<'_>) -> Synced {
        let Self { files, directories, .. } = mem::take(self);
        let mut synced = Synced::default();
        for items in [files, directories] {
            let errors = sync_all(&items, check_stop);
            synced.count += (items.len() - errors.len()) as u64;
            synced.errors.extend(errors);
        }
        synced
    }
}

fn sync_all(items: &[Item], check_stop: CheckStop<'_>) -> Vec<Error> {
    let (next, errors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(Item { file, path }) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            let synced = check_stop().and_then(|()| sync(file, path));
            if let Err(error) = synced {
                errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
            }
        }
    };
    thread::scope(|scope| {
        for number in 1..items.len().min(THREADS) {
            let builder = thread::Builder::new().name(format!("karez-sync-{number}"));
            // If a thread cannot be made, fewer do the work.
            let _started = builder.spawn_scoped(scope, work);
        }
        work();
    });
    errors.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Returns when the file, or the entries of the directory, are on the disk.
pub(crate) fn sync(file: &OwnedFd, path: &Path) -> Result<(), Error> {
    match retry(|| fsync(file)) {
        Ok(()) => Ok(()),
        // The file system has no fsync for this kind of file.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            retry(|| syncfs(file)).map_err(Error::of("syncfs", path))
        }
        Err(errno) => Err(Error::of("fsync", path)(errno)),
    }
}

fn retry(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..ATTEMPTS {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
    call()
}
