//! One call of glibc: its control block, which does not move until the call has ended.

use rustix::io::{self, Errno};
use std::mem::zeroed;
use std::os::fd::AsRawFd as _;
use std::ptr::null;
use std::sync::Once;

use crate::last_errno;
use crate::operation::Operation;
use crate::shared_fd::SharedFd;

/// `struct aioinit` of glibc's aio.h.
#[repr(C)]
#[derive(Default)]
struct AioInit {
    threads: libc::c_int,
    number: libc::c_int,
    locks: libc::c_int,
    users: libc::c_int,
    debug: libc::c_int,
    numusers: libc::c_int,
    idle_time: libc::c_int,
    reserved: libc::c_int,
}

unsafe extern "C" {
    /// aio_init(3), which libc does not declare.
    fn aio_init(init: *const AioInit);
}

/// A read or a write in a thread of glibc.
pub(super) struct Call {
    /// On the heap, because glibc identifies it by its address.
    control: Box<libc::aiocb>,
    writes: bool,
}

/// Sets the limit of glibc's threads before the first is made; glibc makes them one by one.
pub(super) fn allow_threads(threads: i32) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let init = AioInit { threads, number: 64, idle_time: 1, ..AioInit::default() };
        // SAFETY: it is read during the call, and has the layout of aio.h.
        unsafe { aio_init(&raw const init) };
    });
}

impl Call {
    /// Returns the call for an operation, if there is one. Its buffer is that of the operation or `own`.
    pub(super) fn of(operation: &mut Operation, own: &mut [u8]) -> Option<Self> {
        match operation {
            Operation::Receive(socket) | Operation::ReceiveAtMost(socket, _) => {
                Some(Self::new(socket, 0, own, false))
            }
            Operation::Send { socket, bytes, from, .. } => {
                let meant = bytes.get_mut(*from..).unwrap_or_default();
                Some(Self::new(socket, 0, meant, true))
            }
            Operation::Read { file, offset, bytes, from, .. } => {
                let room = bytes.get_mut(*from..).unwrap_or_default();
                Some(Self::new(file, *offset, room, false))
            }
            _ => None,
        }
    }

    fn new(handle: &SharedFd, offset: u64, buffer: &mut [u8], writes: bool) -> Self {
        // SAFETY: a control block of zeros is a valid one: no buffer, no notification.
        let mut control: libc::aiocb = unsafe { zeroed() };
        control.aio_fildes = (**handle).as_fd().as_raw_fd();
        control.aio_buf = buffer.as_mut_ptr().cast();
        control.aio_nbytes = buffer.len();
        // The call itself rejects an offset that is too large.
        control.aio_offset = libc::off_t::try_from(offset).unwrap_or(-1);
        Self { control: Box::new(control), writes }
    }

    /// Starts the call; `event` notifies of its end.
    pub(super) fn begin(&mut self, event: libc::sigevent) -> io::Result<()> {
        self.control.aio_sigevent = event;
        let control = &raw mut *self.control;
        let begun = if self.writes {
            // SAFETY: the control block, its buffer and its descriptor belong to an operation that
            // lives until the call has ended, or forever.
            unsafe { libc::aio_write(control) }
        } else {
            // SAFETY: as above.
            unsafe { libc::aio_read(control) }
        };
        match begun {
            0 => Ok(()),
            // It is not the `EAGAIN` of the socket.
            _ if last_errno() == Errno::AGAIN => Err(Errno::NOMEM),
            _ => Err(last_errno()),
        }
    }

    /// Returns its result; `None` while it runs. Afterwards nothing refers to the control block, whether there was a
    /// notification or not: glibc sets the result, notifies and forgets the request under one lock, for which
    /// aio_suspend(3) waits.
    pub(super) fn result(&self) -> Option<io::Result<usize>> {
        let control = &raw const *self.control;
        // SAFETY: the control block has been submitted and not moved.
        if unsafe { libc::aio_error(control) } == libc::EINPROGRESS {
            return None;
        }
        // SAFETY: a list of one, which has ended, so this returns at once.
        unsafe { libc::aio_suspend(&raw const control, 1, null()) };
        // SAFETY: as above. A signal that could not be queued has changed it meanwhile.
        match unsafe { libc::aio_error(control) } {
            // SAFETY: as above, and it has ended.
            0 => Some(
                usize::try_from(unsafe { libc::aio_return(control.cast_mut()) }).or(Err(Errno::IO)),
            ),
            errno => Some(Err(Errno::from_raw_os_error(errno))),
        }
    }
}
