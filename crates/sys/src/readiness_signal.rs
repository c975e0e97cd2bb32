//! Readiness by queued signals: `O_ASYNC`, `F_SETSIG` and `F_SETOWN_EX` (fcntl(2),
//! Linux 2.6.32), taken by rt_sigtimedwait(2).
//!
//! # Limitations
//!
//! One signal per change and one call per signal; three calls to register a
//! descriptor. `RLIMIT_SIGPENDING` limits the queue for the whole user; signals beyond it are
//! lost, and a plain SIGIO reports only that there were some. Owner and signal belong to the
//! open file, so only one thread gets the signals of a socket.

use rustix::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use crate::last_errno;

/// `F_SETSIG`, `F_SETOWN_EX` and `F_OWNER_TID` of linux/fcntl.h.
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

/// `struct f_owner_ex` of linux/fcntl.h.
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    pid: libc::pid_t,
}

/// The head of `siginfo_t` as `SIGPOLL` fills it (sigaction(2)), and room for all of it.
#[repr(C)]
struct PollInfo {
    signal: libc::c_int,
    _errno_and_code: [libc::c_int; 2],
    band: libc::c_long,
    fd: libc::c_int,
    _rest: [u64; 16],
}

/// The signal by which the kernel reports readiness to the thread that made this.
#[derive(Debug)]
pub struct ReadinessSignal {
    number: libc::c_int,
    /// It belongs to this thread and must stay in it.
    _thread: PhantomData<*const ()>,
}

/// The content of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalEvent {
    /// The readiness of a descriptor has changed.
    Changed {
        /// Its number at registration; it may have been closed since.
        number: usize,
        /// The events, as flags of poll(2).
        band: rustix::event::PollFlags,
    },
    /// The queue was full and signals were lost: any descriptor may have changed.
    Overflow,
}

impl ReadinessSignal {
    /// Blocks the signal and SIGIO in the calling thread permanently: they stay in its queue until
    /// they are [taken](Self::take), and never interrupt or kill. The signal is the second
    /// real-time signal; nothing else in the process may use it.
    ///
    /// # Errors
    /// `EINVAL` where there is no such signal.
    pub fn block() -> io::Result<Self> {
        let signal = Self { number: libc::SIGRTMIN() + 1, _thread: PhantomData };
        let set = signal.set();
        // SAFETY: the set lives here and is initialised; the old set is not requested.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if result == 0 { Ok(signal) } else { Err(io::Errno::from_raw_os_error(result)) }
    }

    /// Reports every later change of `fd` to this thread. Earlier readiness is not reported.
    ///
    /// # Errors
    /// `ENOTTY` for files without readiness signals: regular files, eventfds.
    pub fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let number = fd.as_raw_fd();
        let owner =
            Owner { kind: F_OWNER_TID, pid: rustix::thread::gettid().as_raw_nonzero().get() };
        // SAFETY: no memory is passed.
        check(unsafe { libc::fcntl(number, F_SETSIG, self.number) })?;
        // SAFETY: the kernel reads the owner, which has the layout of linux/fcntl.h.
        check(unsafe { libc::fcntl(number, F_SETOWN_EX, &raw const owner) })?;
        set_async(fd, true)
    }

    /// Stops reporting changes of `fd`, except signals that are already queued.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub fn unwatch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        set_async(fd, false)
    }

    /// Waits for the next signal and takes it; `None` on a timeout. Without a `timeout` it waits
    /// indefinitely.
    ///
    /// # Errors
    /// `EINTR`.
    pub fn take(&self, timeout: Option<Duration>) -> io::Result<Option<SignalEvent>> {
        let timeout = timeout.map(crate::timespec);
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let set = self.set();
        let mut info = MaybeUninit::<PollInfo>::zeroed();
        let place = info.as_mut_ptr().cast::<libc::siginfo_t>();
        // SAFETY: the set and the time are read and live here; `PollInfo` is as large as a
        // siginfo_t and aligned alike.
        let signal = unsafe { libc::sigtimedwait(&raw const set, place, timeout) };
        if signal < 0 {
            return match last_errno() {
                io::Errno::AGAIN => Ok(None),
                errno => Err(errno),
            };
        }
        // SAFETY: it was zeroed and then filled by the kernel, and holds integers only.
        let info = unsafe { info.assume_init() };
        debug_assert_eq!(info.signal, signal);
        if signal != self.number {
            return Ok(Some(SignalEvent::Overflow));
        }
        let band = u16::try_from(info.band).unwrap_or(u16::MAX);
        Ok(Some(SignalEvent::Changed {
            number: usize::try_from(info.fd).unwrap_or(usize::MAX),
            band: crate::poll::flags(band),
        }))
    }

    fn set(&self) -> libc::sigset_t {
        let mut set = MaybeUninit::uninit();
        // SAFETY: it initialises the set and cannot fail.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset has initialised it.
        let mut set = unsafe { set.assume_init() };
        for signal in [self.number, libc::SIGIO] {
            // SAFETY: the set is initialised; an invalid number is refused and changes nothing.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        set
    }
}

/// Sets or clears `O_ASYNC` in one call, by `FIOASYNC` (ioctl_tty(2)), which unlike `F_SETFL` fails for
/// a file that does not support it.
fn set_async(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let on = libc::c_int::from(on);
    // SAFETY: the kernel reads one int, which lives here.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIOASYNC, &raw const on) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

const _: () = assert!(size_of::<PollInfo>() >= size_of::<libc::siginfo_t>());
const _: () = assert!(align_of::<PollInfo>() >= align_of::<libc::siginfo_t>());

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, PollFlags, eventfd};
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_signal_has_number_and_band() {
        let signal = ReadinessSignal::block().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        signal.watch(ours.as_fd()).unwrap();
        assert_eq!(signal.take(Some(Duration::ZERO)), Ok(None));
        theirs.write_all(b"x").unwrap();
        let Some(SignalEvent::Changed { number, band }) = signal.take(None).unwrap() else {
            panic!()
        };
        assert_eq!(number, usize::try_from(ours.as_raw_fd()).unwrap());
        assert!(band.contains(PollFlags::IN), "{band:?}");
        signal.unwatch(ours.as_fd()).unwrap();
        theirs.write_all(b"y").unwrap();
        assert_eq!(signal.take(Some(Duration::ZERO)), Ok(None));
    }

    #[test]
    fn files_without_signals_are_refused() {
        let signal = ReadinessSignal::block().unwrap();
        let file = tempfile::tempfile().unwrap();
        assert_eq!(signal.watch(file.as_fd()), Err(io::Errno::NOTTY));
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        assert_eq!(signal.watch(event.as_fd()), Err(io::Errno::NOTTY));
    }
}
