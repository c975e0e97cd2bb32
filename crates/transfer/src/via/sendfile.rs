//! `sendfile(2)`: the kernel splices pages of the page cache into the socket.
//!
//! Since Linux 2.2 (file to socket). One system call per chunk, no copy by the CPU where the
//! device can gather (loopback and every modern card can).
//!
//! What it does badly: it blocks the caller while cold pages are read; since 4.3 it may stop
//! short without `EAGAIN`, so a short count says nothing about the socket; it cannot add a
//! header (`MSG_MORE` on the `send` before it does); it knows no `MSG_NOSIGNAL`, so where SIGPIPE
//! is not ignored (Rust programs ignore it) a peer that left ends the process; and the bytes are the file's *pages*: they
//! may change until the peer has them.

use rustix::io;

use crate::report::Calls;
use crate::step::Piece;

/// The most bytes asked of one call: long enough that the call costs nothing beside the bytes,
/// short enough to share the thread with others.
pub(crate) const CHUNK: u64 = 1 << 20;

/// Sends up to `len` bytes from `offset`; 0 means that the file ends there.
pub(crate) fn step(piece: Piece<'_>, calls: &mut Calls) -> io::Result<u64> {
    let Piece { file, offset, len, out, .. } = piece;
    let mut position = offset;
    let count = usize::try_from(len.min(CHUNK)).unwrap_or(usize::MAX);
    calls.sendfile += 1;
    rustix::fs::sendfile(out, file, Some(&mut position), count).map(|sent| sent as u64)
}
