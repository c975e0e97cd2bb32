//! The ladder: which refusals mean "not this way" rather than "not at all", and which of them are
//! worth remembering.

use rustix::fs::fstat;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::course::Ends;
use crate::direction::Direction;
use crate::report::Calls;
use crate::via::Via;

/// Whether this error says that the file system, the socket or the kernel does not offer the via,
/// so that the next rung may try from the same byte, before the first as after the millionth.
///
/// Some are peculiar to one: `EMFILE` and `ENFILE` to a pipe, `ENODEV` to a file that cannot be
/// mapped, `EFAULT` to a mapping of which a page is gone or cannot be read, `ENOTTY` to
/// `FICLONERANGE`, `ETXTBSY` to a swap file, `EBADF` to `copy_file_range` into a file open for
/// appending. If one of those means more than that, the rungs below meet the truth.
pub(crate) fn refuses_via(errno: Errno) -> bool {
    says_never(errno)
        || matches!(
            errno,
            Errno::INVAL
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

/// Whether this error of the *first* use of a via, before it has moved a byte, would be any other
/// via's, too: then it is the transfer's. All others fall back, `EIO`, `ENOENT`, `EBUSY`,
/// `ETIMEDOUT` and `ENOMEM` among them: servers, file systems and drivers say them of a mechanism
/// that they do not have. What is a real I/O error shows in the plain read or write, which is then
/// the one that is reported.
///
/// A file system that is full is full for every via, but a clone may want room of another kind. A
/// socket tells of its peer only once, so that a second try would report another error.
pub(crate) fn meets_every_via(direction: Direction, via: Via, errno: Errno) -> bool {
    let full = matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG) && via != Via::Reflink;
    full || (direction != Direction::FileToFile && is_of_the_peer(errno))
}

/// Whether a connection is broken, or was never made.
fn is_of_the_peer(errno: Errno) -> bool {
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

/// Whether it would say so again for every file there, so that nobody need ask twice.
fn says_never(errno: Errno) -> bool {
    matches!(errno, Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY)
}

/// What was refused between two devices (`st_dev`), for `auto`. A socket's device is 0.
static REFUSED: Mutex<Vec<Refusal>> = Mutex::new(Vec::new());

/// Whether there is anything in it: where nothing is ever refused, nobody pays for the question.
static ANY: AtomicBool = AtomicBool::new(false);

/// More than this are not kept; a machine has few file systems.
const KEPT: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Refusal {
    direction: Direction,
    via: Via,
    from: u64,
    to: u64,
}

impl Refusal {
    fn of(direction: Direction, via: Via, ends: Ends<'_>, calls: &mut Calls) -> Self {
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
        Self { direction, via, from: device(from_file, ends.from), to: device(to_file, ends.to) }
    }
}

/// Remembers a refusal that would come again.
pub(crate) fn remember(
    direction: Direction,
    via: Via,
    ends: Ends<'_>,
    errno: Errno,
    calls: &mut Calls,
) {
    if !says_never(errno) {
        return;
    }
    let refusal = Refusal::of(direction, via, ends, calls);
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.len() < KEPT && !refused.contains(&refusal) {
        refused.push(refusal);
        ANY.store(true, Ordering::Relaxed);
    }
}

/// Whether `via` was refused between such ends before.
pub(crate) fn was_refused(
    direction: Direction,
    via: Via,
    ends: Ends<'_>,
    calls: &mut Calls,
) -> bool {
    if !ANY.load(Ordering::Relaxed) {
        return false;
    }
    let refusal = Refusal::of(direction, via, ends, calls);
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner).contains(&refusal)
}
