//! Copy on write: a private mapping in which parts are edited.
//!
//! `mmap(2)` with `MAP_PRIVATE`, since Linux 2.0. The kernel copies the pages that an edit touches; all
//! other pages are sent from the page cache. The file and its cached pages stay unchanged.
//! The kernel makes the edits (see `karez_sys::PrivateMapping`), so a file that is truncated
//! meanwhile is `EFAULT` and never SIGBUS. A peer that has closed the connection is `EPIPE` without
//! SIGPIPE (`MSG_NOSIGNAL`).
//!
//! # Limitations
//!
//! Those of [`mmap`](super::mmap); and each edit costs a pipe, two calls, a page fault and a page.

use karez_sys::{PrivateMapping, page_size};
use rustix::io;
use rustix::net::SendFlags;

use super::mmap::send_chunk;
use crate::backend::Backend;
use crate::edit::Edit;
use crate::report::{Reason, Report};
use crate::step::{Blocked, Request};
use crate::window::{Window, bytes_behind};

/// The part of the file that is mapped and edited.
#[derive(Debug, Default)]
pub(crate) struct Cow {
    window: Window<PrivateMapping>,
}

impl Backend for Cow {
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let (from, offset) = (request.from.fd, request.source_offset()?);
        let there = bytes_behind(from, offset, &mut report.calls)?;
        if there == 0 {
            return Ok(0);
        }
        let window = self.window.over(offset, request.len, drop, |start, length| {
            report.calls.mmap += 1;
            let mut mapping = PrivateMapping::of(from, start, length)?;
            report.calls.madvise += 1;
            edit(&mut mapping, request.edits, start, length, report)?;
            Ok(mapping)
        });
        let unavailable = |errno| Blocked::Unavailable(Reason::Errno(errno));
        let (mapping, part) = window.map_err(unavailable)?;
        let mapping = mapping.as_mapping();
        send_chunk(mapping, part, there, request, SendFlags::empty(), &mut report.calls)
    }
}

/// Applies the edits within a mapping of the file from `start`, and counts the copied pages.
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
