//! The state that all threads of one copy share.

use rustix::fs::fstat;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use crate::created::{Created, WrittenInPlace};
use crate::error::Error;
use crate::hard_links::HardLinks;
use crate::name::Name;
use crate::observer::Observer;
use crate::options::Options;
use crate::summary::Summary;
use crate::sync::{SyncBatch, Synced};

/// The options, the observer and the tables of one call of [`copy`](crate::copy()).
pub(crate) struct Context<'a> {
    pub(crate) options: &'a Options,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) hard_links: Mutex<HardLinks>,
    pub(crate) written: WrittenInPlace,
    /// Only where there are several sources.
    pub(crate) created: Option<Created>,
    pub(crate) batch: SyncBatch,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        options: &'a Options,
        observer: &'a dyn Observer,
        created: Option<Created>,
    ) -> Self {
        Self {
            options,
            observer,
            hard_links: Mutex::default(),
            written: WrittenInPlace::default(),
            created,
            batch: SyncBatch::default(),
        }
    }

    /// Counts a failure and reports it to the observer. A stop is not reported: the observer asked
    /// for it.
    pub(crate) fn record(&self, outcome: Result<(), Error>, summary: &mut Summary) {
        match outcome {
            Ok(()) | Err(Error::Stopped) => {}
            Err(error) => {
                summary.failed += 1;
                self.observer.failed(&error);
            }
        }
    }

    /// Returns [`Error::Stopped`] if the observer asks for a stop.
    pub(crate) fn check_stop(&self) -> Result<(), Error> {
        if self.observer.should_stop() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Adds a file that has its final name to the batch of files to synchronize.
    pub(crate) fn sync_file(&self, file: &Arc<OwnedFd>, to: Name<'_>, summary: &mut Summary) {
        let size = fstat(file).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        let synced = self.batch.add_file(file, size, to.path(), &|| self.check_stop());
        self.record_synced(synced, summary);
    }

    /// Synchronizes every file and directory that still waits.
    pub(crate) fn sync_rest(&self, summary: &mut Summary) {
        let synced = self.batch.flush(&|| self.check_stop());
        self.record_synced(synced, summary);
    }

    pub(crate) fn record_synced(&self, synced: Synced, summary: &mut Summary) {
        summary.synced += synced.count;
        synced.errors.into_iter().for_each(|error| self.record(Err(error), summary));
    }
}
