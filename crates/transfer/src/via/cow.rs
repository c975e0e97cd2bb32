//! A private mapping in which parts are edited: copy on write.
//!
//! `mmap(2)` with `MAP_PRIVATE`, since Linux 2.0. The pages that an edit touches are copied and
//! changed; all others go out from the page cache. The file and its cached pages stay as they are.
//! The edits are made by the kernel (see `karez_sys::PrivateMapping`), so a file that is cut off
//! meanwhile is `EFAULT` and never SIGBUS. A peer that has closed the connection is `EPIPE` without
//! SIGPIPE (`MSG_NOSIGNAL`).
//!
//! What it does badly: all that `mmap` does, and each edit costs a pipe, two calls, a fault and a
//! page.

use karez_sys::{PrivateMapping, page_size};
use rustix::io::{self, Errno};
use rustix::net::SendFlags;

use super::mmap::deliver;
use crate::report::Report;
use crate::step::{Edit, Piece, Stop};
use crate::window::{Window, bytes_behind};

/// The part of the file that is mapped and edited.
#[derive(Debug, Default)]
pub(crate) struct Cow {
    window: Window<PrivateMapping>,
}

impl Cow {
    /// Moves up to a chunk; 0 means that the file ends there.
    pub(crate) fn step(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        let (from, offset) = (piece.from.fd, piece.from.at.ok_or(Errno::OPNOTSUPP)?);
        let there = bytes_behind(from, offset, &mut report.calls)?;
        if there == 0 {
            return Ok(0);
        }
        let window = self.window.over(offset, piece.len, drop, |start, length| {
            report.calls.mmap += 1;
            let mut mapping = PrivateMapping::of(from, start, length)?;
            report.calls.madvise += 1;
            edit(&mut mapping, piece.edits, start, length, report)?;
            Ok(mapping)
        });
        let (mapping, part) = window.map_err(Stop::Unavailable)?;
        let mapping = mapping.as_mapping();
        deliver(mapping, part, there, piece, SendFlags::empty(), &mut report.calls)
    }
}

/// Makes the edits that fall into a mapping of the file from `start`, and counts the pages touched.
fn edit(
    mapping: &mut PrivateMapping,
    edits: &[Edit],
    start: u64,
    length: usize,
    report: &mut Report,
) -> io::Result<()> {
    let first = edits.partition_point(|edit| edit.offset + edit.bytes.len() as u64 <= start);
    let mut counted = None;
    let end = start + length as u64;
    for edit in edits[first..].iter().take_while(|edit| edit.offset < end) {
        let Some((at, bytes)) = edit.within(start, length) else {
            continue; // an edit without bytes
        };
        let pieces = mapping.edit(at, bytes)? as u64;
        report.calls.pipe2 += 1;
        report.calls.write += pieces;
        report.calls.read += pieces;
        let pages = at / page_size()..(at + bytes.len() - 1) / page_size() + 1;
        let fresh = pages.start.max(counted.unwrap_or(0))..pages.end;
        report.pages_copied += fresh.len() as u64;
        counted = Some(pages.end);
    }
    Ok(())
}
