//! Page-in: reading into memory, on a thread that may block, the bytes that the next step needs.
//!
//! A page-in that has read its bytes starts read-ahead of as many behind them, so that the disk reads while
//! the socket sends. It reports how far it has read, so that the steps send these bytes without a query
//! of the page cache.
//!
//! # Limitations
//!
//! Where pages do not stay in memory, page-ins of the same part would repeat without end, so the transfer
//! blocks after three of them.

use karez_sys::SharedFd;
use rustix::fs::{Advice, fadvise};
use rustix::io;
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::calls::Calls;
use crate::device::Device;
use crate::direct_read::{DirectRead, ReadRequest};
use crate::interrupted::retry;
use crate::observer;
use crate::offloaded_read::OffloadedRead;
use crate::residency::Moment;
use crate::scratch;

/// The most bytes of one page-in: as many as a step moves with most vias.
pub(crate) const MAX: u64 = 1 << 20;

/// How often the same part is paged in before the transfer blocks.
const MAX_ATTEMPTS: u32 = 3;

/// The bytes of one call of pread(2).
const READ_CHUNK: usize = 128 << 10;

/// The bytes of one call for read-ahead.
const AHEAD_CHUNK: usize = 512 << 10;

/// Reads the bytes that the next step needs and that are not in memory.
pub struct PageIn {
    source: SharedFd,
    range: Range<u64>,
    pending: Option<PendingRead>,
    device: Device,
    attempts: Option<Arc<Attempts>>,
    /// The bytes behind the range that the transfer needs next.
    ahead: u64,
    /// Where the cost is added.
    cost: Option<Arc<PageInCost>>,
}

/// The page-ins of one part of a file, counted on the threads that run them.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    count: AtomicU32,
    /// The offset up to which the last of them has read; 0 if the transfer has taken it.
    read_to: AtomicU64,
    /// When it began: the pages that it read first may be evicted before it ends.
    begun: AtomicU32,
}

/// A read into a buffer of the transfer, instead of into the page cache.
#[derive(Clone, Debug)]
pub(crate) enum PendingRead {
    /// By [`Via::Direct`](crate::Via::Direct), past the page cache.
    Direct(Arc<ReadRequest>),
    /// Of a remote file.
    Offloaded(Arc<OffloadedRead>),
}

impl PendingRead {
    fn range(&self) -> Range<u64> {
        match self {
            Self::Direct(request) => request.range(),
            Self::Offloaded(read) => read.range(),
        }
    }

    fn execute(&self, source: impl AsFd) {
        match self {
            Self::Direct(request) => request.execute(),
            Self::Offloaded(read) => read.execute(source),
        }
    }
}

/// Accumulates the cost of the page-ins of an outbox, from any thread.
#[derive(Debug, Default)]
pub(crate) struct PageInCost(Mutex<(Calls, Duration)>);

impl PageInCost {
    fn add(&self, calls: &Calls, cpu: Duration) {
        let mut cost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cost.0.add(calls);
        cost.1 += cpu;
    }

    /// Returns the system calls and the CPU time so far.
    pub(crate) fn get(&self) -> (Calls, Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PageIn {
    pub(crate) fn new(
        source: SharedFd,
        range: Range<u64>,
        pending: Option<PendingRead>,
        device: Device,
        attempts: Option<Arc<Attempts>>,
    ) -> Self {
        let range = pending.as_ref().map_or(range, PendingRead::range);
        Self { source, range, pending, device, attempts, ahead: 0, cost: None }
    }

    /// Returns the same page-in, which starts read-ahead of so many bytes behind its range.
    pub(crate) fn with_read_ahead(self, ahead: u64) -> Self {
        Self { ahead, ..self }
    }

    /// Returns the same page-in, which adds its cost to `cost`.
    pub(crate) fn with_cost(self, cost: &Arc<PageInCost>) -> Self {
        Self { cost: Some(Arc::clone(cost)), ..self }
    }

    /// Reads the bytes into the page cache, or with [`Via::Direct`](crate::Via::Direct) into a buffer
    /// of the transfer. Blocks until the disk has answered.
    ///
    /// # Errors
    /// As pread(2), above all `EIO`, which the next step of the transfer would return, too. With `direct`
    /// and for a [remote](Device::remote) file only that step returns it.
    pub fn run(&self) -> std::io::Result<()> {
        observer::page_in(self.range.end.saturating_sub(self.range.start), || self.run_counted())
    }

    fn run_counted(&self) -> std::io::Result<()> {
        let Some(cost) = &self.cost else {
            return self.read(&mut Calls::default());
        };
        let (start, mut calls) = (cpu_time(), Calls::default());
        let result = self.read(&mut calls);
        cost.add(&calls, cpu_time().saturating_sub(start));
        result
    }

    /// Counts the calls, except those of a pending read, which the report of the transfer gets.
    fn read(&self, calls: &mut Calls) -> std::io::Result<()> {
        let result = match &self.pending {
            Some(pending) => {
                pending.execute(&*self.source);
                Ok(())
            }
            None => self.read_pages(calls),
        };
        self.count_attempt();
        result
    }

    fn read_pages(&self, calls: &mut Calls) -> std::io::Result<()> {
        let begun = Moment::now();
        let mut at = self.range.start;
        let mut buffer = scratch::take(READ_CHUNK);
        let mut result = Ok(());
        while at < self.range.end {
            let left = usize::try_from(self.range.end - at).unwrap_or(READ_CHUNK).min(READ_CHUNK);
            let read = retry(|| {
                calls.pread64 += 1;
                io::pread(&*self.source, &mut buffer[..left], at)
            });
            match read {
                Ok(0) => break,
                Ok(count) => at += count as u64,
                Err(errno) => {
                    result = Err(errno.into());
                    break;
                }
            }
        }
        scratch::give_back(buffer);
        if let Some(attempts) = &self.attempts {
            attempts.begun.store(begun.to_bits(), Ordering::Relaxed);
            attempts.read_to.store(at, Ordering::Release);
        }
        if at == self.range.end {
            self.read_ahead(calls);
        }
        result
    }

    /// Starts to read the bytes behind the range, without a wait. The kernel limits the length of one call
    /// to a few hundred KiB on some devices.
    fn read_ahead(&self, calls: &mut Calls) {
        for done in (0..self.ahead).step_by(AHEAD_CHUNK) {
            let length = NonZeroU64::new((self.ahead - done).min(AHEAD_CHUNK as u64));
            calls.fadvise64 += 1;
            // Without it the next page-in only takes longer.
            let _refused = fadvise(&*self.source, self.range.end + done, length, Advice::WillNeed);
        }
    }

    /// Takes the read to be made with [`Via::Direct`](crate::Via::Direct), for a caller that can make it
    /// asynchronously and must [finish](Self::finish_direct_read) it. `None` with other vias, and if
    /// another caller already has it.
    #[doc(hidden)]
    #[must_use]
    pub fn direct_read(&self) -> Option<DirectRead> {
        match &self.pending {
            Some(PendingRead::Direct(request)) => request.checkout(),
            _ => None,
        }
    }

    /// Returns a read with its outcome, which is `None` if the read was not made.
    #[doc(hidden)]
    pub fn finish_direct_read(&self, read: DirectRead, outcome: Option<io::Result<usize>>) {
        if let Some(PendingRead::Direct(request)) = &self.pending {
            request.complete(read, outcome, 0);
        }
        if outcome.is_some() {
            self.count_attempt();
        }
    }

    fn count_attempt(&self) {
        if let Some(attempts) = &self.attempts {
            attempts.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the device of the file, as the [settings](crate::Settings::device) give it.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Returns the range of the file to be read.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl fmt::Debug for PageIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageIn").field("range", &self.range).finish_non_exhaustive()
    }
}

/// Counts the page-ins since the last miss at another offset.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    at: Option<u64>,
    attempts: Option<Arc<Attempts>>,
}

impl Retries {
    /// Returns whether the part at this offset has been paged in often enough.
    pub(crate) fn exhausted(&mut self, at: Option<u64>) -> bool {
        if self.at != at {
            *self = Self { at, attempts: None };
        }
        let attempts = self.attempts.get_or_insert_default();
        attempts.count.load(Ordering::Relaxed) >= MAX_ATTEMPTS
    }

    /// Returns the counter of the part that missed last.
    pub(crate) fn attempts(&self) -> Option<Arc<Attempts>> {
        self.attempts.clone()
    }

    /// Takes the range that a page-in has read since the last call, and the moment at which it began. `None` if that was
    /// too long ago: pages that it read first may have been evicted.
    pub(crate) fn take_read(&self, now: Moment) -> Option<(Range<u64>, Moment)> {
        let (start, attempts) = (self.at?, self.attempts.as_ref()?);
        if attempts.read_to.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let end = attempts.read_to.swap(0, Ordering::Acquire);
        let begun = Moment::from_bits(attempts.begun.load(Ordering::Relaxed));
        (end > start && begun.is_valid(now)).then_some((start..end, begun))
    }
}

/// Returns the CPU time of the calling thread.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_that_took_long_is_no_proof() {
        let mut retries = Retries::default();
        assert!(!retries.exhausted(Some(7)));
        let attempts = retries.attempts().unwrap();
        let take = |now: u32| {
            attempts.begun.store(5, Ordering::Relaxed);
            attempts.read_to.store(100, Ordering::Relaxed);
            let taken = retries.take_read(Moment::from_bits(now));
            assert_eq!(retries.take_read(Moment::from_bits(now)), None, "it is taken once");
            taken
        };
        assert_eq!(take(6), Some((7..100, Moment::from_bits(5))));
        assert_eq!(take(1005), None);
    }
}
