//! The ledger of an outbox: the report of each file that left, and what was done besides.
//!
//! It is kept for whoever asks ([`Outbox::keep_ledger`](crate::Outbox::keep_ledger)); an outbox
//! without one only finds that it has none.
//!
//! What it does badly: a `send(2)` that a signal interrupted is counted once, and what the kernel
//! does later on (retransmissions, read-ahead) is nobody's.

use std::sync::Arc;
use std::time::Duration;

use crate::report::{Calls, Report};
use crate::residency::Warmth;

/// What an outbox did.
#[derive(Debug, Default)]
pub struct Ledger {
    pub(crate) reports: Vec<Report>,
    pub(crate) sends: u64,
    pub(crate) operations: u64,
    pub(crate) warmth: Arc<Warmth>,
}

impl Ledger {
    /// A report for each file that has begun to leave, in their order.
    #[must_use]
    pub fn into_reports(self) -> Vec<Report> {
        self.reports
    }

    /// All system calls by name: those of the files, of the memory between them, and of whoever
    /// [warmed](crate::ColdPart::warm) what was cold.
    #[must_use]
    pub fn calls(&self) -> Calls {
        let mut calls = Calls::default();
        for report in &self.reports {
            calls.add(&report.calls);
        }
        calls.sendto += self.sends;
        calls.pread64 += self.warmth.reads();
        calls
    }

    /// Operations that were handed to a model that moves portions by itself.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// CPU time of whoever warmed what was cold (`CLOCK_THREAD_CPUTIME_ID`, clock_gettime(2)).
    #[must_use]
    pub fn warming(&self) -> Duration {
        self.warmth.cpu()
    }
}
