//! A part of a file that is read and passed to hyper as memory: where the body is not attached to a
//! socket, and where the part is so small that passing pages would cost more.
//!
//! Bytes in the page cache are read at once (`RWF_NOWAIT`, preadv2(2), Linux 4.14); the blocking pool
//! reads the others.
//!
//! # Limitations
//!
//! It copies twice, like any other body of memory.

use bytes::Bytes;
use karez_transfer::{Direction, Fallback, Reason, Report, SharedFile, Truncated, Via};
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, pread, preadv2};
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::report::Observer;

/// The most bytes of one read.
const CHUNK: u64 = 128 << 10;

/// The remaining part of a file.
#[derive(Debug)]
pub(crate) struct Reader {
    file: SharedFile,
    range: Range<u64>,
    report: Report,
    observer: Observer,
    reading: Option<JoinHandle<rustix::io::Result<Vec<u8>>>>,
    /// The file system refuses `RWF_NOWAIT`.
    pool_only: bool,
}

impl Reader {
    /// Reads the bytes `range`; `reason` says why no other via runs.
    pub(crate) fn new(
        file: SharedFile,
        range: Range<u64>,
        (via, reason): (Via, Option<Reason>),
        observer: Observer,
    ) -> Self {
        let mut report = Report::new(Direction::FileToSocket, via);
        report.effective = Via::Copy;
        if let Some(reason) = reason.filter(|_| via != Via::Copy) {
            report.fallbacks.push(Fallback::new(via, reason, 0));
        }
        Self { file, range, report, observer, reading: None, pool_only: false }
    }

    pub(crate) fn remaining(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Reads the next bytes; at least one.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let count = usize::try_from(self.remaining().min(CHUNK)).unwrap_or(0);
        let mut bytes = Vec::new();
        if self.reading.is_none() && !self.pool_only {
            bytes = vec![0; count];
            match self.read_cached(&mut bytes) {
                Ok(read) => bytes.truncate(read),
                Err(Errno::AGAIN | Errno::INTR) => bytes.clear(),
                Err(_) => (bytes, self.pool_only) = (Vec::new(), true),
            }
        }
        if bytes.is_empty() {
            bytes = ready!(self.poll_pool(count, context))?;
        }
        if bytes.is_empty() {
            return Poll::Ready(Err(Truncated::new(self.remaining()).into()));
        }
        self.range.start += bytes.len() as u64;
        self.report.bytes += bytes.len() as u64;
        Poll::Ready(Ok(bytes.into()))
    }

    fn read_cached(&mut self, bytes: &mut [u8]) -> rustix::io::Result<usize> {
        self.report.calls.preadv2 += 1;
        let buffers = &mut [IoSliceMut::new(bytes)];
        preadv2(&self.file, buffers, self.range.start, ReadWriteFlags::NOWAIT)
    }

    /// Reads in the blocking pool.
    fn poll_pool(&mut self, count: usize, context: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let reading = match &mut self.reading {
            Some(reading) => reading,
            empty => {
                let runtime = Handle::try_current().map_err(io::Error::other)?;
                let (file, at) = (self.file.clone(), self.range.start);
                self.report.calls.pread64 += 1;
                empty.insert(runtime.spawn_blocking(move || read(&file, at, count)))
            }
        };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        Poll::Ready(read.map_err(io::Error::other)?.map_err(io::Error::from))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.observer.report(&self.report);
    }
}

fn read(file: &SharedFile, at: u64, count: usize) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let read = loop {
        match pread(file, &mut bytes[..], at) {
            Err(Errno::INTR) => {}
            read => break read?,
        }
    };
    bytes.truncate(read);
    Ok(bytes)
}
