//! An open-file cache that is never stale, by inotify(7): an entry is dropped by the event of a
//! change, so a hit needs no statx(2). One cache per event loop, without locks. Linux 5.8 or later.
//!
//! An inotify event is queued before the system call of the change returns. So an entry that is
//! still there after a drain is as new as the last change that had completed when the drain began.
//! An entry depends on all that gives its paths their meaning:
//!
//! - each component of the absolute paths from `/` down, by directory and name, and each symbolic
//!   link that is followed on the way; the directories themselves (moved, removed, mode changed);
//! - the inode of each file, so that a write through another hard link is reported;
//! - names that must stay absent (an index file, precompressed siblings);
//! - the mount table of the process ([`mount_table`]).
//!
//! An insertion is exact: every directory is watched before a name in it is looked up; a second
//! walk must find the same inodes in the same mounts, and each path its descriptor; and no event of
//! these may have arrived when the value is made.
//!
//! # Limitations
//! These writers raise no event (tested on Linux 6.1, 6.12, 6.18; ext4, XFS, Btrfs, tmpfs):
//!
//! - stores to a shared mapping (mmap), and io_submit(2);
//! - splice(2) before Linux 6.6 (seen on an overlay, not on tmpfs), io_uring before 5.18 (5.15.54);
//! - writes through an overlay, where its layer is served (6.1; 6.12 reports them);
//! - users of a file inside the kernel, such as loop devices.
//!
//! So a hit asks once a second to be verified by one statx(2) ([`Entry::needs_verification`]),
//! which shows a changed size or time. A store to a page that is dirty already changes neither, nor
//! does a second write within one tick of the clock: content that has to be right even then must be
//! read from the descriptor, not kept in the value.
//!
//! Linux 5.3 to 5.16 (without updates of 2022) raise the event of an unlink before the name is
//! gone; the verification corrects an insertion in between. A busy directory wakes the event loop
//! for each event, and drops nothing. Any change of the mount table drops all entries, and so does
//! an overflow of the queue. An insertion makes about ten system calls a component and may wait for
//! a disk. It needs /proc, and the right to read each directory, not only to search it. An entry
//! with an open file keeps the file's mount busy.

mod dependencies;
mod entry;
mod events;
mod file_systems;
mod lru;
mod mount_table;
mod not_watchable;
mod slab;
#[cfg(test)]
mod tests;
mod walk;

pub use file_systems::remember_directory;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fd::BorrowedFd;

use dependencies::{Dependencies, Subject};
use events::Buffer;
use lru::Lru;
use mount_table::MountTable;
use slab::Slab;
use walk::{Visit, walk};

pub(crate) use entry::Entry;
pub(crate) use not_watchable::{NotWatchable, Reason};
pub(crate) use walk::{Expected, Walk};

/// The bounds of a cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Entries at most; 0 turns the cache off.
    pub(crate) entries: usize,
    /// Watches at most, one per directory and file; all loops share the user's `max_user_watches`.
    pub(crate) watches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1024, watches: 4096 }
    }
}

/// Values by key, each valid until a change of the files it was made from.
pub(crate) struct WatchedCache<V> {
    limits: Limits,
    dependencies: Dependencies,
    mounts: MountTable,
    buffer: Buffer,
    slots: Slab<Slot<V>>,
    numbers: HashMap<Arc<[u8]>, u32>,
    lru: Lru,
    /// Calls that read events.
    reads: u64,
    /// How often all entries were dropped.
    #[cfg(test)]
    clears: u32,
    /// The entries that an event concerns.
    concerned: Vec<u32>,
}

enum Slot<V> {
    /// Conditions of an insertion; an event drops it as it drops an entry.
    Pending,
    Ready(Entry<V>),
}

impl<V> WatchedCache<V> {
    /// Creates an empty cache with an inotify instance of its own.
    ///
    /// # Errors
    /// `EMFILE` if the user has `max_user_instances`, `ENOENT` without /proc.
    pub(crate) fn new(limits: Limits) -> io::Result<Self> {
        let dependencies = Dependencies::new().map_err(|errno| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("inotify_init1: {error}"))
        })?;
        Ok(Self {
            limits,
            dependencies,
            mounts: MountTable::open()?,
            buffer: Buffer::default(),
            slots: Slab::default(),
            numbers: HashMap::new(),
            lru: Lru::default(),
            reads: 0,
            #[cfg(test)]
            clears: 0,
            concerned: Vec::new(),
        })
    }

    /// Returns the descriptors for the event loop's wait, level-triggered, and the events to wait
    /// for. When one is reported, [`drain`](Self::drain) has to be called.
    #[cfg_attr(not(test), expect(dead_code, reason = "the loops drain by one poll(2) so far"))]
    pub(crate) fn descriptors(&self) -> [(BorrowedFd<'_>, PollFlags); 2] {
        [(self.dependencies.inotify(), PollFlags::IN), (self.mounts.waited(), PollFlags::PRI)]
    }

    /// Drops every entry that a change concerns, and returns how many those were. Covers all
    /// changes that completed before the call. Makes one system call (poll(2)) if there were none.
    pub(crate) fn drain(&mut self) -> usize {
        let before = self.len();
        let lost = match self.mounts.poll(self.dependencies.inotify()) {
            Ok(polled) => (polled.events && !self.read_events()) || polled.mounts,
            // Without an answer nothing is known.
            Err(_) => true,
        };
        if lost {
            self.clear();
        }
        before - self.len()
    }

    /// Returns the entry of a key, and counts it as used.
    ///
    /// It is valid for a request if [`drain`](Self::drain) was called after the first byte of the
    /// request had arrived; that is the caller's duty.
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<&mut Entry<V>> {
        let number = *self.numbers.get(key)?;
        self.lru.touch(number);
        self.ready(number)
    }

    /// Makes a value by `make` and keeps it as long as all paths have their expected meaning.
    ///
    /// `make` runs when all watches are in place, so a value that it reads from the files is that
    /// of the last change or a later one. Evicts the least recently used entries, as needed.
    ///
    /// # Errors
    /// The reason why the paths cannot be watched or have another meaning; or the error of `make`.
    /// An old entry of the key is dropped in any case.
    pub(crate) fn insert(
        &mut self,
        key: &[u8],
        expected: &[Expected<'_>],
        now: Instant,
        make: impl FnOnce(&Walk) -> io::Result<V>,
    ) -> Result<&mut Entry<V>, NotWatchable> {
        debug_assert!(!expected.is_empty(), "an entry without paths would stay for ever");
        self.remove(key);
        if self.limits.entries == 0 {
            return Err(NotWatchable::new(Reason::Full, b""));
        }
        let (number, walk) = self.prepare(expected)?;
        let value = make(&walk);
        self.drain();
        let value = match value {
            Ok(value) if self.is_pending(number) => value,
            made => {
                self.discard(number);
                let reason = made.err().map_or(Reason::Changing, Reason::Value);
                return Err(NotWatchable::new(reason, path_of(expected)));
            }
        };
        while self.len() >= self.limits.entries && self.evict() {}
        let key: Arc<[u8]> = key.into();
        self.numbers.insert(Arc::clone(&key), number);
        self.lru.touch(number);
        if let Some(slot) = self.slots.get_mut(number) {
            *slot = Slot::Ready(Entry::new(key, value, now));
        }
        self.ready(number).ok_or_else(|| NotWatchable::new(Reason::Changing, path_of(expected)))
    }

    /// Returns whether there is an entry, without use of it.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.numbers.contains_key(key)
    }

    /// Drops the entries that were not [used](Entry::set_used) for so long, as they keep mounts busy and
    /// the space of removed files in use.
    pub(crate) fn drop_idle(&mut self, now: Instant, idle: Duration) {
        while self.oldest_use().is_some_and(|at| now.saturating_duration_since(at) >= idle) {
            self.evict();
        }
    }

    /// Returns when the entry was used that was not used for longest.
    pub(crate) fn oldest_use(&mut self) -> Option<Instant> {
        let oldest = self.lru.oldest()?;
        self.ready(oldest).map(|entry| entry.used_at)
    }

    /// Returns whether an insertion would evict an entry that was used within this time.
    pub(crate) fn is_full_of_used(&mut self, now: Instant, used: Duration) -> bool {
        if self.len() < self.limits.entries && self.watches() < self.limits.watches {
            return false;
        }
        self.oldest_use().is_some_and(|at| now.saturating_duration_since(at) < used)
    }

    /// Drops the entry of a key, for example because its verification failed.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let number = self.numbers.get(key).copied();
        number.map(|number| self.discard(number)).is_some()
    }

    /// Drops all entries.
    pub(crate) fn clear(&mut self) {
        #[cfg(test)]
        {
            self.clears += 1;
        }
        for number in 0..self.slots.bound() {
            self.discard(number);
        }
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.lru.len()
    }

    /// Returns how many calls have read events so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads
    }

    /// Returns the number of watches.
    pub(crate) fn watches(&self) -> usize {
        self.dependencies.watches()
    }

    /// Prepares an insertion until no change interferes, in three attempts at most.
    fn prepare(&mut self, expected: &[Expected<'_>]) -> Result<(u32, Walk), NotWatchable> {
        let mut attempts = 1;
        loop {
            match self.attempt(expected) {
                Err(refusal) if !refusal.is_lasting() && attempts < ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }

    /// Watches everything on the paths, and compares two walks along them.
    fn attempt(&mut self, expected: &[Expected<'_>]) -> Result<(u32, Walk), NotWatchable> {
        // Events of earlier changes would only look as if something changed now.
        self.drain();
        let Ok(number) = self.slots.insert(Slot::Pending) else {
            return Err(NotWatchable::new(Reason::Full, path_of(expected)));
        };
        match self.watch(number, expected) {
            Ok(walk) => Ok((number, walk)),
            Err(refusal) => {
                self.discard(number);
                Err(refusal)
            }
        }
    }

    fn watch(&mut self, number: u32, expected: &[Expected<'_>]) -> Result<Walk, NotWatchable> {
        let (_, nodes) = walk(expected, &mut |visit| self.visit(number, &visit))?;
        let (walk, again) = walk(expected, &mut |_| Ok(()))?;
        self.drain();
        if nodes == again && self.is_pending(number) {
            Ok(walk)
        } else {
            Err(NotWatchable::new(Reason::Changing, path_of(expected)))
        }
    }

    /// Adds the watch of a step.
    fn visit(&mut self, number: u32, visit: &Visit<'_>) -> Result<(), NotWatchable> {
        let (fd, subject, magic) = match *visit {
            Visit::Name { directory, name, magic } => (directory, Subject::Name(name), Some(magic)),
            Visit::Parent { directory, magic } => (directory, Subject::Directory, Some(magic)),
            Visit::File(file) => (file, Subject::File, None),
        };
        let is_new = self
            .dependencies
            .depend(number, fd, subject)
            .map_err(|errno| NotWatchable::system("inotify_add_watch", errno, fd))?;
        if let (true, Some(magic)) = (is_new, magic) {
            file_systems::check_case(fd, magic)?;
        }
        while self.watches() > self.limits.watches {
            if !self.evict() {
                return Err(NotWatchable::of(Reason::Full, fd));
            }
        }
        Ok(())
    }

    /// Drops the entries that the queued events concern, and returns whether no event was lost.
    fn read_events(&mut self) -> bool {
        for _ in 0..MOST_READS {
            self.reads += 1;
            let Ok(more) = self.buffer.fill(self.dependencies.inotify()) else { return false };
            let (mut offset, mut lost) = (0, false);
            while let Some((event, next)) = self.buffer.event_at(offset) {
                offset = next;
                lost |= event.is_overflow();
                self.dependencies.concerned(event.watch, event.name, &mut self.concerned);
                while let Some(number) = self.concerned.pop() {
                    self.discard(number);
                }
            }
            if lost {
                // Later events concern no entry that is left.
                return false;
            }
            if !more {
                return true;
            }
        }
        false
    }

    /// Drops the entry that was not used for longest, and returns whether there was one.
    fn evict(&mut self) -> bool {
        self.lru.oldest().map(|number| self.discard(number)).is_some()
    }

    /// Drops an entry or an insertion, with its conditions.
    fn discard(&mut self, number: u32) {
        if let Some(Slot::Ready(entry)) = self.slots.remove(number) {
            self.numbers.remove(&entry.key);
        }
        self.lru.remove(number);
        self.dependencies.release(number);
    }

    fn is_pending(&self, number: u32) -> bool {
        matches!(self.slots.get(number), Some(Slot::Pending))
    }

    fn ready(&mut self, number: u32) -> Option<&mut Entry<V>> {
        match self.slots.get_mut(number)? {
            Slot::Ready(entry) => Some(entry),
            Slot::Pending => None,
        }
    }
}

fn path_of<'a>(expected: &[Expected<'a>]) -> &'a [u8] {
    match expected.first() {
        Some(Expected::File(path, _) | Expected::Absent(path)) => path,
        None => b"",
    }
}

const ATTEMPTS: u32 = 3;
/// A queue of the default length is read by as many; an endless one empties the cache.
const MOST_READS: u32 = 128;
