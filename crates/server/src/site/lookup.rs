//! The lookup of a request's path as a state machine: which name is opened next, and how the result
//! continues. It opens nothing itself, so any of three backends can advance it: a thread that may block,
//! a thread that may not, or io_uring, which opens a name by openat2(2) and statx(2).
//!
//! A lookup tries the index of a directory, the directory, the file, or its precompressed siblings, one
//! name after the other.
//!
//! # Limitations
//!
//! io_uring could open several names at a time. The device that a lookup waits for is predicted by the
//! mount table and the kernel's caches, so a link to another device may be missed.

use std::ffi::CString;
use std::sync::Arc;
use std::time::Instant;

use karez_reactor::{OpenRequest, OpenedFile, SharedFd};
use karez_transfer::Device;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;

use super::archive::ArchiveDirectory;
use super::compressed::Found;
use super::compression::Compression;
use super::listing::Listing;
use super::lookup_error::LookupError;
use super::mounts::device_number;
use super::paths::{has_hidden_segment, join};
use super::precompressed::{Representation, Siblings};
use super::racy_mtime::FileClock;
use super::request::{LookupResult, ResourceRequest};
use super::resolve::{Candidate, Resolved};
use super::root::{LookupMode, OpenMode, Root, may_try_again, name_of};
use super::state::Site;

/// A request and the progress of its lookup.
pub(crate) struct PathLookup {
    request: ResourceRequest,
    step: LookupStep,
    /// The directory in which its names are opened; `None` as long as the cache has them all.
    pub(super) root: Option<Arc<Root>>,
    /// The generation of the site's root when the lookup started.
    generation: u64,
    /// The open that io_uring has been asked for.
    pending: Option<Box<PendingOpen>>,
    /// io_uring cannot continue, so a thread has to.
    needs_thread: bool,
}

/// The name that is opened next.
enum LookupStep {
    /// The index of the directory.
    Index(Vec<u8>),
    Directory,
    File,
    /// The file, which may not be read. If it is a directory, its slash is missing.
    Unreadable,
    Siblings(Box<Siblings>),
    /// The file is found, and sent compressed.
    Compress(Box<Compression>),
}

/// An open by io_uring.
struct PendingOpen {
    /// Read before the time stamps of the file are.
    clock: FileClock,
    tries: u32,
    /// The root is opened, and not a name beneath it.
    of_root: bool,
}

impl Site {
    /// Returns a lookup that has not started.
    pub(crate) fn lookup(&self, request: ResourceRequest) -> PathLookup {
        let step = self.first_step(&request);
        let generation = self.root.generation();
        PathLookup { request, step, root: None, generation, pending: None, needs_thread: false }
    }

    fn first_step(&self, request: &ResourceRequest) -> LookupStep {
        if !request.directory && !request.path.is_empty() {
            LookupStep::File
        } else if self.options.index.is_empty() {
            LookupStep::Directory
        } else {
            LookupStep::Index(join(&request.path, &self.options.index))
        }
    }

    /// Returns the device that a lookup waits for next. Makes no call that could block.
    pub(crate) fn device_of(&self, lookup: &PathLookup) -> Device {
        let path = lookup.candidate().path;
        let named = self.mounts.device_at(path);
        if named.remote || !self.mounts.has_remote() {
            return named;
        }
        match self.known_device(path) {
            Ok(device) => device.unwrap_or(named),
            // Unknown whether a link leads to a remote device: a worker finds out.
            Err(Errno::AGAIN | Errno::INVAL) => {
                let parents = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
                let known = parents.map(|(end, _)| self.known_device(&path[..end]));
                let nearest = known.flatten().flatten().next().unwrap_or(named);
                Device { remote: true, ..nearest }
            }
            Err(_) => named,
        }
    }

    /// Returns the device that a path leads to, links followed, if the kernel has all of it in its
    /// caches.
    fn known_device(&self, path: &[u8]) -> Result<Option<Device>, Errno> {
        let fd = self.root.held().open(path, OpenMode::Path, LookupMode::CachedOnly)?;
        Ok(device_number(fd.as_fd()).map(|number| self.mounts.device_of(number, path)))
    }

    /// Runs a lookup to its end; it may block on a disk.
    pub(crate) fn run_lookup(&self, mut lookup: PathLookup) -> (LookupResult, ResourceRequest) {
        // A lookup that may block never stops before its end.
        let found = self.advance(&mut lookup, LookupMode::MayBlock).unwrap_or(LookupResult::Busy);
        (found, lookup.request)
    }

    /// Runs a lookup as far as it needs no disk: with files held open, and names that the kernel has in
    /// its caches (`RESOLVE_CACHED`, Linux 5.12). It does not start on a [remote](Device::remote)
    /// device: the statx(2) that validates a cached file, and the open of a cached name, would ask it.
    ///
    /// # Errors
    /// The lookup, as far as it came.
    pub(crate) fn run_cached(
        &self,
        mut lookup: PathLookup,
    ) -> Result<(LookupResult, ResourceRequest), PathLookup> {
        if self.device_of(&lookup).remote {
            return Err(lookup);
        }
        match self.advance(&mut lookup, LookupMode::CachedOnly) {
            Some(found) => Ok((found, lookup.request)),
            None => Err(lookup),
        }
    }

    /// Returns the open by which io_uring can continue the lookup, if it can.
    pub(crate) fn open_request(&self, lookup: &mut PathLookup) -> Option<OpenRequest> {
        // With substitutions a file is searched when it is opened, and that reads it.
        if lookup.needs_thread || !self.options.substitutions.is_empty() {
            return None;
        }
        let tries = lookup.pending.take().map_or(0, |pending| pending.tries);
        let clock = FileClock::read(self.granularity);
        let root = match self.find_root(&mut lookup.root, LookupMode::CachedOnly) {
            Ok(root) => root as SharedFd,
            Err(LookupError::WouldWait) => {
                let open = self.root.open_request()?;
                lookup.pending = Some(Box::new(PendingOpen { clock, tries, of_root: true }));
                return Some(open);
            }
            Err(_) => return None,
        };
        let Candidate { path, open_mode, .. } = lookup.candidate();
        let name = CString::new(name_of(path)).ok()?;
        lookup.pending = Some(Box::new(PendingOpen { clock, tries, of_root: false }));
        Some(OpenRequest::new(root, name, open_mode.flags(), LookupMode::MayBlock.resolves()))
    }

    /// Continues with a file that io_uring opened, without waiting for a disk.
    ///
    /// # Errors
    /// The lookup: another name has to be opened, or io_uring cannot continue.
    pub(crate) fn opened(
        &self,
        mut lookup: PathLookup,
        opened: Result<OpenedFile, Errno>,
    ) -> Result<(LookupResult, ResourceRequest), PathLookup> {
        let Some(pending) = lookup.pending.take() else { return Err(lookup) };
        let PendingOpen { clock, tries, of_root } = *pending;
        let opened = match opened {
            // The kernel does not support the operation, or cancelled it.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::CANCELED) => {
                lookup.needs_thread = true;
                return Err(lookup);
            }
            Err(errno) if may_try_again(errno, tries) || (tries == 0 && self.makes_room(errno)) => {
                lookup.pending = Some(Box::new(PendingOpen { clock, tries: tries + 1, of_root }));
                return Err(lookup);
            }
            opened => opened.map(|OpenedFile { fd, meta }| (fd, *meta)),
        };
        let found = match lookup.root.clone() {
            Some(root) if !of_root => self.name_opened(&mut lookup, &root, opened, &clock),
            _ => self.root_opened(&mut lookup, opened.map(|(fd, _)| fd)),
        };
        match found {
            Some(found) => Ok((found, lookup.request)),
            None => self.run_cached(lookup),
        }
    }

    fn name_opened(
        &self,
        lookup: &mut PathLookup,
        root: &Root,
        opened: Result<(OwnedFd, Statx), Errno>,
        clock: &FileClock,
    ) -> Option<LookupResult> {
        let (candidate, now) = (lookup.candidate(), Instant::now());
        let resolved =
            opened.map_err(|errno| LookupError::new("look up", candidate.path, errno)).and_then(
                |it| self.admit_opened(root, &candidate, it, clock, LookupMode::MayBlock, now),
            );
        self.classify(lookup, resolved)
    }

    fn root_opened(
        &self,
        lookup: &mut PathLookup,
        opened: Result<OwnedFd, Errno>,
    ) -> Option<LookupResult> {
        match self.root.opened(opened) {
            Ok(found) => {
                lookup.root = Some(self.admit_root(found));
                self.start_over_if_mixed(lookup);
                None
            }
            Err(error) => Some(self.root_error(&error).into()),
        }
    }

    /// Starts over at the file itself if the lookup has an original of one tree and a root of another,
    /// which it has just got. Returns whether it did.
    fn start_over_if_mixed(&self, lookup: &mut PathLookup) -> bool {
        let mixed = lookup.is_of_two_roots();
        if mixed {
            lookup.step = self.first_step(&lookup.request);
        }
        mixed
    }

    /// Opens one name after the other. `None` if it would have to wait for a disk and may not.
    fn advance(&self, lookup: &mut PathLookup, mode: LookupMode) -> Option<LookupResult> {
        let now = Instant::now();
        self.cache.sweep(now);
        self.mounts.refresh(&self.root.held(), now);
        if !self.options.hidden && has_hidden_segment(&lookup.request.path) {
            return Some(LookupResult::Missing);
        }
        loop {
            if let LookupStep::Compress(compression) = &lookup.step {
                let found = self.compressed(compression, mode);
                lookup.needs_thread |= found.is_none();
                return found;
            }
            let had_root = lookup.root.is_some();
            let PathLookup { request, step, root, .. } = lookup;
            let resolved = self.resolve(root, &step.candidate(request), mode, now);
            if !had_root && self.start_over_if_mixed(lookup) {
                continue;
            }
            let resolved = match resolved {
                Err(LookupError::WouldWait) => return None,
                resolved => resolved,
            };
            if let Some(found) = self.classify(lookup, resolved) {
                return Some(found);
            }
        }
    }

    /// Returns a file that has been found, compressed if it can be. `None` if that needs a thread.
    fn compressed(&self, compression: &Compression, mode: LookupMode) -> Option<LookupResult> {
        let original = &compression.original;
        match self.compress(compression, mode == LookupMode::MayBlock) {
            Found::Absent => None,
            Found::Plain => Some(LookupResult::File { file: Arc::clone(original), original: None }),
            Found::Ready(file) => {
                Some(LookupResult::File { file, original: Some(Arc::clone(original)) })
            }
        }
    }

    /// Takes the result for the current name. Returns the result of the lookup, or `None` if there is
    /// another name to open.
    pub(super) fn classify(
        &self,
        lookup: &mut PathLookup,
        resolved: Result<Resolved, LookupError>,
    ) -> Option<LookupResult> {
        let PathLookup { request, step, root, .. } = lookup;
        match (std::mem::replace(step, LookupStep::Directory), resolved) {
            (LookupStep::Index(path), Ok(Resolved::File(file))) => {
                let representation = Siblings::of(&path, file, request.codings);
                self.choose(lookup, representation, Some(path))
            }
            // An index that is not a file is no index.
            (LookupStep::Index(_), Ok(_) | Err(LookupError::Missing)) => None,
            (LookupStep::Directory, Ok(Resolved::Directory(_))) if !self.options.listing => {
                Some(LookupResult::ListingForbidden)
            }
            (LookupStep::Directory, Ok(Resolved::Directory(fd))) => {
                // A directory is never in the cache, so the lookup has a root.
                let Some(root) = root.clone() else { return Some(LookupResult::Busy) };
                let path = request.path.clone();
                let device = self.mounts.device_at(&path);
                if self.options.archives && request.view.archive {
                    let directory = ArchiveDirectory { root, fd, path, device };
                    return Some(LookupResult::Archive(Box::new(directory)));
                }
                let (hidden, notes) = (self.options.hidden, Arc::clone(&self.options.notes));
                let (view, memory) = (request.view.clone(), &self.options.listing_memory);
                let mut listing = Listing::new(root, fd, path, hidden, view, notes, memory);
                listing.device = device;
                listing.archives = self.options.archives;
                listing.remote = self.mounts.remote_entries(&request.path);
                Some(LookupResult::Directory(Box::new(listing)))
            }
            (LookupStep::File, Ok(Resolved::File(file))) => {
                let representation = Siblings::of(&request.path, file, request.codings);
                self.choose(lookup, representation, None)
            }
            (LookupStep::File | LookupStep::Unreadable, Ok(Resolved::Directory(_))) => {
                Some(LookupResult::MissingSlash)
            }
            (LookupStep::File, Err(LookupError::Denied)) => {
                *step = LookupStep::Unreadable;
                None
            }
            (LookupStep::Directory | LookupStep::File, Ok(_)) => Some(LookupResult::Missing),
            (LookupStep::Unreadable, _) => Some(LookupResult::Denied),
            (LookupStep::Siblings(siblings), resolved) => {
                let path = self.compressed.is_some().then(|| siblings.plain_path().to_vec());
                self.choose(lookup, siblings.accept_sibling(resolved), path)
            }
            // It opens nothing.
            (LookupStep::Compress(_), Ok(_)) => Some(LookupResult::Busy),
            (_, Err(error)) => Some(error.into()),
        }
    }

    /// Continues with the representation of the plain file at `path`, or at that of the request.
    fn choose(
        &self,
        lookup: &mut PathLookup,
        representation: Representation,
        path: Option<Vec<u8>>,
    ) -> Option<LookupResult> {
        let PathLookup { request, step, .. } = lookup;
        match representation {
            Representation::Chosen { file, original } => {
                let name = path.as_deref().unwrap_or(&request.path);
                let coding = match original {
                    None if !request.ranged => self.coding_to_send(name, &file, request.codings),
                    _ => None,
                };
                let Some(coding) = coding else {
                    return Some(LookupResult::File { file, original });
                };
                let path = path.unwrap_or_else(|| request.path.clone());
                let compression = Compression { path, original: file, coding };
                *step = LookupStep::Compress(Box::new(compression));
                None
            }
            Representation::Undecided(siblings) => {
                *step = LookupStep::Siblings(siblings);
                None
            }
        }
    }
}

impl PathLookup {
    /// Returns whether it has an original of one tree and looks for its siblings in another.
    fn is_of_two_roots(&self) -> bool {
        let newer = self.root.as_ref().is_some_and(|root| root.generation() != self.generation);
        newer && matches!(self.step, LookupStep::Siblings(_))
    }

    /// Returns the name that is opened next.
    pub(super) fn candidate(&self) -> Candidate<'_> {
        self.step.candidate(&self.request)
    }
}

impl LookupStep {
    fn candidate<'a>(&'a self, request: &'a ResourceRequest) -> Candidate<'a> {
        let (path, coding) = match self {
            Self::Index(path) => (&path[..], None),
            Self::Siblings(siblings) => siblings.current(),
            Self::Directory | Self::File | Self::Unreadable | Self::Compress(_) => {
                (&request.path[..], None)
            }
        };
        let open_mode = match self {
            Self::Unreadable => OpenMode::Path,
            _ => OpenMode::Read,
        };
        Candidate { path, coding, open_mode }
    }
}
