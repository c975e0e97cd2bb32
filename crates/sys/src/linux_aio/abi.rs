//! The structures of linux/aio_abi.h, and the system calls on them, which glibc does not wrap.

use rustix::io::{self, Errno};
use std::time::Duration;

use crate::last_errno;

/// `IOCB_CMD_PREAD` and `IOCB_CMD_POLL` of linux/aio_abi.h.
pub(super) const PREAD: u16 = 0;
pub(super) const POLL: u16 = 5;

/// `struct iocb` of linux/aio_abi.h, where the machine is little-endian or 64 bits wide alike.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Iocb {
    pub(super) data: u64,
    pub(super) _key_and_flags: [u32; 2],
    pub(super) opcode: u16,
    pub(super) _priority: i16,
    pub(super) fd: u32,
    pub(super) buffer: u64,
    pub(super) length: u64,
    pub(super) offset: u64,
    pub(super) _rest: [u64; 2],
}

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IoEvent {
    pub(super) data: u64,
    _object: u64,
    pub(super) result: i64,
    _result2: i64,
}

/// Makes a context with room for `capacity` control blocks.
pub(super) fn setup(capacity: u32) -> io::Result<libc::c_ulong> {
    let mut context: libc::c_ulong = 0;
    // SAFETY: the kernel writes the context, which is 0 as required.
    let made = unsafe { libc::syscall(libc::SYS_io_setup, capacity, &raw mut context) };
    if made == 0 { Ok(context) } else { Err(last_errno()) }
}

/// Waits for at least one event, and returns how many have been written to `events`.
pub(super) fn wait(
    context: libc::c_ulong,
    events: &mut [IoEvent],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let time = timeout.map(crate::timespec);
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let (least, most) = (1, events.len());
    let events = events.as_mut_ptr();
    // SAFETY: there is room for `most` events, and the time is read and lives here.
    let fetched =
        unsafe { libc::syscall(libc::SYS_io_getevents, context, least, most, events, time) };
    match usize::try_from(fetched) {
        Ok(count) => Ok(count.min(most)),
        Err(_) if last_errno() == Errno::INTR => Ok(0),
        Err(_) => Err(last_errno()),
    }
}

/// Submits control blocks; returns how many the kernel has taken, or the error of the first.
pub(super) fn submit(context: libc::c_ulong, controls: &mut [*mut Iocb]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < controls.len() {
        let rest = &mut controls[taken..];
        // SAFETY: these are addresses of control blocks, in `slots` or of the caller, which no other code
        // accesses now; the kernel writes their key and reads the rest before the call returns. The
        // memory of a read is owned by `reads` until its event has been fetched.
        let count =
            unsafe { libc::syscall(libc::SYS_io_submit, context, rest.len(), rest.as_mut_ptr()) };
        match usize::try_from(count) {
            Ok(count) if count > 0 => taken += count,
            _ if taken > 0 => break,
            _ => return Err(last_errno()),
        }
    }
    Ok(taken)
}

/// Cancels a poll. Its event still arrives and is ignored.
pub(super) fn cancel(context: libc::c_ulong, control: &mut Iocb) {
    let mut event = IoEvent::default();
    let control = &raw mut *control;
    // SAFETY: the kernel knows the poll by this address and reads the key that it wrote there; it
    // writes at most one event.
    unsafe { libc::syscall(libc::SYS_io_cancel, context, control, &raw mut event) };
}

/// Destroys a context: cancels its polls, and waits for its reads.
pub(super) fn destroy(context: libc::c_ulong) {
    // SAFETY: the caller owns the context and does not use it afterwards. The call returns when the
    // kernel no longer accesses the memory of any read.
    unsafe { libc::syscall(libc::SYS_io_destroy, context) };
}
