//! `O_DIRECT`: the disk writes into a buffer of the transfer and bypasses the page cache.
//!
//! open(2), since Linux 2.4.10; alignment by `STATX_DIOALIGN` (statx(2), 6.1), before that 4 KiB.
//! It suits files that are read once and would only evict others from the cache. On the way to a file,
//! the blocks are written past the cache, too, if that file system supports it.
//!
//! A peer that has closed the connection is `EPIPE` without SIGPIPE (`MSG_NOSIGNAL`).
//!
//! # Limitations
//!
//! Every read waits for the disk, even if the file is in the cache, so a step that must not block
//! reports each of them. Offsets, lengths and addresses must be aligned, so the head and the tail of a
//! range are read together with unwanted bytes, and written through the cache. The flag belongs to the
//! open file, which may be shared, so a second descriptor is opened through `/proc/self/fd`. Not every
//! file system supports `O_DIRECT`; then the transfer falls back, as it does for a sink that is open
//! for appending, because the second descriptor would overwrite.

use rustix::fs::OFlags;
use rustix::io::{self, Errno};
use std::ops::Range;
use std::sync::Arc;

use crate::aligned::{ALIGNMENT, Aligned};
use crate::backend::Backend;
use crate::calls::Calls;
use crate::direct_file::{DirectFile, Filled};
use crate::direct_read::ReadRequest;
use crate::endpoint_io;
use crate::page_in::PendingRead;
use crate::reopen::appends;
use crate::report::Report;
use crate::step::{Blocked, Request};
use crate::via::copy::front;

/// The bytes of one read: enough for a disk to stream.
const CHUNK: u64 = 512 << 10;

/// The second descriptors, and the bytes that have been read and not moved on.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    from: Option<Arc<DirectFile>>,
    to: DirectSink,
    filled: Option<Filled>,
    request: Option<Arc<ReadRequest>>,
}

/// How the sink file is written.
#[derive(Debug, Default)]
enum DirectSink {
    #[default]
    Unknown,
    Direct(DirectFile),
    /// Through the page cache.
    Cached,
}

impl Backend for Direct {
    /// Writes the bytes in the buffer first.
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let calls = &mut report.calls;
        let (buffer, mut unsent) = match self.filled.take() {
            Some(filled) => filled,
            None => self.fill(request, calls)?,
        };
        if unsent.is_empty() {
            buffer.give_back();
            return Ok(0);
        }
        let part = front(&unsent, request);
        if let Err(changed) = request.verify(part.len(), calls) {
            buffer.give_back();
            return Err(changed);
        }
        let moved = self.drain(request, &buffer, part, calls);
        unsent.start += moved.unwrap_or(0);
        if unsent.is_empty() {
            buffer.give_back();
        } else {
            self.filled = Some((buffer, unsent));
        }
        moved.map(|moved| moved as u64)
    }

    fn chunk(&self) -> u64 {
        CHUNK
    }

    /// It reports each read itself.
    fn reads_pages(&self) -> bool {
        false
    }

    fn verifies(&self) -> bool {
        true
    }

    fn pending_read(&self) -> Option<PendingRead> {
        self.request.clone().map(PendingRead::Direct)
    }
}

impl Direct {
    /// Reads from the disk, or takes the result of a finished request.
    fn fill(&mut self, request: Request<'_>, calls: &mut Calls) -> Result<Filled, Blocked> {
        let at = request.source_offset()?;
        let from = match &self.from {
            Some(from) => Arc::clone(from),
            None => {
                let opened = DirectFile::open(request.from.fd, OFlags::RDONLY, calls);
                Arc::new(opened.map_err(Blocked::Unavailable)?)
            }
        };
        self.from = Some(Arc::clone(&from));
        let read = self.request.take().filter(|read| read.is_at(at));
        if let Some(result) = read.as_ref().and_then(|read| read.take_result()) {
            calls.pread64 += result.calls;
            return Ok(result.outcome?);
        }
        if request.report_misses {
            self.request = read.or_else(|| Some(ReadRequest::new(from, at, request.count())));
            return Err(Blocked::Miss);
        }
        calls.pread64 += 1;
        Ok(from.read(at, request.count())?)
    }

    /// Writes bytes of the buffer to the sink.
    fn drain(
        &mut self,
        request: Request<'_>,
        buffer: &Aligned,
        unsent: Range<usize>,
        calls: &mut Calls,
    ) -> Result<usize, Blocked> {
        let Some(at) = request.to.at else {
            return endpoint_io::write(request, &buffer.bytes()[unsent], calls);
        };
        let may_have_blocks = at.is_multiple_of(ALIGNMENT as u64) && unsent.len() >= ALIGNMENT;
        if matches!(self.to, DirectSink::Unknown) && may_have_blocks {
            self.to = match DirectFile::open(request.to.fd, OFlags::WRONLY, calls) {
                Ok(opened) => DirectSink::Direct(opened),
                // A cached write appends, which is left to `copy` for all of the bytes.
                Err(reason) if appends(request.to.fd, calls) => {
                    return Err(Blocked::Unavailable(reason));
                }
                Err(_) => DirectSink::Cached,
            };
        }
        if let DirectSink::Direct(to) = &self.to
            && let Some(blocks) = to.whole_blocks(at, buffer.alignment, &unsent)
        {
            calls.pwrite64 += 1;
            match io::pwrite(&to.file, &buffer.bytes()[blocks], at) {
                Err(Errno::INVAL | Errno::OPNOTSUPP) => self.to = DirectSink::Cached,
                written => return Ok(written?),
            }
        }
        endpoint_io::write(request, &buffer.bytes()[unsent], calls)
    }
}
