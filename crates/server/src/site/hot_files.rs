//! The hot files of an event loop: responses to frequent requests, without a job and without a statx(2).
//! The [watched cache](crate::watched_cache) drops an entry by the event of a change, so a hit costs one
//! poll(2) of its descriptors, for all requests whose bytes were received before it.
//!
//! The key has all that decides the response: the site, the path, the slash behind it, and the codings that the
//! client accepts. An entry is the result of the ordinary lookup, inserted at the second request within
//! some seconds; it depends on the file, on the plain file if a precompressed one was chosen, and on the
//! absence of the precompressed files that would be preferred. The content of a small file is kept in
//! memory, so that it is sent with its head by one call; it is read again once a second. Names that lead
//! to nothing are kept in the same way.
//!
//! # Limitations
//! Racy files, edited ones and those on remote file systems are never inserted, nor is a file beside which
//! an outdated precompressed one lies. Where a file cannot be watched, each request makes the statx(2) of
//! the shared cache, and `--explain` says why. An insertion walks along the path on the event loop, which
//! may wait for a disk if the names were evicted since the lookup, and for a file system that does not answer
//! if it is mounted on the path between the check of the mount table and the walk.

mod content;
mod recent;

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karez_http::Coding;
use karez_reactor::Local;
use rustix::fd::AsFd;
use rustix::fs::Statx;
use rustix::io::Errno;

use super::cache;
use super::identity::Identity;
use super::mime;
use super::open_file::OpenFile;
use super::paths::join;
use super::request::{LookupResult, ResourceRequest};
use super::root::{LookupMode, OpenMode, stat_followed};
use super::state::Site;
use super::syscall_counts::{self, Syscall};
use crate::metrics;
use crate::watched_cache::{Expected, Limits, NotWatchable, Walk, WatchedCache};
use content::Memory;
use recent::Recent;

/// The hot files of one event loop.
pub(crate) struct HotFiles {
    cache: WatchedCache<HotFile>,
    recent: Recent,
    key: Vec<u8>,
    /// The epoch of the event loop up to which changes are known.
    drained_at: Option<u64>,
    /// Bytes of contents in memory.
    memory: Rc<Cell<usize>>,
}

/// The result of a lookup that is still that of the last change.
pub(crate) enum Hit {
    /// An open file, and its content if that is in memory.
    File(Arc<OpenFile>, Option<Arc<[u8]>>),
    Missing,
}

/// An entry: what a key leads to as long as nothing changes.
enum HotFile {
    File {
        file: Arc<OpenFile>,
        content: Option<Arc<[u8]>>,
        /// Counts the content.
        _memory: Memory,
    },
    /// The absolute path leads to nothing.
    Missing(CString),
}

impl HotFiles {
    /// Returns an empty cache; none where inotify(7) has no instance for it (`max_user_instances`) or
    /// no file is to be kept open.
    pub(crate) fn new() -> Option<Self> {
        let entries = capacity();
        let cache = WatchedCache::new(Limits { entries, ..Limits::default() });
        let cache = cache.ok().filter(|_| entries > 0)?;
        let (key, drained_at, memory) = (Vec::new(), None, Rc::default());
        Some(Self { cache, recent: Recent::new(Instant::now()), key, drained_at, memory })
    }

    /// Returns the file of a request, if it is hot. `epoch`: changes when the event loop may have
    /// received bytes. Otherwise the reason why the request will not be hot, if there is one.
    pub(crate) fn find(
        &mut self,
        site: &Site,
        request: &ResourceRequest,
        epoch: u64,
        now: Instant,
    ) -> Result<Hit, Option<&str>> {
        site.cache.sweep(now);
        write_key(&mut self.key, site, request);
        if self.cache.contains(&self.key) {
            if self.drained_at != Some(epoch) {
                self.drain();
                self.drained_at = Some(epoch);
            }
            if let Some(file) = self.verified(now) {
                return Ok(file);
            }
        }
        Err(self.recent.count(&self.key, now))
    }

    /// Returns whether the watches have to be polled before a request can be answered from here.
    pub(crate) fn has_to_poll(
        &mut self,
        site: &Site,
        request: &ResourceRequest,
        epoch: u64,
    ) -> bool {
        write_key(&mut self.key, site, request);
        self.drained_at != Some(epoch) && self.cache.contains(&self.key)
    }

    fn drain(&mut self) {
        syscall_counts::count(Syscall::Ppoll);
        let before = self.cache.reads();
        self.cache.drain();
        (before..self.cache.reads()).for_each(|_| syscall_counts::count(Syscall::Read));
    }

    /// Returns the entry of the key. Once a second it is verified, as some writers raise no event.
    fn verified(&mut self, now: Instant) -> Option<Hit> {
        let entry = self.cache.get(&self.key)?;
        if entry.needs_verification(now) {
            if !entry.value_mut().verify() {
                self.cache.remove(&self.key);
                return None;
            }
            entry.set_verified(now);
        }
        entry.set_used(now);
        Some(match entry.value() {
            HotFile::File { file, content, .. } => Hit::File(Arc::clone(file), content.clone()),
            HotFile::Missing(_) => Hit::Missing,
        })
    }

    /// Keeps the result of the ordinary lookup of a request, if the request was repeated.
    pub(crate) fn keep(
        &mut self,
        site: &Site,
        request: &ResourceRequest,
        found: &LookupResult,
        now: Instant,
    ) {
        if matches!(found, LookupResult::Busy) {
            // No descriptor was free: the next request has some.
            self.cache.clear();
        }
        write_key(&mut self.key, site, request);
        if !self.recent.is_due(&self.key) || self.cache.is_full_of_used(now, IN_USE) {
            return;
        }
        let Some(wanted) = Wanted::of(site, request, found) else { return };
        if !self.recent.may_attempt(now) {
            return;
        }
        // The walk below makes calls on every file system on the path. One that was mounted behind the lookup
        // may never answer, so the next request, which knows the new table, decides.
        if site.mounts.refresh_now(&site.root.held()) {
            return;
        }
        let memory = &self.memory;
        let make = |walk: &Walk| wanted.make(walk, memory);
        if let Err(refusal) = self.cache.insert(&self.key, &wanted.expected(), now, make) {
            let (reason, lasting) = (refusal.reason().to_string(), is_lasting(&refusal));
            self.recent.refuse(&self.key, reason, lasting, now);
        }
    }
}

impl Local for HotFiles {
    fn tend(&mut self, now: Instant) -> Option<Instant> {
        self.cache.drop_idle(now, IDLE);
        metrics::watching(self.cache.len());
        self.cache.oldest_use().map(|at| at + IDLE)
    }
}

/// The files and names that an entry is to depend on.
enum Wanted<'a> {
    File {
        file: &'a Arc<OpenFile>,
        /// The file that is sent, and before it the plain one if that is another: path and descriptor.
        files: Vec<(CString, &'a Arc<OpenFile>)>,
        /// The siblings that would be preferred.
        absent: Vec<CString>,
    },
    Missing(CString),
}

impl<'a> Wanted<'a> {
    /// Returns the dependencies of a result that may be kept.
    fn of(site: &Site, request: &ResourceRequest, found: &'a LookupResult) -> Option<Self> {
        match found {
            LookupResult::File { file, original } => {
                let name = site.file_name(request);
                let coded = |coding: Coding| {
                    let suffix = coding.suffix().as_bytes();
                    site.root.absolute(&[&name, suffix].concat())
                };
                let plain = original.as_ref().unwrap_or(file);
                // The plain file is sent for a moment only, or something that lies in no directory.
                if original.is_none() && site.awaits_compression(&name, file, request.codings)
                    || file.absolute().is_none()
                    // The next response may have its tag.
                    || file.awaited_hash().is_some()
                {
                    return None;
                }
                let mut files = vec![(site.root.absolute(&name)?, plain)];
                let mut absent = Vec::new();
                let is_coded = mime::own_coding(&name).is_some();
                for coding in request.codings.iter().filter(|_| !is_coded) {
                    if Some(coding) == file.coding() {
                        files.push((coded(coding)?, file));
                        break;
                    }
                    absent.push(coded(coding)?);
                }
                let fits = |file: &OpenFile| {
                    file.edits().is_none() && !file.is_racy() && !file.device().remote
                };
                let fit = files.iter().all(|(_, file)| fits(file));
                fit.then_some(Self::File { file, files, absent })
            }
            LookupResult::Missing if site.is_absent(&request.path) => {
                site.root.absolute(&request.path).map(Self::Missing)
            }
            _ => None,
        }
    }

    fn expected(&self) -> Vec<Expected<'_>> {
        match self {
            Self::File { files, absent, .. } => {
                let files =
                    files.iter().map(|(path, file)| Expected::File(path.as_bytes(), file.as_fd()));
                let absent = absent.iter().map(|path| Expected::Absent(path.as_bytes()));
                files.chain(absent).collect()
            }
            Self::Missing(path) => vec![Expected::Absent(path.as_bytes())],
        }
    }

    /// Makes the entry, now that all of it is watched: nothing may have changed since the lookup.
    fn make(&self, walk: &Walk, memory: &Rc<Cell<usize>>) -> io::Result<HotFile> {
        let (file, files) = match self {
            Self::File { file, files, .. } => (*file, files),
            Self::Missing(path) => return Ok(HotFile::Missing(path.clone())),
        };
        for (index, (_, file)) in files.iter().enumerate() {
            let is_same = |meta: &Statx| Identity::of(meta) == *file.identity();
            if !walk.meta(index).is_some_and(is_same) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        let content = content::load(file, memory)?;
        let _memory = Memory::count(memory, content.as_deref());
        Ok(HotFile::File { file: Arc::clone(file), content, _memory })
    }
}

impl HotFile {
    /// Returns whether the path still has the meaning that it had, and reads the content again: a store
    /// to a mapping may change it without a trace.
    fn verify(&mut self) -> bool {
        match self {
            Self::File { file, content, .. } => {
                let is_same = |meta: &Statx| Identity::of(meta) == *file.identity();
                let confirmed = file
                    .absolute()
                    .is_some_and(|path| stat_followed(path).is_ok_and(|it| is_same(&it)));
                if confirmed && let Some(content) = content {
                    match content::read_version(file, content.len()) {
                        Ok(now) if now[..] != content[..] => *content = now,
                        Ok(_) => {}
                        Err(_) => return false,
                    }
                }
                confirmed
            }
            Self::Missing(path) => {
                matches!(stat_followed(&**path), Err(Errno::NOENT | Errno::NOTDIR))
            }
        }
    }
}

/// Returns how many files an event loop keeps open: most descriptors are for connections.
fn capacity() -> usize {
    let loops = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    cache::default_capacity().div_ceil(loops)
}

impl Site {
    /// Returns whether a name leads to nothing, without leaving the root by a link: behind that, a walk
    /// along the path could come to a file system that never answers.
    fn is_absent(&self, path: &[u8]) -> bool {
        let absent = || self.root.held().open(path, OpenMode::Path, LookupMode::CachedOnly);
        !self.mounts.has_remote() && matches!(absent(), Err(Errno::NOENT))
    }

    /// Returns the name of the file that a request leads to, if it leads to one.
    fn file_name(&self, request: &ResourceRequest) -> Vec<u8> {
        if request.directory || request.path.is_empty() {
            join(&request.path, &self.options.index)
        } else {
            request.path.clone()
        }
    }
}

/// Writes the key of a request: all that decides which file is sent.
fn write_key(key: &mut Vec<u8>, site: &Site, request: &ResourceRequest) {
    key.clear();
    key.extend_from_slice(&site.number.to_ne_bytes());
    key.push(u8::from(request.directory));
    key.extend(request.codings.iter().map(|coding| 1 + coding as u8));
    key.push(0);
    key.extend_from_slice(&request.path);
}

/// Returns whether a key is not to be tried again soon.
fn is_lasting(refusal: &NotWatchable) -> bool {
    let passes = matches!(refusal.reason(), crate::watched_cache::Reason::Value(_));
    refusal.is_lasting() && !passes
}

/// An entry that was not used in this time is dropped.
const IDLE: Duration = Duration::from_secs(10);
/// An entry that was used in this time is not evicted for another.
const IN_USE: Duration = Duration::from_secs(2);
