//! The conditions that entries of the cache depend on, and the inotify watches that report their
//! change (inotify(7), Linux 2.6.13; `IN_ONLYDIR` 2.6.15).
//!
//! A condition is an inode that must not change, or a name in a directory that must keep its
//! meaning (also that of being absent). The kernel has one watch per inode and instance, so watches
//! are shared: a watch exists while a condition on its inode does, and a condition while an entry
//! depends on it. An event finds its condition by one lookup of the watch and one of the name; an
//! event of the directory itself (moved, removed, mode changed) concerns all of its names.
//!
//! A removed watch may still have events in the queue, and its `IN_IGNORED` follows. Both carry a
//! watch descriptor that is in no table any more, and the kernel hands out descriptors in rising
//! order: none is reused before 2^31 of them.
//!
//! # Limitations
//! A watch pins its inode in the kernel's memory (about 1 KiB). Names are compared without regard
//! to the case of ASCII and Latin-1 characters, as XFS does with `version=ci`: a change of `A` also
//! concerns `a`.

use std::collections::HashMap;

use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::not_watchable::proc_path;
use super::slab::Slab;

/// The part of an inode that a condition is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// A file: its content, attributes and links.
    File,
    /// A directory itself: its attributes and its place.
    Directory,
    /// The meaning of a name in a directory, and the directory itself.
    Name(&'a [u8]),
}

/// Entries, by number, and their conditions.
pub(super) struct Dependencies {
    inotify: OwnedFd,
    watches: HashMap<i32, Watch>,
    conditions: Slab<Condition>,
    /// The conditions of each entry, by its number.
    held: Vec<Vec<Held>>,
}

#[derive(Default)]
struct Watch {
    itself: Option<u32>,
    names: HashMap<Box<[u8]>, u32>,
}

struct Condition {
    watch: i32,
    /// Folded; none if it is about the inode itself.
    name: Option<Box<[u8]>>,
    dependents: Vec<Dependent>,
}

/// An entry that depends on a condition, and the index of the condition among the entry's.
#[derive(Clone, Copy)]
struct Dependent {
    entry: u32,
    index: usize,
}

/// A condition of an entry, and the position of the entry among the condition's dependents.
#[derive(Clone, Copy)]
struct Held {
    condition: u32,
    position: usize,
}

impl Dependencies {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self {
            inotify: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            watches: HashMap::new(),
            conditions: Slab::default(),
            held: Vec::new(),
        })
    }

    pub(super) fn inotify(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Returns the number of watches.
    pub(super) fn watches(&self) -> usize {
        self.watches.len()
    }

    /// Makes an entry depend on the inode of a descriptor, and returns whether the watch is new.
    /// From then on every change of the subject is reported; changes before are not.
    pub(super) fn depend(
        &mut self,
        entry: u32,
        fd: BorrowedFd<'_>,
        subject: Subject<'_>,
    ) -> Result<bool, Errno> {
        let mask = match subject {
            Subject::File => FILE,
            Subject::Directory | Subject::Name(_) => DIRECTORY,
        };
        // The link of the descriptor leads to its inode, whatever has its name by now.
        let watch = inotify::add_watch(&self.inotify, proc_path(fd), mask)?;
        let mut folded = [0; LONGEST_NAME];
        let name = match subject {
            Subject::Name(name) => Some(fold(name, &mut folded)),
            Subject::File | Subject::Directory => None,
        };
        let is_new = !self.watches.contains_key(&watch);
        let Some(condition) = self.condition(watch, name) else {
            self.unwatch_unused(watch);
            return Err(Errno::NOMEM);
        };
        self.link(entry, condition);
        Ok(is_new)
    }

    /// Removes the conditions of an entry, and the watches that no other entry needs.
    pub(super) fn release(&mut self, entry: u32) {
        let Some(held) = self.held.get_mut(entry as usize).map(std::mem::take) else {
            return;
        };
        for Held { condition: number, position } in held {
            let Some(condition) = self.conditions.get_mut(number) else { continue };
            condition.dependents.swap_remove(position);
            if let Some(&moved) = condition.dependents.get(position) {
                self.held[moved.entry as usize][moved.index].position = position;
            }
            if condition.dependents.is_empty() {
                self.remove_condition(number);
            }
        }
    }

    /// Appends the entries that an event concerns; an empty name is an event of the inode itself.
    pub(super) fn concerned(&self, watch: i32, name: &[u8], entries: &mut Vec<u32>) {
        let Some(watch) = self.watches.get(&watch) else { return };
        let mut append = |number: u32| {
            let condition = self.conditions.get(number);
            let dependents = condition.into_iter().flat_map(|condition| &condition.dependents);
            entries.extend(dependents.map(|dependent| dependent.entry));
        };
        if name.is_empty() {
            watch.itself.into_iter().chain(watch.names.values().copied()).for_each(append);
        } else if let Some(&number) = watch.names.get(fold(name, &mut [0; LONGEST_NAME])) {
            append(number);
        }
    }

    /// Returns the numbers of conditions and of their dependents.
    #[cfg(test)]
    pub(super) fn totals(&self) -> (usize, usize) {
        let conditions = (0..self.conditions.bound()).filter_map(|it| self.conditions.get(it));
        (conditions.count(), self.held.iter().map(Vec::len).sum())
    }

    /// Returns the condition of a watch, which is made if there is none.
    fn condition(&mut self, number: i32, name: Option<&[u8]>) -> Option<u32> {
        let watch = self.watches.entry(number).or_default();
        let known = match name {
            Some(name) => watch.names.get(name).copied(),
            None => watch.itself,
        };
        if known.is_some() {
            return known;
        }
        let name: Option<Box<[u8]>> = name.map(Into::into);
        let condition = Condition { watch: number, name: name.clone(), dependents: Vec::new() };
        let condition = self.conditions.insert(condition).ok()?;
        match name {
            Some(name) => _ = watch.names.insert(name, condition),
            None => watch.itself = Some(condition),
        }
        Some(condition)
    }

    fn link(&mut self, entry: u32, number: u32) {
        let index = entry as usize;
        if self.held.len() <= index {
            self.held.resize_with(index + 1, Vec::new);
        }
        let held = &mut self.held[index];
        let Some(condition) = self.conditions.get_mut(number) else { return };
        // A path and its siblings share all directories.
        if !held.iter().any(|held| held.condition == number) {
            let position = condition.dependents.len();
            condition.dependents.push(Dependent { entry, index: held.len() });
            held.push(Held { condition: number, position });
        }
    }

    fn remove_condition(&mut self, number: u32) {
        let Some(Condition { watch: of, name, .. }) = self.conditions.remove(number) else {
            return;
        };
        let Some(watch) = self.watches.get_mut(&of) else { return };
        match name {
            Some(name) => _ = watch.names.remove(&name),
            None => watch.itself = None,
        }
        self.unwatch_unused(of);
    }

    fn unwatch_unused(&mut self, number: i32) {
        let unused = |watch: &Watch| watch.itself.is_none() && watch.names.is_empty();
        if self.watches.get(&number).is_some_and(unused) {
            self.watches.remove(&number);
            // The kernel has removed it already (EINVAL) if the inode was deleted or unmounted.
            let _removed = inotify::remove_watch(&self.inotify, number);
        }
    }
}

/// Copies a name in lower case, as XFS with `version=ci` compares names.
fn fold<'a>(name: &[u8], folded: &'a mut [u8; LONGEST_NAME]) -> &'a [u8] {
    let length = name.len().min(LONGEST_NAME);
    for (to, from) in folded.iter_mut().zip(name) {
        *to = match *from {
            upper @ (b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde) => upper + 32,
            other => other,
        };
    }
    &folded[..length]
}

const LONGEST_NAME: usize = 255;
const FILE: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF);
const DIRECTORY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ONLYDIR);

#[cfg(test)]
mod tests {
    use super::*;

    fn concerned(dependencies: &Dependencies, watch: i32, name: &[u8]) -> Vec<u32> {
        let mut entries = Vec::new();
        dependencies.concerned(watch, name, &mut entries);
        entries.sort_unstable();
        entries
    }

    #[test]
    fn names_share_the_watch_of_their_directory() {
        let directory = tempfile::tempdir().unwrap();
        let file = std::fs::File::open(directory.path()).unwrap();
        let mut dependencies = Dependencies::new().unwrap();
        let mut depend = |entry, name: &[u8]| {
            dependencies.depend(entry, file.as_fd(), Subject::Name(name)).unwrap()
        };
        assert!(depend(0, b"a"), "the watch is new");
        assert!(!depend(1, b"a") && !depend(1, b"a") && !depend(2, b"B"), "and is shared");
        let watch = *dependencies.watches.keys().next().unwrap();
        assert_eq!(concerned(&dependencies, watch, b"a"), [0, 1]);
        assert_eq!(concerned(&dependencies, watch, b"b"), [2], "whatever the case");
        assert!(concerned(&dependencies, watch, b"c").is_empty());
        assert_eq!(concerned(&dependencies, watch, b""), [0, 1, 2], "the directory itself");
        assert!(concerned(&dependencies, watch + 1, b"a").is_empty(), "of a removed watch");
        dependencies.release(0);
        assert_eq!(concerned(&dependencies, watch, b""), [1, 2]);
        dependencies.release(2);
        dependencies.release(2);
        assert_eq!(dependencies.watches(), 1);
        dependencies.release(1);
        assert_eq!(dependencies.watches(), 0);
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::tempfile().unwrap();
        let mut dependencies = Dependencies::new().unwrap();
        assert!(dependencies.depend(7, file.as_fd(), Subject::File).unwrap());
        let refused = dependencies.depend(7, file.as_fd(), Subject::Name(b"x"));
        assert_eq!(refused, Err(Errno::NOTDIR));
        dependencies.release(7);
        assert_eq!(dependencies.watches(), 0);
    }
}
