//! The document root by its name: the directory that the configured path leads to at this moment. A
//! deployment may swap a symbolic link, or remove the directory and build it anew. statx(2), Linux 4.11,
//! with `STATX_MNT_ID` since 5.8.
//!
//! The directory is held open, because openat2(2) confines a walk beneath a descriptor. Before it is used
//! for a request, one statx of the *path* confirms that both are the same directory; if not, the path is
//! opened again, and later requests start there. A cached file needs no such check: the statx of its own
//! absolute path validates root and name by one call.
//!
//! # Limitations
//!
//! The walk along the configured path follows links and is not confined: write access to a directory
//! on it decides which files are served. The descriptor does not pin the components of the path, so right
//! after a swap, or when memory is short, that statx may wait for a disk. On a remote file system, which
//! may not answer, the check takes three calls (openat2, statx, close).

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, absolute};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use karez_reactor::{OpenRequest, SharedFd};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx};
use rustix::io::Errno;

use crate::error_log::{ErrorLog, Level};
use crate::http_clock;

use super::root::{LookupMode, Root, RootIdentity, may_try_again};
use super::syscall_counts::{self, Syscall};

/// The directory that is served, by its name.
pub(super) struct DocumentRoot {
    /// Absolute, so that it does not depend on the working directory; links in it are followed each
    /// time.
    path: CString,
    current: RwLock<Arc<Root>>,
    /// The generation of the current root.
    generation: AtomicU64,
    /// Whether it has been logged that the path leads to no directory.
    missing: AtomicBool,
    error_log: Option<ErrorLog>,
}

/// Why the path of the root leads to no directory.
#[derive(Debug)]
pub(super) struct RootError {
    pub(super) operation: &'static str,
    pub(super) errno: Errno,
}

impl DocumentRoot {
    pub(super) fn open(dir: &Path, error_log: Option<ErrorLog>) -> io::Result<Self> {
        let root = Root::at(dir)?;
        // Without a working directory the relative name is kept.
        let path = absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Ok(Self {
            path: CString::new(path.into_os_string().into_encoded_bytes())?,
            current: RwLock::new(Arc::new(root)),
            generation: AtomicU64::new(0),
            missing: AtomicBool::new(false),
            error_log,
        })
    }

    /// Returns the number of roots before the current one.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the absolute path of a name beneath the root, unless it is longer than `PATH_MAX`.
    pub(super) fn absolute(&self, name: &[u8]) -> Option<CString> {
        let path = self.path.as_bytes();
        self.takes(name)
            .then(|| [path, b"/", name].concat())
            .and_then(|whole| CString::new(whole).ok())
    }

    /// Returns whether the absolute path of this name is at most `PATH_MAX` long.
    pub(super) fn takes(&self, name: &[u8]) -> bool {
        self.path.as_bytes().len() + 1 + name.len() < PATH_MAX
    }

    /// Returns the directory that the path leads to now, and whether it has just replaced another.
    ///
    /// # Errors
    /// `AGAIN` or `INVAL` if the lookup would have to wait and may not.
    pub(super) fn current(&self, mode: LookupMode) -> Result<(Arc<Root>, bool), RootError> {
        let found = self.find(mode);
        match &found {
            Ok(_) => self.log_found(),
            Err(error) => self.log_missing(error),
        }
        found
    }

    /// Returns the open by which io_uring finds out the same, if it can.
    pub(super) fn open_request(&self) -> Option<OpenRequest> {
        // The directory does not matter if the path is absolute.
        let directory = self.held() as SharedFd;
        self.path
            .as_bytes()
            .starts_with(b"/")
            .then(|| OpenRequest::new(directory, self.path.clone(), OPEN, ResolveFlags::empty()))
    }

    /// Takes the directory that io_uring has opened, as [`current`](Self::current) does.
    pub(super) fn opened(
        &self,
        opened: Result<OwnedFd, Errno>,
    ) -> Result<(Arc<Root>, bool), RootError> {
        let found = opened.and_then(Root::new).map(|root| self.replace(root));
        let found = found.map_err(|errno| RootError { operation: "look up", errno });
        match &found {
            Ok(_) => self.log_found(),
            Err(error) => self.log_missing(error),
        }
        found
    }

    /// Returns the directory that the path led to at the last check.
    pub(super) fn held(&self) -> Arc<Root> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn find(&self, mode: LookupMode) -> Result<(Arc<Root>, bool), RootError> {
        let failed = |errno| RootError { operation: "openat2", errno };
        let held = self.held();
        if mode == LookupMode::CachedOnly && held.is_remote() {
            // statx(2) has no flag against waiting.
            return self.reopen(mode).map(|root| self.replace(root)).map_err(failed);
        }
        let meta = self.stat().map_err(|errno| RootError { operation: "statx", errno })?;
        if *held.identity() == RootIdentity::of(&meta) {
            return Ok((held, false));
        }
        let root = self.reopen(mode).map_err(failed)?;
        Ok(self.replace(root))
    }

    /// Installs a root, unless it is the current one. If two threads open the path at once, the later
    /// root stays; should it be the older directory, the next request corrects that.
    fn replace(&self, root: Root) -> (Arc<Root>, bool) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.identity() == root.identity() {
            return (Arc::clone(&current), false);
        }
        let generation = current.generation() + 1;
        let root = Arc::new(root.after(generation, http_clock::now().unix));
        *current = Arc::clone(&root);
        self.generation.store(generation, Ordering::Release);
        drop(current);
        self.log_outside(&root);
        (root, true)
    }

    fn stat(&self) -> Result<Statx, Errno> {
        let mut tries = 0;
        loop {
            syscall_counts::count(Syscall::Statx);
            let (flags, asked) = (AtFlags::STATX_DONT_SYNC, RootIdentity::ASKED);
            match rustix::fs::statx(CWD, &*self.path, flags, asked) {
                Err(Errno::INTR) if may_try_again(Errno::INTR, tries) => tries += 1,
                result => return result,
            }
        }
    }

    fn reopen(&self, mode: LookupMode) -> Result<Root, Errno> {
        let resolve = match mode {
            LookupMode::MayBlock => ResolveFlags::empty(),
            LookupMode::CachedOnly => ResolveFlags::CACHED,
        };
        let mut tries = 0;
        loop {
            syscall_counts::count(Syscall::Openat2);
            match rustix::fs::openat2(CWD, &*self.path, OPEN, Mode::empty(), resolve) {
                Ok(fd) => return Root::new(fd),
                Err(Errno::INTR) if may_try_again(Errno::INTR, tries) => tries += 1,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Logs once that there is nothing to serve, unless the error may pass by itself.
    fn log_missing(&self, error: &RootError) {
        let temporary = matches!(
            error.errno,
            Errno::AGAIN | Errno::INTR | Errno::INVAL | Errno::MFILE | Errno::NFILE
        );
        if !temporary && !self.missing.swap(true, Ordering::Relaxed) {
            let RootError { operation, errno } = error;
            let error = io::Error::from(*errno);
            self.log(
                Level::Error,
                &format!(
                    "the served directory cannot be reached: {operation} {:?}: {error}",
                    self.name()
                ),
            );
        }
    }

    /// Logs that a sandbox, which cannot be extended, forbids the new directory.
    fn log_outside(&self, root: &Root) {
        // A remote file system may block.
        if !root.is_remote() && root.is_outside_sandbox() {
            let text = format!(
                "the served directory {:?} is outside the sandbox of this process; a restart is needed",
                self.name()
            );
            self.log(Level::Error, &text);
        }
    }

    fn log_found(&self) {
        if self.missing.load(Ordering::Relaxed) && self.missing.swap(false, Ordering::Relaxed) {
            self.log(
                Level::Info,
                &format!("the served directory can be reached again: {:?}", self.name()),
            );
        }
    }

    fn log(&self, level: Level, text: &str) {
        if let Some(error_log) = &self.error_log {
            error_log.write(level, text);
        }
    }

    /// Returns the path.
    pub(super) fn name(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path.as_bytes()))
    }
}

/// The flags of a root's descriptor, which is only walked from.
const OPEN: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The longest path, with the NUL behind it.
const PATH_MAX: usize = 4096;
