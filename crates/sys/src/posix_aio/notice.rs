//! Notifications of completed calls: a signal, whose handler writes a number into a pipe.
//!
//! The signal is sent to the process and interrupts any thread that does not block it; interruptible calls
//! are restarted. A signal may arrive late, so pipes are reused but never closed: a
//! late number is ignored, but a write to a reused descriptor would corrupt another file.

use rustix::io::{self, Errno};
use rustix::pipe::{PipeFlags, pipe_with};
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::last_errno;
use crate::operation::Key;
use crate::slots::Slots;

/// The most pipes, one for each waiting thread.
const PIPES: usize = 1024;

/// The write end of each pipe, for the handler.
static ENDS: [AtomicI32; PIPES] = [const { AtomicI32::new(-1) }; PIPES];

/// Set when a number did not fit into that pipe.
static LOST: [AtomicBool; PIPES] = [const { AtomicBool::new(false) }; PIPES];

/// The unused pipes, and the number of pipes made.
static UNUSED: Mutex<(Vec<Arc<Pipe>>, usize)> = Mutex::new((Vec::new(), 0));

struct Pipe {
    number: usize,
    read: OwnedFd,
    /// [`ENDS`] refers to it.
    _write: OwnedFd,
}

/// The notifications of one waiting thread.
pub(super) struct Notices(Arc<Pipe>);

impl Notices {
    pub(super) fn new() -> io::Result<Self> {
        let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        if unused.1 == 0 {
            install()?;
        }
        if let Some(pipe) = unused.0.pop() {
            return Ok(Self(pipe));
        }
        let number = unused.1;
        let end = ENDS.get(number).ok_or(Errno::MFILE)?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        end.store(write.as_raw_fd(), Ordering::Release);
        unused.1 += 1;
        Ok(Self(Arc::new(Pipe { number, read, _write: write })))
    }

    /// Returns the pipe to poll.
    pub(super) fn pipe(&self) -> &OwnedFd {
        &self.0.read
    }

    /// Returns the notification request for an operation.
    pub(super) fn event(&self, key: Key) -> libc::sigevent {
        let number = self.0.number;
        // SAFETY: a sigevent of zeros is a valid one.
        let mut event: libc::sigevent = unsafe { zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = signal();
        // A number of 32 bits: that of the pipe, and the slot of the operation.
        let value = (number << 22) | (key.0 as usize & ((1 << 22) - 1));
        event.sigev_value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(value) };
        event
    }

    /// Returns the operations with notifications.
    pub(super) fn take<T>(&self, flights: &Slots<T>) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let count = io::read(self.pipe(), &mut bytes).unwrap_or(0);
            let numbers = bytes[..count].as_chunks::<4>().0.iter().copied();
            keys.extend(numbers.filter_map(|bytes| flights.key_at(u32::from_ne_bytes(bytes))));
            if count < bytes.len() {
                return keys;
            }
        }
    }

    /// Returns whether some have been lost since the last call.
    pub(super) fn were_lost(&self) -> bool {
        LOST.get(self.0.number)
            .is_some_and(|lost| lost.load(Ordering::Relaxed) && lost.swap(false, Ordering::Relaxed))
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        unused.0.push(Arc::clone(&self.0));
    }
}

/// The third real-time signal.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 2
}

fn install() -> io::Result<()> {
    // SAFETY: an action of zeros is a valid one: the default, and no mask.
    let mut action: libc::sigaction = unsafe { zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = notify;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the handler makes one write(2) and touches nothing but atomics and errno.
    let installed = unsafe { libc::sigaction(signal(), &raw const action, null_mut()) };
    if installed == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The handler. It may run in any thread, between any two instructions.
extern "C" fn notify(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: installed with `SA_SIGINFO`, so there is one, and no other code writes it.
    let info = unsafe { &*info };
    // SAFETY: glibc sends a value with this signal; that of a different sender is the number of no pipe.
    let value = unsafe { info.si_value() };
    let value = value.sival_ptr.addr();
    let (pipe, number) = (value >> 22, (value & ((1 << 22) - 1)) as u32);
    let (Some(end), Some(lost)) = (ENDS.get(pipe), LOST.get(pipe)) else { return };
    let bytes = number.to_ne_bytes();
    // SAFETY: the address of this thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: it is valid as long as the thread is.
    let before = unsafe { *errno };
    let end = end.load(Ordering::Acquire);
    // SAFETY: four bytes are read from here; the descriptor is a pipe that is never closed, and
    // does not block.
    if unsafe { libc::write(end, bytes.as_ptr().cast(), bytes.len()) } < 0 {
        lost.store(true, Ordering::Relaxed);
    }
    // SAFETY: as above; the interrupted code finds its errno unchanged.
    unsafe { *errno = before };
}
