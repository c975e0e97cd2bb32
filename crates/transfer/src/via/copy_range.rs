//! `copy_file_range(2)`: the file system copies by itself, or shares extents, or has its server
//! do it.
//!
//! Linux 4.5; across file systems of one type 5.3; across different types `EXDEV` again since 5.19.
//!
//! # Limitations
//!
//! It does not report whether it copied or shared. If the file system has no implementation of its own,
//! the kernel splices, and the CPU copies. It takes no file that is open for appending. For files that
//! are generated as they are read (as in /proc) some kernels return 0 and copy nothing, so every 0 is
//! checked by a read.

use crate::backend::Backend;
use crate::report::Report;
use crate::step::{Blocked, Request};

/// The most bytes of one call, which only a fatal signal interrupts.
const CHUNK: u64 = 16 << 20;

#[derive(Debug)]
pub(crate) struct CopyRange;

impl Backend for CopyRange {
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let (mut from, mut to) = (request.source_offset()?, request.sink_offset()?);
        report.calls.copy_file_range += 1;
        let (source, sink) = (request.from.fd, request.to.fd);
        let count = request.count();
        let moved =
            rustix::fs::copy_file_range(source, Some(&mut from), sink, Some(&mut to), count)?;
        Ok(moved as u64)
    }

    fn chunk(&self) -> u64 {
        CHUNK
    }
}
