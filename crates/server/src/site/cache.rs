//! The cache of open files by path: a hot file costs one statx(2) per request (since Linux 4.11) instead
//! of a walk, an open, a stat and a close. An entry is validated at each hit, so it is never stale:
//!
//! - The bytes come from a descriptor that openat2 resolved beneath the root. The statx of a hit only
//!   confirms that the name still leads to this file. It takes the absolute path, so it confirms the
//!   root at the same time (`document_root.rs`).
//! - The descriptor pins the inode, so its number cannot be reused: equal device and inode numbers are
//!   the same file. If size, mtime, ctime and mode are equal too, no write, chmod or rename touched it.
//! - A racy file, whose time stamps are too recent to show one more write, is never inserted
//!   (`racy_mtime.rs`).
//!
//! # Limitations
//!
//! A link as last component never hits, because the statx does not follow it. A deleted file keeps its
//! disk space until a sweep, which only requests trigger. A key that hashes into a full shard evicts
//! another entry even if other shards have room.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use karez_http::encoding::Coding;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::identity::Identity;
use super::open_file::OpenFile;
use super::root::{Root, stat_at};

/// A bounded number of open files, sharded by the hash of the path.
pub(super) struct Cache {
    shards: Box<[Mutex<Shard>]>,
    per_shard: usize,
    hasher: RandomState,
    born: Instant,
    /// Milliseconds between `born` and the last sweep.
    swept: AtomicU64,
    /// The shard that the next sweep starts with.
    cursor: AtomicUsize,
}

type Shard = HashMap<Box<[u8]>, CacheEntry>;

struct CacheEntry {
    file: Arc<OpenFile>,
    used: Instant,
}

impl Cache {
    /// Returns a cache of at most `capacity` files; 0 turns it off.
    pub(super) fn new(capacity: usize) -> Self {
        let shards = capacity.div_ceil(SHARD);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            per_shard: capacity.checked_div(shards).unwrap_or(0),
            hasher: RandomState::new(),
            born: Instant::now(),
            swept: AtomicU64::new(0),
            cursor: AtomicUsize::new(0),
        }
    }

    /// Returns the file at `path` if it is cached and still valid: beneath this root, or without one
    /// beneath the directory that the name of the root leads to now.
    pub(super) fn find(
        &self,
        root: Option<&Root>,
        path: &[u8],
        coding: Option<Coding>,
        now: Instant,
    ) -> Option<Arc<OpenFile>> {
        let file = {
            let mut shard = self.shard(path)?;
            let entry = shard.get_mut(path)?;
            entry.used = now;
            // A path may be cached as itself or as the precompressed file of another: the head differs.
            (entry.file.coding() == coding).then(|| Arc::clone(&entry.file))?
        };
        let meta = match (root, file.absolute()) {
            (Some(root), _) => root.stat(path),
            (None, Some(absolute)) => stat_at(CWD, absolute),
            (None, None) => Err(Errno::NAMETOOLONG),
        };
        let same = meta.is_ok_and(|meta| Identity::of(&meta) == *file.identity());
        if !same {
            self.forget(path, &file);
        }
        same.then_some(file)
    }

    pub(super) fn keep(&self, path: &[u8], file: &Arc<OpenFile>, now: Instant) {
        let entry = CacheEntry { file: Arc::clone(file), used: now };
        let Some(mut shard) = self.shard(path) else {
            return;
        };
        let mut evicted = None;
        if shard.len() >= self.per_shard && !shard.contains_key(path) {
            // A shard is small: a scan of it is cheaper than an LRU list.
            let oldest = shard.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                evicted = shard.remove(&key);
            }
        }
        let replaced = shard.insert(path.into(), entry);
        drop(shard);
        // Closing is a system call, so it follows the unlock.
        drop((evicted, replaced));
    }

    /// Removes all entries, which closes the files that no response is using. Returns whether there were
    /// any.
    pub(super) fn shed(&self) -> bool {
        let mut any = false;
        for shard in &self.shards {
            let entries = std::mem::take(&mut *lock(shard));
            any |= !entries.is_empty();
        }
        any
    }

    /// Closes files that have been idle, a few times per second; most calls return at once.
    pub(super) fn sweep(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.born).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let last = self.swept.load(Ordering::Relaxed);
        let due = elapsed.saturating_sub(last) >= SWEEP_MILLISECONDS;
        let claim =
            || self.swept.compare_exchange(last, elapsed, Ordering::Relaxed, Ordering::Relaxed);
        // If several threads find a sweep due, one of them makes it.
        if !due || claim().is_err() {
            return;
        }
        let first = self.cursor.fetch_add(SWEEP_SHARDS, Ordering::Relaxed);
        for turn in 0..SWEEP_SHARDS.min(self.shards.len()) {
            let index = first.wrapping_add(turn) % self.shards.len();
            let idle = |entry: &CacheEntry| now.saturating_duration_since(entry.used) >= IDLE;
            let closed: Vec<_> =
                lock(&self.shards[index]).extract_if(|_, entry| idle(entry)).collect();
            drop(closed);
        }
    }

    /// Removes a file, unless another one has its path already.
    pub(super) fn forget(&self, path: &[u8], file: &Arc<OpenFile>) {
        let Some(mut shard) = self.shard(path) else {
            return;
        };
        // Another thread may have inserted the new file already.
        let stale = shard.get(path).is_some_and(|entry| Arc::ptr_eq(&entry.file, file));
        let entry = stale.then(|| shard.remove(path));
        drop(shard);
        drop(entry);
    }

    fn shard(&self, path: &[u8]) -> Option<MutexGuard<'_, Shard>> {
        let shards = u64::try_from(self.shards.len()).ok()?;
        let index = self.hasher.hash_one(path).checked_rem(shards)?;
        self.shards.get(usize::try_from(index).ok()?).map(lock)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

/// Returns the default capacity: an eighth of the descriptor limit, at most 1024. Most descriptors are
/// for connections.
pub(crate) fn default_capacity() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 8).unwrap_or(usize::MAX).min(1024)
}

/// Locks a shard. A poisoned lock is no problem: every entry is validated at each hit.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most files in a shard, all of which an eviction scans under the lock.
const SHARD: usize = 64;
/// An entry that has not been used for this long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// The most shards that a sweep visits, and the pause before the next sweep.
const SWEEP_SHARDS: usize = 16;
const SWEEP_MILLISECONDS: u64 = 250;
