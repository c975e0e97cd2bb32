//! The bytes that a step can send without waiting for the disk, and the page-in of those that it cannot.
//!
//! # Limitations
//!
//! A proof counts for a second, that of a page-in from its begin on. Pages that are evicted in between block the step
//! that sends them, which is rare: the kernel evicts the pages first that were used least recently.

use karez_sys::SharedFd;
use rustix::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::Transfer;
use crate::page_cache::resident;
use crate::page_in::{self, PageIn};
use crate::residency::{Moment, Proof, Residency};
use crate::settings::CachePolicy;

impl Transfer {
    /// Shares the memory of parts of the file that are in memory.
    pub(crate) fn set_residency(&mut self, residency: Arc<Residency>) {
        self.residency = Some(residency);
    }

    /// Returns how many of the `len` bytes from `at` are in memory: by a page-in that has read them, by
    /// an earlier query, or by a new one.
    pub(super) fn ready_bytes(
        &mut self,
        file: BorrowedFd<'_>,
        at: u64,
        len: u64,
    ) -> io::Result<u64> {
        let now = Moment::now();
        if let Some((read, begun)) = self.retries.take_read(now) {
            if let Some(residency) = &self.residency {
                residency.note(&read, begun);
            }
            self.proof = Proof::new(read, begun);
        }
        let proven = self.proof.bytes_from(at, now);
        if proven > 0 {
            return Ok(proven.min(len));
        }
        let (device, calls) = (self.settings.device, &mut self.report.calls);
        let range = at..at.saturating_add(len);
        if let Some(residency) = &self.residency {
            if residency.covers(&range, now) {
                return Ok(len);
            }
            let whole = residency.whole_parts(&range);
            let length = whole.end - whole.start;
            if resident(file, (whole.start, length), device, calls)? == length {
                residency.note(&whole, now);
                self.proof = Proof::new(whole, now);
                return Ok(len);
            }
        }
        let ready = resident(file, (at, len), device, calls)?;
        self.proof = Proof::new(at..at.saturating_add(ready), now);
        Ok(ready)
    }

    /// Returns the page-in for which the last step would have had to block.
    pub(crate) fn page_in(&self, source: &SharedFd) -> PageIn {
        let (start, remaining) = (self.cursor.from.unwrap_or(0), self.cursor.remaining);
        let range = start..start.saturating_add(remaining.min(page_in::MAX));
        let pending = self.backend.as_ref().and_then(|backend| backend.pending_read());
        // A read that bypasses the page cache has no use for read-ahead.
        let ahead = match self.report.cache {
            CachePolicy::Uncached | CachePolicy::Direct => 0,
            _ if pending.is_some() => 0,
            _ => (remaining - remaining.min(page_in::MAX)).min(page_in::MAX),
        };
        let (device, attempts) = (self.settings.device, self.retries.attempts());
        PageIn::new(Arc::clone(source), range, pending, device, attempts).with_read_ahead(ahead)
    }
}
