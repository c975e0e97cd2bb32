//! `FICLONERANGE`: the two files share their extents until one of them is written to.
//!
//! ioctl_ficlonerange(2), Linux 4.5 (as an ioctl of btrfs 2.6.29). No byte moves, so it costs the
//! same for a kilobyte as for a terabyte.
//!
//! # Limitations
//!
//! Few file systems have it, and both files must be on the same one. A range must begin and end at
//! block boundaries, unless it ends where the file does. The first write to a shared block is more
//! expensive.

use karez_sys::clone_range;

use crate::backend::Backend;
use crate::report::Report;
use crate::step::{Blocked, Request};
use crate::window::bytes_behind;

#[derive(Debug)]
pub(crate) struct Reflink;

impl Backend for Reflink {
    /// Shares the whole range in one call.
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let (from, to) = (request.source_offset()?, request.sink_offset()?);
        // The kernel refuses a range that reaches behind the end of the file.
        let there = bytes_behind(request.from.fd, from, &mut report.calls)?;
        let length = request.len.min(there);
        if length > 0 {
            report.calls.ioctl += 1;
            clone_range(request.from.fd, from..from + length, request.to.fd, to)?;
        }
        Ok(length)
    }

    fn chunk(&self) -> u64 {
        u64::MAX
    }

    fn reads_pages(&self) -> bool {
        false
    }
}
