//! The calls that a plan can name, with the errors that a random plan draws.
//!
//! # Limitations
//!
//! `EAGAIN` of a socket is drawn for operations of a ring only: after a call that returned it without reason, no
//! edge follows, so that an event loop would wait forever, rightly. Likewise a receive is never short: a short count
//! says that there is no more (epoll(7)).

use libc::c_long;

/// A call.
pub(super) struct Call {
    pub(super) name: &'static str,
    /// The number of the system call; `None` for an operation of a ring.
    pub(super) number: Option<c_long>,
    /// What a random plan draws.
    pub(super) errnos: &'static [&'static str],
    /// The argument with the length, if fewer bytes may be moved.
    pub(super) length: Length,
}

/// How often a call was made and failed since a plan was armed or [reset](super::Board::reset).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Its name.
    pub call: &'static str,
    /// How often it was made.
    pub made: u64,
    /// How often the plan applied to it.
    pub injected: u64,
}

/// Where a call has its length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    None,
    /// This argument.
    Argument(usize),
    /// This argument; a shorter one has at least so many bytes, because descriptors of events take no less.
    AtLeast(usize, u64),
    /// An array of `iovec`, whose count follows.
    Vector(usize),
    /// A `msghdr`.
    Message(usize),
    /// The length of an operation of a ring.
    Entry,
}

/// The longest record of inotify(7), and more than an eventfd takes.
const RECORD: u64 = 16 + 256;

macro_rules! calls {
    ($($name:literal $number:expr, $length:expr, [$($errno:literal)*];)*) => {
        /// All calls; a [`Board`](super::Board) has their positions.
        pub(super) const CALLS: &[Call] = &[$(Call {
            name: $name,
            number: $number,
            errnos: &[$($errno),*],
            length: $length,
        },)*];
    };
}

use Length::{Argument, AtLeast, Entry, Message, None as Fixed, Vector};

calls! {
    "sendfile" Some(libc::SYS_sendfile), Argument(3), ["EIO" "ENOMEM" "EINTR" "EINVAL" "ECONNRESET" "EPIPE" "ETIMEDOUT"];
    "splice" Some(libc::SYS_splice), Argument(4), ["EIO" "ENOMEM" "EINTR" "EINVAL" "EPIPE"];
    "copy_file_range" Some(libc::SYS_copy_file_range), Argument(4), ["EIO" "EXDEV" "EINTR" "ENOMEM"];
    "sendto" Some(libc::SYS_sendto), Argument(2), ["ENOMEM" "ENOBUFS" "EINTR" "ECONNRESET" "EPIPE" "ETIMEDOUT"];
    "sendmsg" Some(libc::SYS_sendmsg), Message(1), ["ENOMEM" "ENOBUFS" "EINTR" "ECONNRESET" "EPIPE"];
    "recvfrom" Some(libc::SYS_recvfrom), Fixed, ["ENOMEM" "EINTR" "ECONNRESET" "ETIMEDOUT"];
    "recvmsg" Some(libc::SYS_recvmsg), Fixed, ["ENOMEM" "EINTR"];
    "read" Some(libc::SYS_read), AtLeast(2, RECORD), ["EIO" "EINTR" "ENOMEM"];
    "pread64" Some(libc::SYS_pread64), Argument(2), ["EIO" "EINTR" "ENOMEM"];
    "preadv2" Some(libc::SYS_preadv2), Vector(1), ["EIO" "EINTR" "ENOMEM" "EOPNOTSUPP"];
    "write" Some(libc::SYS_write), AtLeast(2, RECORD), ["EINTR" "EIO" "ENOSPC"];
    "writev" Some(libc::SYS_writev), Vector(1), ["EINTR" "EIO" "ENOSPC"];
    "open" Some(OPEN), Fixed, ["EMFILE" "ENFILE" "EIO" "ENOMEM" "EINTR"];
    "openat" Some(libc::SYS_openat), Fixed, ["EMFILE" "ENFILE" "EIO" "ENOMEM" "EINTR"];
    "openat2" Some(libc::SYS_openat2), Fixed, ["EMFILE" "ENFILE" "EIO" "ENOMEM" "EINTR" "EAGAIN"];
    "statx" Some(libc::SYS_statx), Fixed, ["EIO" "ENOMEM" "EINTR"];
    "newfstatat" Some(libc::SYS_newfstatat), Fixed, ["EIO" "ENOMEM"];
    "fstat" Some(libc::SYS_fstat), Fixed, ["EIO" "ENOMEM"];
    "getdents64" Some(libc::SYS_getdents64), Fixed, ["EIO" "ENOMEM"];
    "accept4" Some(libc::SYS_accept4), Fixed, ["EMFILE" "ENFILE" "ENOMEM" "ENOBUFS" "ECONNABORTED" "EINTR" "EPERM"];
    "setsockopt" Some(libc::SYS_setsockopt), Fixed, ["ENOMEM" "ENOBUFS"];
    "shutdown" Some(libc::SYS_shutdown), Fixed, ["ENOTCONN"];
    "ioctl" Some(libc::SYS_ioctl), Fixed, ["ENOMEM" "EIO"];
    "fcntl" Some(libc::SYS_fcntl), Fixed, ["ENOMEM"];
    "pipe2" Some(libc::SYS_pipe2), Fixed, ["EMFILE" "ENFILE"];
    "eventfd2" Some(libc::SYS_eventfd2), Fixed, ["EMFILE" "ENFILE" "ENOMEM"];
    "epoll_ctl" Some(libc::SYS_epoll_ctl), Fixed, ["ENOMEM" "ENOSPC"];
    "epoll_pwait" Some(libc::SYS_epoll_pwait), Fixed, ["EINTR" "ENOMEM"];
    "ppoll" Some(libc::SYS_ppoll), Fixed, ["EINTR" "ENOMEM"];
    "poll" Some(POLL), Fixed, ["EINTR" "ENOMEM"];
    "pselect6" Some(libc::SYS_pselect6), Fixed, ["EINTR" "ENOMEM"];
    "mmap" Some(libc::SYS_mmap), Fixed, ["ENOMEM" "EAGAIN"];
    "mincore" Some(libc::SYS_mincore), Fixed, ["ENOMEM" "EAGAIN"];
    "fadvise64" Some(libc::SYS_fadvise64), Fixed, ["EINVAL"];
    "inotify_add_watch" Some(libc::SYS_inotify_add_watch), Fixed, ["ENOSPC" "ENOMEM"];
    "io_submit" Some(libc::SYS_io_submit), Fixed, ["EAGAIN" "EINTR" "ENOMEM"];
    "io_getevents" Some(libc::SYS_io_getevents), Fixed, ["EINTR"];
    "rt_sigqueueinfo" Some(libc::SYS_rt_sigqueueinfo), Fixed, ["EAGAIN"];
    "io_uring_enter" Some(libc::SYS_io_uring_enter), Fixed, ["EINTR" "EAGAIN" "EBUSY" "ENOMEM"];
    "uring-accept" None, Fixed, ["EMFILE" "ENFILE" "ENOMEM" "ECONNABORTED" "EINTR"];
    "uring-recv" None, Fixed, ["ECONNRESET" "ENOMEM" "ENOBUFS" "EINTR" "ETIMEDOUT"];
    "uring-send" None, Entry, ["EAGAIN" "ECONNRESET" "EPIPE" "ENOMEM" "ENOBUFS" "EINTR"];
    "uring-read" None, Entry, ["EIO" "EINTR" "EAGAIN" "ENOMEM"];
    "uring-splice" None, Entry, ["EIO" "EINVAL" "EINTR" "ENOMEM"];
    "uring-openat2" None, Fixed, ["EMFILE" "ENFILE" "EIO" "ENOMEM" "EINTR"];
    "uring-statx" None, Fixed, ["EIO" "ENOMEM" "EINTR"];
    "uring-poll" None, Fixed, ["ENOMEM" "EINTR"];
}

/// Calls that newer architectures lack.
#[cfg(target_arch = "x86_64")]
const OPEN: c_long = libc::SYS_open;
#[cfg(target_arch = "x86_64")]
const POLL: c_long = libc::SYS_poll;
#[cfg(not(target_arch = "x86_64"))]
const OPEN: c_long = -1;
#[cfg(not(target_arch = "x86_64"))]
const POLL: c_long = -2;

/// Returns the position of a call.
pub(super) fn position(name: &str) -> Option<usize> {
    CALLS.iter().position(|call| call.name == name)
}

macro_rules! errnos {
    ($($name:ident)*) => {
        const ERRNOS: &[(&str, i32)] = &[$((stringify!($name), libc::$name),)*];
    };
}

errnos! {
    EPERM EINTR EIO EAGAIN ENOMEM EACCES EBUSY EEXIST EXDEV EINVAL ENFILE EMFILE ENOSPC EPIPE ENOENT ENOSYS
    EOPNOTSUPP ENOBUFS ECONNABORTED ECONNRESET ENOTCONN ETIMEDOUT ESTALE ELOOP ENOTDIR ENODEV ENXIO EDQUOT
}

/// Returns the number of an error.
pub(super) fn errno(name: &str) -> Option<u16> {
    let found = ERRNOS.iter().find(|(known, _)| *known == name)?;
    u16::try_from(found.1).ok()
}

/// Returns the name of an error.
pub(super) fn errno_name(number: u16) -> Option<&'static str> {
    ERRNOS.iter().find(|(_, known)| *known == i32::from(number)).map(|(name, _)| *name)
}
