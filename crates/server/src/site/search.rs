//! A search: which name is looked at next for a request, and what it means. It opens nothing, so
//! whoever can look at a name carries it on: a thread that may wait, one that may not, or a ring
//! (openat2(2) and statx(2) by io_uring) that is told a name and says what it found.
//!
//! What it does badly: one name after another, though a ring could look at several; which
//! device it will wait for is known by the mount table and the kernel's caches only.

use std::ffi::CString;
use std::sync::Arc;
use std::time::Instant;

use karez_http::encoding::Coding;
use karez_reactor::{Handle, Lookup, Opened};
use karez_transfer::Device;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;

use super::clock::Clock;
use super::listing::Listing;
use super::mounts::device_number;
use super::resolve::{Node, Refusal};
use super::root::{Effort, Purpose, Root, may_try_again, name_of};
use super::sibling::{Choice, Siblings};
use super::{Found, Site, Wanted, join};

/// What a request wants, and how far that has been looked for.
pub(crate) struct Search {
    wanted: Wanted,
    stage: Stage,
    /// The directory that its names are looked up in; none as long as the cache knows them all.
    pub(super) root: Option<Arc<Root>>,
    /// That of the site's root when it began.
    generation: u64,
    /// What a ring is looking up.
    pending: Option<Box<Pending>>,
    /// Somebody who may wait has to go on: it is not for a ring.
    by_calls: bool,
}

/// What is looked at now.
enum Stage {
    /// The index of the directory.
    Index(Vec<u8>),
    Directory,
    File,
    /// The file, which may not be read: a directory that may not be read has a slash to add.
    Unreadable,
    Siblings(Box<Siblings>),
}

struct Pending {
    /// Read before the file's stamps are.
    clock: Clock,
    tries: u32,
    /// It is not a name that is looked up, but the root.
    root: bool,
}

/// A name to be looked at.
pub(super) struct Aim<'a> {
    pub(super) path: &'a [u8],
    /// `path` is that of a file with this coding.
    pub(super) coding: Option<Coding>,
    pub(super) purpose: Purpose,
}

impl Site {
    /// A search that has not begun.
    pub(crate) fn search(&self, wanted: Wanted) -> Search {
        let stage = self.first_stage(&wanted);
        let generation = self.root.generation();
        Search { wanted, stage, root: None, generation, pending: None, by_calls: false }
    }

    fn first_stage(&self, wanted: &Wanted) -> Stage {
        if !wanted.directory && !wanted.path.is_empty() {
            Stage::File
        } else if self.options.index.is_empty() {
            Stage::Directory
        } else {
            Stage::Index(join(&wanted.path, &self.options.index))
        }
    }

    /// The device that a search waits for next. Makes no call that could block.
    pub(crate) fn device_of(&self, search: &Search) -> Device {
        let path = search.aim().path;
        let named = self.mounts.device_at(path);
        if named.remote || !self.mounts.has_remote() {
            return named;
        }
        match self.known_device(path) {
            Ok(device) => device.unwrap_or(named),
            // It is not known whether a link leads to a remote device, so a worker finds out.
            Err(Errno::AGAIN | Errno::INVAL) => {
                let parents = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
                let known = parents.map(|(end, _)| self.known_device(&path[..end]));
                let nearest = known.flatten().flatten().next().unwrap_or(named);
                Device { remote: true, ..nearest }
            }
            Err(_) => named,
        }
    }

    /// The device that a path leads to, links followed, if the kernel has all of it in its caches.
    fn known_device(&self, path: &[u8]) -> Result<Option<Device>, Errno> {
        let fd = self.root.held().open(path, Purpose::Look, Effort::Cached)?;
        Ok(device_number(fd.as_fd()).map(|number| self.mounts.device_of(number, path)))
    }

    /// What there is; it may wait for a disk.
    pub(crate) fn find(&self, mut search: Search) -> (Found, Wanted) {
        // Nobody said that it must not wait, so that is not what it stops at.
        let found = self.go_on(&mut search, Effort::Whole).unwrap_or(Found::Busy);
        (found, search.wanted)
    }

    /// What there is, if that can be told without waiting for a disk: from files held open and
    /// what the kernel has in its caches (`RESOLVE_CACHED`, Linux 5.12). Not for a
    /// [remote](Device::remote) device: the statx(2) by which a held file is confirmed, and the open
    /// of a cached name, would ask it.
    ///
    /// # Errors
    /// The search, as far as it came.
    pub(crate) fn find_cached(&self, mut search: Search) -> Result<(Found, Wanted), Search> {
        if self.device_of(&search).remote {
            return Err(search);
        }
        match self.go_on(&mut search, Effort::Cached) {
            Some(found) => Ok((found, search.wanted)),
            None => Err(search),
        }
    }

    /// The name that a ring is to look up so that the search can go on, if a ring can help.
    pub(crate) fn lookup(&self, search: &mut Search) -> Option<Lookup> {
        // A file with stamps is searched as it is opened, and that reads it.
        if search.by_calls || !self.options.stamps.is_empty() {
            return None;
        }
        let tries = search.pending.take().map_or(0, |pending| pending.tries);
        let clock = Clock::read(self.grain);
        let root = match self.find_root(search, Effort::Cached) {
            Ok(root) => root as Handle,
            Err(Refusal::WouldWait) => {
                let lookup = self.root.lookup()?;
                search.pending = Some(Box::new(Pending { clock, tries, root: true }));
                return Some(lookup);
            }
            Err(_) => return None,
        };
        let aim = search.aim();
        let (name, purpose) = (CString::new(name_of(aim.path)).ok()?, aim.purpose);
        search.pending = Some(Box::new(Pending { clock, tries, root: false }));
        Some(Lookup::new(root, name, purpose.flags(), Effort::Whole.resolves()))
    }

    /// Goes on with what a ring found, without waiting for a disk.
    ///
    /// # Errors
    /// The search: there is another name to be looked up, or a ring cannot help.
    pub(crate) fn looked_up(
        &self,
        mut search: Search,
        opened: Result<Opened, Errno>,
    ) -> Result<(Found, Wanted), Search> {
        let Some(pending) = search.pending.take() else { return Err(search) };
        let Pending { clock, tries, root: of_root } = *pending;
        let opened = match opened {
            // It knows no such operation, or was cut short by something other than the file.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::CANCELED) => {
                search.by_calls = true;
                return Err(search);
            }
            Err(errno) if may_try_again(errno, tries) || (tries == 0 && self.makes_room(errno)) => {
                search.pending = Some(Box::new(Pending { clock, tries: tries + 1, root: of_root }));
                return Err(search);
            }
            opened => opened.map(|Opened { fd, meta }| (fd, *meta)),
        };
        let found = match search.root.clone() {
            Some(root) if !of_root => self.name_opened(&mut search, &root, opened, &clock),
            _ => self.root_opened(&mut search, opened.map(|(fd, _)| fd)),
        };
        match found {
            Some(found) => Ok((found, search.wanted)),
            None => self.find_cached(search),
        }
    }

    fn name_opened(
        &self,
        search: &mut Search,
        root: &Root,
        opened: Result<(OwnedFd, Statx), Errno>,
        clock: &Clock,
    ) -> Option<Found> {
        let aim = search.aim();
        let node = opened
            .map_err(|errno| Refusal::new("look up", aim.path, errno))
            .and_then(|it| self.meet(root, &aim, it, clock, Effort::Whole, Instant::now()));
        self.take(search, node)
    }

    fn root_opened(&self, search: &mut Search, opened: Result<OwnedFd, Errno>) -> Option<Found> {
        match self.root.opened(opened) {
            Ok(found) => {
                self.begin_in(found, search);
                self.start_over_if_mixed(search);
                None
            }
            Err(error) => Some(self.root_refused(&error).into()),
        }
    }

    /// Looks for the file itself again where a search came from that of one tree to the siblings in
    /// another, as its root was found out only now.
    fn start_over_if_mixed(&self, search: &mut Search) -> bool {
        let mixed = search.is_of_two_roots();
        if mixed {
            search.stage = self.first_stage(&search.wanted);
        }
        mixed
    }

    /// Looks at one name after another; nothing if it came to one for which it would wait.
    fn go_on(&self, search: &mut Search, effort: Effort) -> Option<Found> {
        let now = Instant::now();
        self.cache.sweep(now);
        self.mounts.refresh(self.root.held().as_fd(), now);
        if !self.options.hidden && has_hidden_segment(&search.wanted.path) {
            return Some(Found::Missing);
        }
        loop {
            let began = search.root.is_some();
            let node = self.reach(search, effort, now);
            if !began && self.start_over_if_mixed(search) {
                continue;
            }
            let node = match node {
                Err(Refusal::WouldWait) => return None,
                node => node,
            };
            if let Some(found) = self.take(search, node) {
                return Some(found);
            }
        }
    }

    /// Takes what the name is that was looked at. What there is, or nothing if there is another name
    /// to be looked at.
    pub(super) fn take(&self, search: &mut Search, node: Result<Node, Refusal>) -> Option<Found> {
        let Search { wanted, stage, root, .. } = search;
        match (std::mem::replace(stage, Stage::Directory), node) {
            (Stage::Index(path), Ok(Node::File(file))) => {
                let choice = Siblings::of(&path, file, wanted.codings);
                search.choose(choice)
            }
            // An index that is not a file is no index.
            (Stage::Index(_), Ok(_) | Err(Refusal::Missing)) => None,
            (Stage::Directory, Ok(Node::Directory(_))) if !self.options.listing => {
                Some(Found::ListingForbidden)
            }
            (Stage::Directory, Ok(Node::Directory(fd))) => {
                // A directory is never in the cache, so the root was asked.
                let Some(root) = root.clone() else { return Some(Found::Busy) };
                let path = wanted.path.clone();
                let device = self.mounts.device_at(&path);
                let mut listing = Listing::new(root, fd, path, self.options.hidden, wanted.view);
                listing.device = device;
                listing.remote = self.mounts.remote_entries(&wanted.path);
                Some(Found::Directory(Box::new(listing)))
            }
            (Stage::File, Ok(Node::File(file))) => {
                let choice = Siblings::of(&wanted.path, file, wanted.codings);
                search.choose(choice)
            }
            (Stage::File | Stage::Unreadable, Ok(Node::Directory(_))) => Some(Found::MissingSlash),
            (Stage::File, Err(Refusal::Denied)) => {
                *stage = Stage::Unreadable;
                None
            }
            (Stage::Directory | Stage::File, Ok(_)) => Some(Found::Missing),
            (Stage::Unreadable, _) => Some(Found::Denied),
            (Stage::Siblings(siblings), node) => search.choose(siblings.judge(node)),
            (_, Err(refusal)) => Some(refusal.into()),
        }
    }
}

impl Search {
    /// Whether it came from a file of one tree to the siblings of another.
    fn is_of_two_roots(&self) -> bool {
        let newer = self.root.as_ref().is_some_and(|root| root.generation() != self.generation);
        newer && matches!(self.stage, Stage::Siblings(_))
    }

    /// What is looked at now.
    pub(super) fn aim(&self) -> Aim<'_> {
        let (path, coding) = match &self.stage {
            Stage::Index(path) => (&path[..], None),
            Stage::Siblings(siblings) => siblings.current(),
            Stage::Directory | Stage::File | Stage::Unreadable => (&self.wanted.path[..], None),
        };
        let purpose = match self.stage {
            Stage::Unreadable => Purpose::Look,
            _ => Purpose::Read,
        };
        Aim { path, coding, purpose }
    }

    fn choose(&mut self, choice: Choice) -> Option<Found> {
        match choice {
            Choice::Made(file) => Some(Found::File { file }),
            Choice::Between(siblings) => {
                self.stage = Stage::Siblings(siblings);
                None
            }
        }
    }
}

/// Returns whether a name of the path begins with a dot, other than `.well-known` at the top: that is
/// where clients look for what concerns the whole site (RFC 8615 §3).
pub(super) fn has_hidden_segment(path: &[u8]) -> bool {
    let path = match path.strip_prefix(WELL_KNOWN) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        _ => path,
    };
    path.split(|&byte| byte == b'/').any(|segment| segment.starts_with(b"."))
}

const WELL_KNOWN: &[u8] = b".well-known";
