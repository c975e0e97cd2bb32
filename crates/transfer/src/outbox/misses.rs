//! Statistics of an outbox, the via of its last file, and its treatment of page-cache misses.

use super::segment::Segment;
use super::{Outbox, ReportMisses};
use crate::file_to_socket::FileToSocket;
use crate::page_in::PageIn;
use crate::stats::OutboxStats;
use crate::via::Via;

impl Outbox {
    /// Enables [statistics](OutboxStats) from now on.
    pub fn enable_stats(&mut self) {
        self.stats.get_or_insert_default();
    }

    /// Ends the statistics and returns them, if they were enabled. Unfinished files are included, except
    /// those of [units](Self::open_file), which are included when they are closed.
    pub fn take_stats(&mut self) -> Option<OutboxStats> {
        let mut stats = *self.stats.take()?;
        let files = self.queue.segments.iter().filter_map(|segment| match segment {
            Segment::File(file) if file.has_started() => Some(file.report().clone()),
            _ => None,
        });
        stats.reports.extend(files);
        Some(stats)
    }

    /// Returns the via that moved the last bytes of a file since the last call; `None` if no file was sent.
    /// It is known without statistics.
    pub fn take_via(&mut self) -> Option<Via> {
        let ended = self.via.take();
        let front = self.queue.segments.iter().find_map(|segment| match segment {
            Segment::File(file) if file.has_started() => Some(file.report().effective),
            _ => None,
        });
        front.or(ended)
    }

    /// Counts operations of an event loop that moves chunks itself, if statistics are enabled.
    #[doc(hidden)]
    pub fn count_operations(&mut self, count: u64) {
        if let Some(stats) = &mut self.stats {
            stats.operations += count;
        }
    }

    /// Counts calls of send(2), if statistics are enabled.
    pub(super) fn count_sends(&mut self, count: u64) {
        if let Some(stats) = &mut self.stats {
            stats.sends.sendto += count;
        }
    }

    /// Returns, after [`Progress::NeedsWorker`](crate::Progress::NeedsWorker), the page-in for the next
    /// step.
    #[must_use]
    pub fn page_in(&self) -> Option<PageIn> {
        let page_in = match self.queue.segments.iter().find(|segment| segment.is_of_file())? {
            Segment::File(transfer) => transfer.page_in(),
            Segment::Unit(unit) => self.queue.files.get(unit.file)?.page_in(),
            _ => return None,
        };
        Some(self.with_cost(page_in))
    }

    /// Returns the same page-in, whose cost is added to the statistics, if they are enabled.
    pub(super) fn with_cost(&self, page_in: PageIn) -> PageIn {
        match &self.stats {
            Some(stats) => page_in.with_cost(&stats.page_ins),
            None => page_in,
        }
    }

    /// Makes steps report a page-cache miss
    /// ([`Progress::NeedsWorker`](crate::Progress::NeedsWorker)), also for files appended later.
    pub fn report_misses(&mut self) {
        self.misses = ReportMisses::All;
        self.transfers().for_each(FileToSocket::report_misses);
    }

    /// Makes steps report each read that bypasses the page cache ([`Via::Direct`]), for an event loop that
    /// can make only those itself.
    pub fn report_direct_misses(&mut self) {
        self.misses = ReportMisses::Direct;
        let direct = |file: &&mut FileToSocket| file.requested() == Via::Direct;
        self.transfers().filter(direct).for_each(FileToSocket::report_misses);
    }

    /// Makes steps report reads of files whose file system may [never answer](crate::Device::remote).
    pub fn report_remote_misses(&mut self) {
        self.remote_misses = true;
        self.transfers().filter(|file| file.is_remote()).for_each(FileToSocket::report_misses);
    }

    /// Makes steps of the queued files block on a page-cache miss again, for a caller that may block or
    /// whose [page-in](PageIn::run) has failed.
    pub fn block_on_misses(&mut self) {
        self.transfers().for_each(FileToSocket::block_on_misses);
    }

    pub(super) fn transfers(&mut self) -> impl Iterator<Item = &mut FileToSocket> {
        self.queue.get_mut().into_iter().flat_map(|queue| {
            let queued = queue.segments.iter_mut().filter_map(|segment| match segment {
                Segment::File(transfer) => Some(&mut **transfer),
                _ => None,
            });
            queued.chain(queue.files.iter_mut())
        })
    }
}
