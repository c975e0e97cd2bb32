//! The two operations of an open request in a ring: openat2(2), then statx(2).

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, OpenHow};
use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::io::{self, Errno};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use crate::counted;

/// The state of an open request in a ring.
pub(super) struct Progress {
    opened: Option<OwnedFd>,
    meta: MaybeUninit<Statx>,
    cancelled: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { opened: None, meta: MaybeUninit::uninit(), cancelled: false }
    }
}

impl Progress {
    /// Returns the next entry. It refers to memory of `self` and of the arguments, which must not move.
    pub(super) fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        how: *const OpenHow,
    ) -> Entry {
        if let Some(opened) = &self.opened {
            let opened = Fd(opened.as_raw_fd());
            return opcode::Statx::new(opened, c"".as_ptr(), self.meta.as_mut_ptr().cast())
                .flags(AtFlags::EMPTY_PATH.bits().cast_signed())
                .mask(StatxFlags::BASIC_STATS.bits())
                .build();
        }
        opcode::OpenAt2::new(Fd(directory.as_raw_fd()), name.as_ptr(), how).build()
    }

    /// Marks the request as cancelled.
    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Takes the result of an entry. `None`: there is another [`entry`](Self::entry).
    pub(super) fn settle(&mut self, result: i32) -> Option<io::Result<(OwnedFd, Box<Statx>)>> {
        let settled = match self.opened.take() {
            None => opened(result).map(|fd| {
                self.opened = Some(fd);
                None
            }),
            Some(fd) => counted(result).map(|_| {
                // SAFETY: the kernel has filled it, or it would have returned an errno.
                let meta = unsafe { self.meta.assume_init() };
                Some((fd, Box::new(meta)))
            }),
        };
        if self.cancelled {
            // With any result: an open that a signal has ended may report ERESTARTSYS, which is not an
            // errno of user space.
            self.opened = None;
            return Some(Err(Errno::CANCELED));
        }
        settled.transpose()
    }
}

/// `struct statx`, on every architecture.
const _: () = assert!(size_of::<Statx>() == 256);

fn opened(result: i32) -> io::Result<OwnedFd> {
    counted(result)?;
    // SAFETY: the kernel has just opened this descriptor for us, and returned it only here.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}
