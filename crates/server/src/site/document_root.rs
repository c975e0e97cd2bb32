//! The document root by its name: the directory that the configured path means at this moment, for a
//! deployment swaps a symbolic link, or removes the directory and builds it anew. statx(2), Linux
//! 4.11, with `STATX_MNT_ID` since 5.8.
//!
//! The directory is held open, as only from a descriptor openat2(2) confines a walk. Before it is
//! used for a request one statx of the *path* confirms that both are the same directory; if not, it
//! is opened anew and the next requests begin there. A file held in the cache needs none of this:
//! its own absolute path is looked at, which proves root and name by one call.
//!
//! # Limitations
//! The walk along the configured path follows links and is not confined: write access to a directory
//! on it decides what is served. Its components are not pinned by the descriptor, so right after a
//! swap, or where memory is short, that statx may wait for a disk. On a remote file system, where
//! it might wait for long, the check takes three calls (openat2, statx, close).

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, absolute};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use karez_reactor::{Handle, Lookup};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx};
use rustix::io::Errno;

use crate::clock;
use crate::log::Log;

use super::root::{Effort, Root, RootIdentity, may_try_again};
use super::tally::{self, Call};

/// The directory that is served, by its name.
pub(super) struct DocumentRoot {
    /// Absolute, so that it means the same whatever becomes of the working directory; links in it
    /// are followed each time.
    path: CString,
    current: RwLock<Arc<Root>>,
    /// That of the current root.
    generation: AtomicU64,
    /// Whether it was told that the path leads nowhere.
    missing: AtomicBool,
    notices: Option<Log>,
}

/// Why the path of the root leads to no directory.
#[derive(Debug)]
pub(super) struct RootError {
    pub(super) operation: &'static str,
    pub(super) errno: Errno,
}

impl DocumentRoot {
    pub(super) fn open(dir: &Path, notices: Option<Log>) -> io::Result<Self> {
        let root = Root::at(dir)?;
        // Without a working directory a relative name is all there is.
        let path = absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Ok(Self {
            path: CString::new(path.into_os_string().into_encoded_bytes())?,
            current: RwLock::new(Arc::new(root)),
            generation: AtomicU64::new(0),
            missing: AtomicBool::new(false),
            notices,
        })
    }

    /// How many roots there were before the current one.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The absolute path of a name beneath the root, unless it is longer than the kernel takes.
    pub(super) fn absolute(&self, name: &[u8]) -> Option<CString> {
        let path = self.path.as_bytes();
        self.takes(name)
            .then(|| [path, b"/", name].concat())
            .and_then(|whole| CString::new(whole).ok())
    }

    /// Whether there can be an absolute path of this name.
    pub(super) fn takes(&self, name: &[u8]) -> bool {
        self.path.as_bytes().len() + 1 + name.len() < PATH_MAX
    }

    /// The directory that the path means now, and whether it has just taken another's place.
    ///
    /// # Errors
    /// `AGAIN` or `INVAL` if it must not wait and cannot tell without.
    pub(super) fn current(&self, effort: Effort) -> Result<(Arc<Root>, bool), RootError> {
        let found = self.find(effort);
        match &found {
            Ok(_) => self.tell_found(),
            Err(error) => self.tell_missing(error),
        }
        found
    }

    /// The lookup by which a ring finds it out, if it can.
    pub(super) fn lookup(&self) -> Option<Lookup> {
        // From whatever directory, if the path is absolute.
        let directory = self.held() as Handle;
        self.path
            .as_bytes()
            .starts_with(b"/")
            .then(|| Lookup::new(directory, self.path.clone(), OPEN, ResolveFlags::empty()))
    }

    /// Takes what a ring has opened as [`current`](Self::current) takes what it opens.
    pub(super) fn opened(
        &self,
        opened: Result<OwnedFd, Errno>,
    ) -> Result<(Arc<Root>, bool), RootError> {
        let found = opened.and_then(Root::new).map(|root| self.replace(root));
        let found = found.map_err(|errno| RootError { operation: "look up", errno });
        match &found {
            Ok(_) => self.tell_found(),
            Err(error) => self.tell_missing(error),
        }
        found
    }

    /// The directory that the path meant when that was last found out.
    pub(super) fn held(&self) -> Arc<Root> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn find(&self, effort: Effort) -> Result<(Arc<Root>, bool), RootError> {
        let failed = |errno| RootError { operation: "openat2", errno };
        let held = self.held();
        if effort == Effort::Cached && held.is_remote() {
            // No statx(2) can be told not to wait.
            return self.reopen(effort).map(|root| self.replace(root)).map_err(failed);
        }
        let meta = self.stat().map_err(|errno| RootError { operation: "statx", errno })?;
        if *held.identity() == RootIdentity::of(&meta) {
            return Ok((held, false));
        }
        let root = self.reopen(effort).map_err(failed)?;
        Ok(self.replace(root))
    }

    /// Of two threads that open it anew the later one holds: should it have been the slower, the next
    /// request finds that out.
    fn replace(&self, root: Root) -> (Arc<Root>, bool) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.identity() == root.identity() {
            return (Arc::clone(&current), false);
        }
        let generation = current.generation() + 1;
        let root = Arc::new(root.after(generation, clock::now().unix));
        *current = Arc::clone(&root);
        self.generation.store(generation, Ordering::Release);
        (root, true)
    }

    fn stat(&self) -> Result<Statx, Errno> {
        let mut tries = 0;
        loop {
            tally::count(Call::Statx);
            let (flags, asked) = (AtFlags::STATX_DONT_SYNC, RootIdentity::ASKED);
            match rustix::fs::statx(CWD, &*self.path, flags, asked) {
                Err(Errno::INTR) if may_try_again(Errno::INTR, tries) => tries += 1,
                result => return result,
            }
        }
    }

    fn reopen(&self, effort: Effort) -> Result<Root, Errno> {
        let resolve = match effort {
            Effort::Whole => ResolveFlags::empty(),
            Effort::Cached => ResolveFlags::CACHED,
        };
        let mut tries = 0;
        loop {
            tally::count(Call::Openat2);
            match rustix::fs::openat2(CWD, &*self.path, OPEN, Mode::empty(), resolve) {
                Ok(fd) => return Root::new(fd),
                Err(Errno::INTR) if may_try_again(Errno::INTR, tries) => tries += 1,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Tells once that there is nothing to serve. What may pass by itself is no such thing.
    fn tell_missing(&self, error: &RootError) {
        let passes = matches!(
            error.errno,
            Errno::AGAIN | Errno::INTR | Errno::INVAL | Errno::MFILE | Errno::NFILE
        );
        if !passes && !self.missing.swap(true, Ordering::Relaxed) {
            let RootError { operation, errno } = error;
            let error = io::Error::from(*errno);
            self.notice(&format!(
                "the served directory cannot be reached: {operation} {:?}: {error}",
                self.name()
            ));
        }
    }

    fn tell_found(&self) {
        if self.missing.load(Ordering::Relaxed) && self.missing.swap(false, Ordering::Relaxed) {
            self.notice(&format!("the served directory can be reached again: {:?}", self.name()));
        }
    }

    fn notice(&self, text: &str) {
        if let Some(notices) = &self.notices {
            notices.notice(text);
        }
    }

    /// Its path.
    pub(super) fn name(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path.as_bytes()))
    }
}

/// How a root is opened: enough to walk from.
const OPEN: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The longest path, with the NUL behind it.
const PATH_MAX: usize = 4096;
