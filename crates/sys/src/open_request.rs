//! Opens a file by io_uring: openat2(2), then statx(2) of the opened file, as one operation
//! (`IORING_OP_OPENAT2`, `IORING_OP_STATX`). Linux 5.6; the [`Ring`](crate::Ring) needs 5.11.
//!
//! The kernel opens names in its caches at once (it adds `RESOLVE_CACHED` to the first attempt);
//! for other names one of its worker threads blocks.
//!
//! # Limitations
//!
//! A kernel thread makes every statx, cached or not, so a cached name is cheaper to open by system
//! calls (`examples/names_in_ring.rs`). The number of these threads is limited
//! (to the ring's entries or four per CPU, whichever is less; io_uring_register(2)
//! `IORING_REGISTER_IOWQ_MAX_WORKERS`), so that many hanging names block all further ones. A request to
//! a file system that does not answer cannot be cancelled, and delays the exit of the thread that owns
//! the ring.

#[cfg(feature = "uring")]
use progress::Progress;
use rustix::fs::{OFlags, ResolveFlags, Statx};
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::OwnedFd;

use crate::shared_fd::SharedFd;

#[cfg(feature = "uring")]
mod progress;

/// A name to be opened, with the memory that the kernel reads and writes meanwhile.
#[cfg_attr(not(feature = "uring"), expect(dead_code, reason = "only a ring opens it"))]
pub struct OpenRequest {
    directory: SharedFd,
    name: CString,
    how: OpenHow,
    #[cfg(feature = "uring")]
    progress: Progress,
}

/// `struct open_how` (openat2(2)).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// The result of an [`OpenRequest`].
#[derive(Debug)]
pub struct OpenedFile {
    /// The open file.
    pub fd: OwnedFd,
    /// Its metadata: `STATX_BASIC_STATS` of statx(2).
    pub meta: Box<Statx>,
}

impl OpenRequest {
    /// Prepares to open a name relative to a directory, with the rules of `resolve`. The descriptor is
    /// closed by exec(2); a file made by `O_CREAT` has no permissions.
    #[must_use]
    pub fn new(directory: SharedFd, name: CString, flags: OFlags, resolve: ResolveFlags) -> Self {
        let flags = (flags | OFlags::CLOEXEC).bits().into();
        let how = OpenHow { flags, mode: 0, resolve: resolve.bits() };
        Self {
            directory,
            name,
            how,
            #[cfg(feature = "uring")]
            progress: Progress::default(),
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &CStr {
        &self.name
    }
}

#[cfg(feature = "simulation")]
impl OpenRequest {
    /// Opens it by system calls, which may block.
    ///
    /// # Errors
    /// As openat2(2) and statx(2).
    pub fn open(&self) -> rustix::io::Result<OpenedFile> {
        let how = &self.how;
        let flags = OFlags::from_bits_retain(u32::try_from(how.flags).unwrap_or(0));
        let resolve = ResolveFlags::from_bits_retain(how.resolve);
        let mode = rustix::fs::Mode::empty();
        let fd = rustix::fs::openat2(&*self.directory, &*self.name, flags, mode, resolve)?;
        let (flags, mask) = (rustix::fs::AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::BASIC_STATS);
        let meta = Box::new(rustix::fs::statx(&fd, c"", flags, mask)?);
        Ok(OpenedFile { fd, meta })
    }
}

#[cfg(feature = "uring")]
impl OpenRequest {
    /// Returns the next entry. It refers to memory of `self`, which must not move.
    pub(crate) fn entry(&mut self) -> io_uring::squeue::Entry {
        let how = (&raw const self.how).cast();
        self.progress.entry((*self.directory).as_fd(), &self.name, how)
    }

    /// Marks the request as cancelled.
    pub(crate) fn cancel(&mut self) {
        self.progress.cancel();
    }

    /// Takes the result of an entry. `None`: there is another [`entry`](Self::entry).
    pub(crate) fn settle(&mut self, result: i32) -> Option<rustix::io::Result<OpenedFile>> {
        let settled = self.progress.settle(result)?;
        Some(settled.map(|(fd, meta)| OpenedFile { fd, meta }))
    }
}

impl fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRequest").field("name", &self.name).finish_non_exhaustive()
    }
}
