//! Falling back to the next via, from the exact byte reached.

use std::io;

use super::Transfer;
use crate::fallback::{self, Ends};
use crate::observer;
use crate::report::{Fallback, Reason};
use crate::settings::CachePolicy;
use crate::step::{Blocked, Descriptors};
use crate::via::{Via, auto};

impl Transfer {
    /// Returns whether another via may do what this one did not. Any other error is the transfer's.
    pub(super) fn falls_back(&self, blocked: Blocked) -> bool {
        let first_use = self.report.bytes == self.started_at;
        match blocked {
            Blocked::Unavailable(_) => true,
            Blocked::Rejected(errno) if first_use => {
                !fallback::is_common_to_all(self.direction, self.report.effective, errno)
                    || fallback::is_unsupported(errno)
            }
            Blocked::Rejected(errno) | Blocked::Failed(errno) => fallback::is_unsupported(errno),
            _ => false,
        }
    }

    /// Falls back to the next via; after the last one the reason is the transfer's error.
    pub(super) fn fall_back(&mut self, reason: Reason, fds: Descriptors<'_>) -> io::Result<()> {
        let (direction, from) = (self.direction, self.report.effective);
        if self.report.cache == CachePolicy::Uncached {
            // If the flag was not the cause, the next attempt returns the same error.
            (self.report.cache, self.report.cache_refused) = (CachePolicy::Drop, reason.errno());
            return Ok(());
        }
        if from == Via::Copy {
            return Err(reason.into());
        }
        let calls = &mut self.report.calls;
        let mut ends = Ends::new(direction, fds);
        let next = auto::next_via(direction, from, &mut ends, calls);
        ends.cache_unsupported(from, reason, calls);
        // Bytes of a stream cannot be read twice.
        let buffered = match self.backend.take() {
            Some(mut backend) if self.cursor.from.is_none() => backend.take_buffered(calls)?,
            backend => {
                self.retired = backend.filter(|backend| !backend.holds_no_user_memory());
                Vec::new()
            }
        };
        self.record_fallback(from, reason, next);
        if let (Some(backend), false) = (&mut self.backend, buffered.is_empty()) {
            backend.put_buffered(buffered);
        }
        Ok(())
    }

    /// Records the fallback in the report, and sets the next via up.
    pub(super) fn record_fallback(&mut self, from: Via, reason: Reason, to: Via) {
        let after = self.report.bytes;
        self.report.fallbacks.push(Fallback { from, reason, after });
        observer::fell_back(from, to);
        if self.report.cache == CachePolicy::Direct {
            self.report.cache = CachePolicy::Drop;
        }
        self.switch_to(to);
    }

    /// Records once that the bytes are sealed and are therefore read, whatever via was requested.
    pub(crate) fn note_sealed(&mut self) {
        let report = &mut self.report;
        let noted = report.fallbacks.iter().any(|fallback| fallback.reason == Reason::Sealed);
        if !noted && !matches!(report.requested, Via::Auto | Via::Copy) {
            let (from, after) = (report.requested, report.bytes);
            report.fallbacks.push(Fallback { from, reason: Reason::Sealed, after });
            observer::fell_back(from, Via::Copy);
        }
    }
}
