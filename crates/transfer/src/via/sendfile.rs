//! `sendfile(2)`: the kernel splices pages of the page cache into the socket.
//!
//! Since Linux 2.2 (file to socket), 2.6.33 (to any file). One system call per chunk, and no copy
//! by the CPU on the way to a socket where the device can gather (loopback and every modern card
//! can). On the way to a file the kernel copies from one file's pages to the other's.
//!
//! What it does badly: it blocks the caller while cold pages are read; since 4.3 it may stop
//! short without `EAGAIN`, so a short count says nothing about the socket; it cannot add a
//! header (`MSG_MORE` on the `send` before it does); it knows no `MSG_NOSIGNAL`, so where SIGPIPE
//! is not ignored (Rust programs ignore it) a peer that left ends the process; to a file it writes
//! at the position that all share who share the descriptor; and the bytes are the file's *pages*:
//! they may change until the peer has them.

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::report::Report;
use crate::step::{Piece, Stop};

/// Moves up to a chunk; 0 means that the file ends there.
pub(crate) fn step(piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
    let mut position = piece.from.at.ok_or(Errno::OPNOTSUPP)?;
    if let Some(at) = piece.to.at {
        report.calls.lseek += 1;
        rustix::fs::seek(piece.to.fd, SeekFrom::Start(at))?;
    }
    report.calls.sendfile += 1;
    let count = piece.count();
    rustix::fs::sendfile(piece.to.fd, piece.from.fd, Some(&mut position), count)
        .map(|moved| moved as u64)
        .map_err(Stop::writing)
}
