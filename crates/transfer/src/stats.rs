//! The statistics of an outbox: a report for each file, and the system calls between files.
//!
//! They are off until [`Outbox::enable_stats`](crate::Outbox::enable_stats).
//!
//! # Limitations
//!
//! Work that the kernel does later (retransmissions, read-ahead) is not counted.

use std::sync::Arc;
use std::time::Duration;

use crate::calls::Calls;
use crate::page_in::PageInCost;
use crate::report::Report;

/// Counts the work of an outbox.
#[derive(Debug, Default)]
pub struct OutboxStats {
    pub(crate) reports: Vec<Report>,
    /// The calls that send memory.
    pub(crate) sends: Calls,
    pub(crate) operations: u64,
    pub(crate) page_ins: Arc<PageInCost>,
}

impl OutboxStats {
    /// Returns a report for each file that has been started, in their order.
    #[must_use]
    pub fn into_reports(self) -> Vec<Report> {
        self.reports
    }

    /// Returns all system calls by name: those of the files, of the memory between them, and of the
    /// [page-ins](crate::PageIn::run).
    #[must_use]
    pub fn calls(&self) -> Calls {
        let mut calls = self.sends;
        for report in &self.reports {
            calls.add(&report.calls);
        }
        calls.add(&self.page_ins.get().0);
        calls
    }

    /// Returns the number of operations of an event loop that moves chunks itself.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Returns the CPU time of the page-ins (`CLOCK_THREAD_CPUTIME_ID`, clock_gettime(2)).
    #[must_use]
    pub fn page_in_cpu(&self) -> Duration {
        self.page_ins.get().1
    }
}
