//! Reading from and writing to an end, file or stream, for the vias whose bytes visit user space.

use rustix::io::{Errno, IoSlice, IoSliceMut, ReadWriteFlags};
use rustix::net::{RecvFlags, SendFlags};
use std::os::fd::BorrowedFd;

use crate::report::Calls;
use crate::step::{End, Piece, Stop};

/// `RWF_DONTCACHE` of linux/fs.h (Linux 6.14), which rustix does not name.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Reads what comes next of the source; 0 at its end. With `nowait`, a file's bytes only where
/// they are in memory.
pub(crate) fn read(
    piece: Piece<'_>,
    buffer: &mut [u8],
    nowait: bool,
    calls: &mut Calls,
) -> Result<usize, Stop> {
    let from = piece.from;
    let Some(offset) = from.at else {
        if piece.pipes {
            calls.read += 1;
            return rustix::io::read(from.fd, buffer).map_err(Stop::reading);
        }
        calls.recvfrom += 1;
        return match rustix::net::recv(from.fd, buffer, RecvFlags::empty()) {
            Ok((count, _)) => Ok(count),
            Err(errno) => Err(Stop::reading(errno)),
        };
    };
    match read_file(from.fd, offset, buffer, (nowait, piece.uncached), calls) {
        Err(Errno::AGAIN) => Err(Stop::Worker),
        Err(errno) if nowait || piece.uncached => Err(Stop::Refused(errno)),
        read => read.map_err(Stop::Failed),
    }
}

/// Reads a file at an offset, if `nowait` only what is in memory (`EAGAIN` if nothing is), and if
/// `uncached` without leaving it there.
pub(crate) fn read_file(
    file: BorrowedFd<'_>,
    offset: u64,
    buffer: &mut [u8],
    (nowait, uncached): (bool, bool),
    calls: &mut Calls,
) -> rustix::io::Result<usize> {
    let mut flags = ReadWriteFlags::empty();
    flags.set(ReadWriteFlags::NOWAIT, nowait);
    flags.set(DONTCACHE, uncached);
    if flags.is_empty() {
        calls.pread64 += 1;
        return rustix::io::pread(file, buffer, offset);
    }
    calls.preadv2 += 1;
    rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, flags)
}

/// Looks at what comes next of the source, a byte at most, and takes nothing: 0 at its end. What
/// would have to wait is `EAGAIN`; for a disk only with `nowait`.
pub(crate) fn peek(from: End<'_>, nowait: bool, calls: &mut Calls) -> rustix::io::Result<usize> {
    let mut byte = [0];
    if let Some(offset) = from.at {
        return read_file(from.fd, offset, &mut byte, (nowait, false), calls);
    }
    calls.recvfrom += 1;
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    rustix::net::recv(from.fd, &mut byte, flags).map(|(count, _)| count)
}

/// Writes to where the bytes go next; says how many were taken.
pub(crate) fn write(piece: Piece<'_>, bytes: &[u8], calls: &mut Calls) -> Result<usize, Stop> {
    let to = piece.to;
    let written = match to.at {
        None if piece.pipes => {
            calls.write += 1;
            rustix::io::write(to.fd, bytes)
        }
        None => {
            calls.sendto += 1;
            rustix::net::send(to.fd, bytes, send_flags(piece, bytes.len()))
        }
        Some(offset) if piece.uncached => {
            calls.pwritev2 += 1;
            rustix::io::pwritev2(to.fd, &[IoSlice::new(bytes)], offset, DONTCACHE)
        }
        Some(offset) => {
            calls.pwrite64 += 1;
            rustix::io::pwrite(to.fd, bytes, offset)
        }
    };
    let asks_for_more = to.at.is_some() && piece.uncached;
    written.map_err(if asks_for_more { Stop::writing } else { Stop::writing_plainly })
}

/// No SIGPIPE, and whether the socket may wait for more before it sends these.
pub(crate) fn send_flags(piece: Piece<'_>, count: usize) -> SendFlags {
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, piece.more_behind(count));
    flags
}
