//! Reads from and writes to an endpoint, file or stream, for the vias that copy through user space.

use rustix::io::{Errno, IoSlice, IoSliceMut, ReadWriteFlags};
use rustix::net::{RecvFlags, SendFlags};
use std::os::fd::BorrowedFd;

use crate::calls::Calls;
use crate::step::{Blocked, Endpoint, Request};

/// `RWF_DONTCACHE` of linux/fs.h (Linux 6.14), which rustix does not name.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Reads the next bytes of the source; 0 at its end. With `nowait`, reads a file only from the page
/// cache.
pub(crate) fn read(
    request: Request<'_>,
    buffer: &mut [u8],
    nowait: bool,
    calls: &mut Calls,
) -> Result<usize, Blocked> {
    let from = request.from;
    let Some(offset) = from.at else {
        if request.pipes {
            calls.read += 1;
            return rustix::io::read(from.fd, buffer).map_err(Blocked::reading);
        }
        calls.recvfrom += 1;
        return match rustix::net::recv(from.fd, buffer, RecvFlags::empty()) {
            Ok((count, _)) => Ok(count),
            Err(errno) => Err(Blocked::reading(errno)),
        };
    };
    match read_file(from.fd, offset, buffer, (nowait, request.uncached), calls) {
        Err(Errno::AGAIN) => Err(Blocked::Miss),
        Err(errno) if nowait || request.uncached => Err(Blocked::Rejected(errno)),
        read => read.map_err(Blocked::Failed),
    }
}

/// Reads a file at an offset: if `nowait`, only from the page cache (`EAGAIN` on a miss), and if
/// `uncached`, without keeping the pages there.
pub(crate) fn read_file(
    file: BorrowedFd<'_>,
    offset: u64,
    buffer: &mut [u8],
    (nowait, uncached): (bool, bool),
    calls: &mut Calls,
) -> rustix::io::Result<usize> {
    #[cfg(feature = "simulation")]
    if nowait && karez_sys::simulation::happens(karez_sys::simulation::Point::PageCacheMiss) {
        return Err(Errno::AGAIN);
    }
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

/// Peeks at the next byte of the source: 0 at its end, `EAGAIN` if the call would block. It blocks on
/// a disk unless `nowait` is set.
pub(crate) fn peek(
    from: Endpoint<'_>,
    nowait: bool,
    calls: &mut Calls,
) -> rustix::io::Result<usize> {
    let mut byte = [0];
    if let Some(offset) = from.at {
        return read_file(from.fd, offset, &mut byte, (nowait, false), calls);
    }
    calls.recvfrom += 1;
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    rustix::net::recv(from.fd, &mut byte, flags).map(|(count, _)| count)
}

/// Writes to the sink and returns how many bytes it has taken.
pub(crate) fn write(
    request: Request<'_>,
    bytes: &[u8],
    calls: &mut Calls,
) -> Result<usize, Blocked> {
    let to = request.to;
    let written = match to.at {
        None if request.pipes => {
            calls.write += 1;
            rustix::io::write(to.fd, bytes)
        }
        None => {
            calls.sendto += 1;
            rustix::net::send(to.fd, bytes, send_flags(request, bytes.len()))
        }
        Some(offset) if request.uncached => {
            calls.pwritev2 += 1;
            rustix::io::pwritev2(to.fd, &[IoSlice::new(bytes)], offset, DONTCACHE)
        }
        Some(offset) => {
            calls.pwrite64 += 1;
            rustix::io::pwrite(to.fd, bytes, offset)
        }
    };
    let has_flag = to.at.is_some() && request.uncached;
    written.map_err(if has_flag { Blocked::writing } else { Blocked::writing_plainly })
}

/// Returns the flags of a send: no SIGPIPE, and `MSG_MORE` if more bytes follow.
pub(crate) fn send_flags(request: Request<'_>, count: usize) -> SendFlags {
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, request.more_behind(count));
    flags
}
