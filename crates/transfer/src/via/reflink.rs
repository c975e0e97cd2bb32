//! `FICLONERANGE`: the two files share their extents until one of them is written to.
//!
//! ioctl_ficlonerange(2), Linux 4.5 (as btrfs' own ioctl 2.6.29). No byte moves, so it costs the
//! same for a kilobyte as for a terabyte.
//!
//! What it does badly: few file systems have it, and both files must be on the same one; a range
//! has to begin and end at blocks, unless it ends where the file does; and the first write to a
//! shared block is dearer than it would have been.

use karez_sys::clone_range;
use rustix::io::Errno;

use crate::report::Report;
use crate::step::{Piece, Stop};
use crate::window::bytes_behind;

/// Shares all that there is of the piece; 0 means that the file ends there.
pub(crate) fn step(piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
    let (Some(from), Some(to)) = (piece.from.at, piece.to.at) else {
        return Err(Errno::OPNOTSUPP.into());
    };
    // A range that reaches behind the end of the file would be refused whole.
    let there = bytes_behind(piece.from.fd, from, &mut report.calls)?;
    let length = piece.len.min(there);
    if length > 0 {
        report.calls.ioctl += 1;
        clone_range(piece.from.fd, from..from + length, piece.to.fd, to)?;
    }
    Ok(length)
}
