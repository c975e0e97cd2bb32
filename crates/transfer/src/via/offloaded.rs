//! `copy` whose reads are all made by a worker thread, for files on a
//! [remote](crate::Device::remote) file system. It is not a via of its own.

use std::ops::Range;
use std::sync::Arc;

use crate::backend::Backend;
use crate::calls::Calls;
use crate::endpoint_io;
use crate::offloaded_read::OffloadedRead;
use crate::page_in::PendingRead;
use crate::report::Report;
use crate::step::{Blocked, Request};
use crate::via::copy::front;

/// The most bytes of one read.
const CHUNK: u64 = 128 << 10;

/// Sends the bytes that a worker has read, and requests the next read.
#[derive(Debug, Default)]
pub(crate) struct OffloadedReads {
    filled: Option<(Vec<u8>, Range<usize>)>,
    read: Option<Arc<OffloadedRead>>,
}

impl Backend for OffloadedReads {
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let calls = &mut report.calls;
        let (bytes, mut unsent) = match self.filled.take() {
            Some(filled) => filled,
            None => self.take_read(request, calls)?,
        };
        if unsent.is_empty() {
            return Ok(0);
        }
        let part = front(&unsent, request);
        request.verify(part.len(), calls)?;
        let moved = endpoint_io::write(request, &bytes[part], calls);
        unsent.start += moved.unwrap_or(0);
        if !unsent.is_empty() {
            self.filled = Some((bytes, unsent));
        }
        moved.map(|moved| moved as u64)
    }

    fn chunk(&self) -> u64 {
        CHUNK
    }

    fn reads_pages(&self) -> bool {
        false
    }

    fn verifies(&self) -> bool {
        true
    }

    fn pending_read(&self) -> Option<PendingRead> {
        self.read.clone().map(PendingRead::Offloaded)
    }
}

impl OffloadedReads {
    fn take_read(
        &mut self,
        request: Request<'_>,
        calls: &mut Calls,
    ) -> Result<(Vec<u8>, Range<usize>), Blocked> {
        let at = request.source_offset()?;
        let read = self.read.take().filter(|read| read.is_at(at));
        if let Some(result) = read.as_ref().and_then(|read| read.take_result()) {
            calls.pread64 += result.calls;
            let bytes = result.bytes?;
            let unsent = 0..bytes.len();
            return Ok((bytes, unsent));
        }
        let read = read.unwrap_or_else(|| Arc::new(OffloadedRead::new(at, request.count())));
        if !request.report_misses {
            // This thread may block.
            read.execute(request.from.fd);
            self.read = Some(read);
            return self.take_read(request, calls);
        }
        self.read = Some(read);
        Err(Blocked::Miss)
    }
}
