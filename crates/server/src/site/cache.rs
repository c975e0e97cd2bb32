//! Open files by path, so that a hot file costs one statx(2) a request (since Linux 4.11) instead
//! of a walk, an open, a stat and a close. It never serves what is stale:
//!
//! - The bytes served come from a descriptor that openat2 resolved beneath the root; the statx of
//!   a hit adds nothing to that, it only confirms that the name still means this file. It takes the
//!   absolute path, so it confirms the root with it (`document_root.rs`).
//! - The descriptor pins the inode, so its number cannot be reused: equal device and inode are the
//!   same file. Size, mtime, ctime and mode equal too: no write, chmod or rename touched it.
//! - A file too young for its stamps to show one more write (a racy one) is never put in
//!   (`clock.rs`).
//!
//! What it does badly: a link as last component never hits, as the statx does not follow it. A
//! deleted file keeps its disk space until a sweep, which happens only when a request comes by.
//! A key that hashes into a full shard evicts another although other shards may have room.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use karez_http::encoding::Coding;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::open_file::{Identity, OpenFile};
use super::root::{Root, stat_at};

/// A bounded number of open files.
pub(super) struct Cache {
    shards: Box<[Mutex<Shard>]>,
    per_shard: usize,
    hasher: RandomState,
    born: Instant,
    /// Milliseconds after `born` at which the last sweep was, and the shard the next starts with.
    swept: AtomicU64,
    cursor: AtomicUsize,
}

type Shard = HashMap<Box<[u8]>, Entry>;

struct Entry {
    file: Arc<OpenFile>,
    used: Instant,
}

impl Cache {
    /// Holds at most `capacity` files; 0 turns it off.
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

    /// The file that `path` means at this moment, if it is held: beneath this root, or beneath the
    /// directory that has the name of the root.
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
            // One path may be held as itself or as another's sibling: same bytes, other head.
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
        let entry = Entry { file: Arc::clone(file), used: now };
        let Some(mut shard) = self.shard(path) else {
            return;
        };
        let mut evicted = None;
        if shard.len() >= self.per_shard && !shard.contains_key(path) {
            // A shard is small: looking at all of it is cheaper than keeping an order.
            let oldest = shard.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                evicted = shard.remove(&key);
            }
        }
        let replaced = shard.insert(path.into(), entry);
        drop(shard);
        // Closing is a system call, so it comes after the lock is given back.
        drop((evicted, replaced));
    }

    /// Closes everything that no response is using. Returns whether there was anything.
    pub(super) fn shed(&self) -> bool {
        let mut any = false;
        for shard in &self.shards {
            let entries = std::mem::take(&mut *lock(shard));
            any |= !entries.is_empty();
        }
        any
    }

    /// Now and then closes what was not asked for lately; most calls return at once.
    pub(super) fn sweep(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.born).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let last = self.swept.load(Ordering::Relaxed);
        let due = elapsed.saturating_sub(last) >= SWEEP_MILLISECONDS;
        let claim =
            || self.swept.compare_exchange(last, elapsed, Ordering::Relaxed, Ordering::Relaxed);
        // Of several threads that see it due, one does it.
        if !due || claim().is_err() {
            return;
        }
        let first = self.cursor.fetch_add(SWEEP_SHARDS, Ordering::Relaxed);
        for turn in 0..SWEEP_SHARDS.min(self.shards.len()) {
            let index = first.wrapping_add(turn) % self.shards.len();
            let idle = |entry: &Entry| now.saturating_duration_since(entry.used) >= IDLE;
            let closed: Vec<_> =
                lock(&self.shards[index]).extract_if(|_, entry| idle(entry)).collect();
            drop(closed);
        }
    }

    fn forget(&self, path: &[u8], file: &Arc<OpenFile>) {
        let Some(mut shard) = self.shard(path) else {
            return;
        };
        // Another thread may have put the new file in already.
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

/// As many files as are held when nobody says how many: most descriptors are for connections.
pub(super) fn default_capacity() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 8).unwrap_or(usize::MAX).min(1024)
}

/// No code that could panic runs under the lock, and an entry proves itself at every hit.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Files in a shard, at most: what an eviction looks at under the lock.
const SHARD: usize = 64;
/// An entry nobody asked for in this time is closed.
const IDLE: Duration = Duration::from_secs(10);
/// A sweep looks at no more shards than this, and waits this long before the next.
const SWEEP_SHARDS: usize = 16;
const SWEEP_MILLISECONDS: u64 = 250;
