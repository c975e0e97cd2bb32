//! A name looked up by a ring: openat2(2), then statx(2) of what that has opened, as one operation
//! (`IORING_OP_OPENAT2`, `IORING_OP_STATX`). Linux 5.6; the [`Ring`](crate::Ring) asks for 5.11.
//!
//! The kernel opens at once what it has in its caches (it adds `RESOLVE_CACHED` to the first try);
//! for the rest one of its own threads waits.
//!
//! What it does badly: a thread of the kernel does every statx, in its caches or not, so a name
//! that needs no disk is cheaper by calls (`examples/names_in_ring.rs`). These threads are bounded
//! (the smaller of the ring's entries and four a CPU, io_uring_register(2)
//! `IORING_REGISTER_IOWQ_MAX_WORKERS`), so behind that many names that hang others wait. One that
//! waits for a file system that does not answer cannot be cancelled, and holds up the end of the
//! thread whose ring it is.

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, OpenHow};
use rustix::fs::{AtFlags, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::{self, Errno};
use std::ffi::{CStr, CString};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use crate::operation::{Handle, counted};

/// A name to be opened, with all that the kernel looks at meanwhile.
pub struct Lookup {
    directory: Handle,
    name: CString,
    how: OpenHow,
    opened: Option<OwnedFd>,
    meta: MaybeUninit<Statx>,
    cancelled: bool,
}

/// What a name led to.
#[derive(Debug)]
pub struct Opened {
    /// It, open.
    pub fd: OwnedFd,
    /// What statx(2) says of it: `STATX_BASIC_STATS`.
    pub meta: Box<Statx>,
}

impl Lookup {
    /// Of this name, beneath or from this directory as `resolve` says. Closed by exec(2); what
    /// `O_CREAT` makes has no permissions.
    #[must_use]
    pub fn new(directory: Handle, name: CString, flags: OFlags, resolve: ResolveFlags) -> Self {
        let flags = (flags | OFlags::CLOEXEC).bits().into();
        let how = OpenHow::new().flags(flags).resolve(resolve.bits());
        let (opened, meta, cancelled) = (None, MaybeUninit::uninit(), false);
        Self { directory, name, how, opened, meta, cancelled }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// What the kernel is to do next. It refers to memory of `self`, which has to stay where it is.
    pub(crate) fn entry(&mut self) -> Entry {
        if let Some(opened) = &self.opened {
            let opened = Fd(opened.as_raw_fd());
            return opcode::Statx::new(opened, c"".as_ptr(), self.meta.as_mut_ptr().cast())
                .flags(AtFlags::EMPTY_PATH.bits().cast_signed())
                .mask(StatxFlags::BASIC_STATS.bits())
                .build();
        }
        let directory = Fd((*self.directory).as_fd().as_raw_fd());
        opcode::OpenAt2::new(directory, self.name.as_ptr(), &raw const self.how).build()
    }

    /// Nobody wants to know any more.
    pub(crate) fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Takes the kernel's word; what came of it, or `None` if there is another [`entry`](Self::entry).
    pub(crate) fn settle(&mut self, result: i32) -> Option<io::Result<Opened>> {
        let known = match self.opened.take() {
            None => opened(result).map(|fd| {
                self.opened = Some(fd);
                None
            }),
            Some(fd) => counted(result).map(|_| {
                // SAFETY: the kernel has filled it, or it would have said why not.
                let meta = unsafe { self.meta.assume_init() };
                Some(Opened { fd, meta: Box::new(meta) })
            }),
        };
        if self.cancelled {
            // Whatever came of it: an open that a signal has ended may say ERESTARTSYS, which is
            // nobody's errno.
            self.opened = None;
            return Some(Err(Errno::CANCELED));
        }
        known.transpose()
    }
}

/// `struct statx`, on every architecture.
const _: () = assert!(size_of::<Statx>() == 256);

fn opened(result: i32) -> io::Result<OwnedFd> {
    counted(result)?;
    // SAFETY: the kernel has just opened this descriptor for us, and has told nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("name", &self.name).finish_non_exhaustive()
    }
}
