//! Fallback: which errors mean that a via is unsupported, and a cache of those that are permanent.

use rustix::fs::fstat;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::calls::Calls;
use crate::direction::Direction;
use crate::report::Reason;
use crate::step::Descriptors;
use crate::via::Via;

/// Returns whether this error means that the file system, the socket or the kernel does not support
/// the via, so that the next one can continue from the same byte, at any point of the transfer.
///
/// Some errors belong to one mechanism: `EMFILE` and `ENFILE` to a pipe, `ENODEV` to a file that
/// cannot be mapped, `EFAULT` to a mapping with a page that is gone or unreadable, `ENOTTY` to
/// `FICLONERANGE`, `ETXTBSY` to a swap file, `EBADF` to `copy_file_range` into a file open for
/// appending. If the cause is a different one, the next via returns the error, too.
pub(crate) fn is_unsupported(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::XDEV
            | Errno::OPNOTSUPP
            | Errno::NOSYS
            | Errno::NOTTY
            | Errno::INVAL
            | Errno::PERM
            | Errno::ACCESS
            | Errno::SPIPE
            | Errno::OVERFLOW
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NODEV
            | Errno::TXTBSY
            | Errno::BADF
            | Errno::FAULT
    )
}

/// Returns whether every via would return this error of the *first* use of a via, before that has
/// moved a byte. All other errors fall back, `EIO`, `ENOENT`, `EBUSY`, `ETIMEDOUT` and `ENOMEM`
/// among them, because servers, file systems and drivers return them for a mechanism that they do
/// not have. A real I/O error recurs in the plain read or write, and that one is reported.
///
/// A full file system is full for every via, but a clone may need space of another kind. A socket
/// reports the error of its peer only once, so a second via would return a different one.
pub(crate) fn is_common_to_all(direction: Direction, via: Via, errno: Errno) -> bool {
    let full = matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG) && via != Via::Reflink;
    full || (direction != Direction::FileToFile && is_peer_error(errno))
}

/// Returns whether a connection is broken, or was never established.
fn is_peer_error(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::PIPE
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::CONNREFUSED
            | Errno::NOTCONN
            | Errno::DESTADDRREQ
            | Errno::SHUTDOWN
            | Errno::TIMEDOUT
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NETRESET
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
    )
}

/// Returns whether every file of that device would be refused for the same reason.
fn is_permanent(reason: Reason) -> bool {
    match reason {
        Reason::Errno(errno) => matches!(
            errno,
            Errno::XDEV
                | Errno::OPNOTSUPP
                | Errno::NOSYS
                | Errno::NOTTY
                | Errno::NOPROTOOPT
                | Errno::NOTSOCK
        ),
        Reason::NoDirectIo => true,
        _ => false,
    }
}

/// The unsupported vias between two devices (`st_dev`), for `auto`. A socket has device 0.
static UNSUPPORTED: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// Whether the table has an entry: where every via is supported, the lookup costs one load.
static ANY: AtomicBool = AtomicBool::new(false);

/// The most entries; a machine has few file systems.
const MAX_ENTRIES: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    direction: Direction,
    via: Via,
    from: u64,
    to: u64,
}

/// The two ends of a transfer, whose devices are looked up at most once.
pub(crate) struct Ends<'a> {
    direction: Direction,
    fds: Descriptors<'a>,
    devices: Option<(u64, u64)>,
}

impl<'a> Ends<'a> {
    /// Makes no system call.
    pub(crate) fn new(direction: Direction, fds: Descriptors<'a>) -> Self {
        Self { direction, fds, devices: None }
    }

    /// Remembers that a via is unsupported, if the reason is permanent.
    pub(crate) fn cache_unsupported(&mut self, via: Via, reason: Reason, calls: &mut Calls) {
        if !is_permanent(reason) {
            return;
        }
        let entry = self.entry(via, calls);
        let mut unsupported = UNSUPPORTED.lock().unwrap_or_else(PoisonError::into_inner);
        if unsupported.len() < MAX_ENTRIES && !unsupported.contains(&entry) {
            unsupported.push(entry);
            ANY.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether a via is known to be unsupported between these descriptors.
    pub(crate) fn is_known_unsupported(&mut self, via: Via, calls: &mut Calls) -> bool {
        if !ANY.load(Ordering::Relaxed) {
            return false;
        }
        let entry = self.entry(via, calls);
        UNSUPPORTED.lock().unwrap_or_else(PoisonError::into_inner).contains(&entry)
    }

    fn entry(&mut self, via: Via, calls: &mut Calls) -> Entry {
        let Self { direction, fds, devices } = self;
        let (from, to) = *devices.get_or_insert_with(|| devices_of(*direction, *fds, calls));
        Entry { direction: *direction, via, from, to }
    }
}

fn devices_of(direction: Direction, fds: Descriptors<'_>, calls: &mut Calls) -> (u64, u64) {
    let (from_file, to_file) = match direction {
        Direction::FileToSocket | Direction::FileToPipe => (true, false),
        Direction::SocketToFile | Direction::PipeToFile => (false, true),
        Direction::SocketToSocket | Direction::PipeToPipe => (false, false),
        Direction::FileToFile => (true, true),
    };
    let mut device = |is_file: bool, fd| {
        if !is_file {
            return 0;
        }
        calls.fstat += 1;
        fstat(fd).map_or(0, |stat| stat.st_dev)
    };
    (device(from_file, fds.from), device(to_file, fds.to))
}
