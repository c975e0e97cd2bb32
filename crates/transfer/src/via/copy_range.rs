//! `copy_file_range(2)`: the file system copies by itself, or shares extents, or lets its server
//! do it.
//!
//! Linux 4.5; across file systems of one type 5.3, and where both are of different ones it is
//! `EXDEV` again since 5.19.
//!
//! What it does badly: it does not say whether it copied or shared; where the file system has no
//! way of its own the kernel splices, and the CPU copies; it takes no file that is open for
//! appending; and of files that are made as they are read (as in /proc) some kernels copy nothing
//! and say so with 0, which is why a 0 is never believed without a read.

use rustix::io::Errno;

use crate::report::Report;
use crate::step::{Piece, Stop};

/// The most bytes asked of one call: it cannot be interrupted but by a fatal signal.
pub(crate) const CHUNK: u64 = 16 << 20;

/// Moves up to a chunk; 0 means that the file ends there.
pub(crate) fn step(piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
    let (Some(mut from), Some(mut to)) = (piece.from.at, piece.to.at) else {
        return Err(Errno::OPNOTSUPP.into());
    };
    report.calls.copy_file_range += 1;
    let (source, sink) = (piece.from.fd, piece.to.fd);
    let count = piece.count();
    let moved = rustix::fs::copy_file_range(source, Some(&mut from), sink, Some(&mut to), count)?;
    Ok(moved as u64)
}
