//! From a path to an open file or directory: one openat2(2), and one statx(2) of the opened file. An
//! errno becomes a [`LookupError`]. Since Linux 5.6.
//!
//! Only regular files and directories are served; a FIFO, socket or device counts as missing.
//!
//! # Limitations
//!
//! The two calls may wait for a disk. So the cache is asked first, callers may run this on a worker
//! thread, and io_uring may make both calls, whose results are then only admitted here.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Instant;

use karez_http::Coding;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Statx, makedev};
use rustix::io::Errno;

use super::content::Content;
use super::document_root::RootError;
use super::identity::{FileEtag, Identity};
use super::lookup_error::LookupError;
use super::mime;
use super::open_file::{Description, OpenFile};
use super::racy_mtime::FileClock;
use super::root::{LookupMode, OpenMode, Root, file_type, stat_fd};
use super::state::Site;
use crate::metrics::FileSource;

/// A name to be opened.
pub(super) struct Candidate<'a> {
    pub(super) path: &'a [u8],
    /// The coding of the file, if `path` is that of a precompressed one.
    pub(super) coding: Option<Coding>,
    pub(super) open_mode: OpenMode,
}

/// The kind of file that a path leads to.
pub(super) enum Resolved {
    File(Arc<OpenFile>),
    Directory(OwnedFd),
    /// A file of a kind that is not served.
    Other,
}

impl Site {
    /// Resolves a candidate: from the cache if its entry is still valid, otherwise beneath the root of
    /// this lookup. If the lookup has no root yet, it gets one when it is needed.
    pub(super) fn resolve(
        &self,
        root: &mut Option<Arc<Root>>,
        candidate: &Candidate<'_>,
        mode: LookupMode,
        now: Instant,
    ) -> Result<Resolved, LookupError> {
        if root.is_none() && !self.root.takes(candidate.path) {
            self.find_root(root, mode)?;
        }
        let Candidate { path, coding, open_mode } = *candidate;
        if open_mode == OpenMode::Read
            && let Some(file) = self.cache.find(root.as_deref(), path, coding, now)
        {
            if !self.has_news_of(&file) {
                self.count_found(FileSource::Cached);
                return Ok(Resolved::File(file));
            }
            self.cache.forget(path, &file);
        }
        let root = self.find_root(root, mode)?;
        // Read before the file's time stamps are, so that a file can only seem more recent than it is.
        let clock = FileClock::read(self.granularity);
        let opened = self.open_candidate(&root, candidate, mode)?;
        self.admit_opened(&root, candidate, opened, &clock, mode, now)
    }

    /// Returns the directory in which all names of a lookup are opened, so that a response is never
    /// made of two trees.
    pub(super) fn find_root(
        &self,
        root: &mut Option<Arc<Root>>,
        mode: LookupMode,
    ) -> Result<Arc<Root>, LookupError> {
        if let Some(root) = root {
            return Ok(Arc::clone(root));
        }
        let current = || self.root.current(mode);
        let current = match current() {
            Err(error) if self.makes_room(error.errno) => current(),
            result => result,
        };
        let found = current.map_err(|error| match (mode, error.errno) {
            (LookupMode::CachedOnly, Errno::AGAIN | Errno::INVAL) => LookupError::WouldWait,
            _ => self.root_error(&error),
        })?;
        let found = self.admit_root(found);
        *root = Some(Arc::clone(&found));
        Ok(found)
    }

    /// Returns a root that was found. If it has just replaced another directory, the files of that are
    /// closed: no name leads to them, and they hold disk space.
    pub(super) fn admit_root(&self, (root, replaced): (Arc<Root>, bool)) -> Arc<Root> {
        if replaced {
            self.cache.shed();
            self.mounts.reload(&root);
        }
        root
    }

    pub(super) fn root_error(&self, error: &RootError) -> LookupError {
        let name = self.root.name().as_os_str().as_bytes();
        LookupError::new(error.operation, name, error.errno)
    }

    /// Admits a candidate that was opened, by its type. `clock` was read before `meta` was.
    pub(super) fn admit_opened(
        &self,
        root: &Root,
        candidate: &Candidate<'_>,
        (fd, meta): (OwnedFd, Statx),
        clock: &FileClock,
        mode: LookupMode,
        now: Instant,
    ) -> Result<Resolved, LookupError> {
        Ok(match file_type(&meta) {
            FileType::Directory => Resolved::Directory(fd),
            FileType::RegularFile if candidate.open_mode == OpenMode::Read => {
                if mode == LookupMode::CachedOnly && !self.options.substitutions.is_empty() {
                    return Err(LookupError::WouldWait); // the content has to be searched
                }
                Resolved::File(self.admit_file(root, candidate, fd, &meta, clock, now)?)
            }
            _ => Resolved::Other,
        })
    }

    /// Opens a regular file of an archive; `None` if it is none. It is not cached, because an archive would evict
    /// all other files.
    pub(super) fn open_member(
        &self,
        root: &Root,
        path: &[u8],
    ) -> Result<Option<Arc<OpenFile>>, LookupError> {
        let candidate = Candidate { path, coding: None, open_mode: OpenMode::Read };
        let clock = FileClock::read(self.granularity);
        let (fd, meta) = self.open_candidate(root, &candidate, LookupMode::MayBlock)?;
        match file_type(&meta) {
            FileType::RegularFile => {
                self.describe(root, &candidate, fd, &meta, &clock).map(|file| Some(file.into()))
            }
            _ => Ok(None),
        }
    }

    /// Describes a regular file, and caches it unless it is racy.
    fn admit_file(
        &self,
        root: &Root,
        candidate: &Candidate<'_>,
        fd: OwnedFd,
        meta: &Statx,
        clock: &FileClock,
        now: Instant,
    ) -> Result<Arc<OpenFile>, LookupError> {
        let file = Arc::new(self.describe(root, candidate, fd, meta, clock)?);
        if !file.is_racy() {
            self.cache.keep(candidate.path, &file, now);
        }
        Ok(file)
    }

    fn describe(
        &self,
        root: &Root,
        candidate: &Candidate<'_>,
        fd: OwnedFd,
        meta: &Statx,
        clock: &FileClock,
    ) -> Result<OpenFile, LookupError> {
        let Candidate { path, coding, .. } = *candidate;
        let edits = self.options.substitutions.find_edits(fd.as_fd(), meta.stx_size);
        let edits = edits.map_err(|errno| LookupError::new("substitute", path, errno))?;
        let substituted = edits.map(|edits| (edits, self.options.substitutions.tag()));
        // The type and the rules are those of the decoded content: of `a.css` for `a.css.br`.
        let suffix = coding.map(Coding::suffix);
        let name = suffix.and_then(|it| path.strip_suffix(it.as_bytes())).unwrap_or(path);
        let rules = &self.options.rules;
        let description = Description {
            path,
            coding,
            content_type: mime::content_type(name, rules.media_types()),
            rule_fields: rules.fields_of_file(name).unwrap_or_default(),
            substituted,
            etag: self.options.etag,
            content: self.content_of(meta),
            cache_policy: rules.cache_policy(name),
            absolute: self.root.absolute(path),
            since: root.since(),
        };
        let mut file = OpenFile::new(fd, meta, description, clock);
        let number = makedev(meta.stx_dev_major, meta.stx_dev_minor);
        let device = self.mounts.device_of(number, path);
        file.lies_on(device, || self.closers.of(number));
        self.count_found(FileSource::Opened);
        Ok(file)
    }

    /// Returns what is known of the content of a file.
    fn content_of(&self, meta: &Statx) -> Content {
        match self.options.etag {
            FileEtag::Content { max_size } if meta.stx_size <= max_size => {
                self.options.content_tags.find(Identity::of(meta).version())
            }
            _ => Content::Unhashed,
        }
    }

    /// Returns whether the hash that a file awaits is there: it gets its tag when it is opened again.
    fn has_news_of(&self, file: &OpenFile) -> bool {
        let found = file.awaited_hash().map(|version| self.options.content_tags.find(version));
        matches!(found, Some(Content::Known(_) | Content::Unhashed))
    }

    /// Has the hash computed that a file awaits.
    pub(crate) fn request_tag(&self, file: &Arc<OpenFile>) {
        self.options.content_tags.request(file);
    }

    fn count_found(&self, source: FileSource) {
        if let Some(metrics) = self.metrics() {
            metrics.found(source);
        }
    }

    fn open_candidate(
        &self,
        root: &Root,
        candidate: &Candidate<'_>,
        mode: LookupMode,
    ) -> Result<(OwnedFd, Statx), LookupError> {
        let failed = |operation, errno| LookupError::new(operation, candidate.path, errno);
        let open = || root.open(candidate.path, candidate.open_mode, mode);
        let fd = match open() {
            Err(errno) if self.makes_room(errno) => open(),
            result => result,
        };
        let fd = fd.map_err(|errno| match (mode, errno) {
            (LookupMode::CachedOnly, Errno::AGAIN | Errno::INVAL) => LookupError::WouldWait,
            _ => failed("openat2", errno),
        })?;
        let meta = stat_fd(fd.as_fd()).map_err(|errno| failed("statx", errno))?;
        Ok((fd, meta))
    }

    /// Closes cached files if no descriptor was free. Returns whether that freed one: a request needs it
    /// more than the cache does.
    pub(super) fn makes_room(&self, errno: Errno) -> bool {
        matches!(errno, Errno::MFILE | Errno::NFILE) && self.cache.shed()
    }
}
