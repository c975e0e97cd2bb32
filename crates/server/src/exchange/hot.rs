//! The hot files as an exchange sees them: each lookup is accounted to its request.

use std::time::Instant;

use crate::cost::RequestCost;
use crate::metrics::FileSource;
use crate::site::{Hit, HotFiles, LookupResult, ResourceRequest, Site, SyscallCounts};

/// The hot files of the event loop, if it has some.
pub(crate) struct Hot<'a> {
    pub(crate) files: Option<&'a mut HotFiles>,
    /// The [epoch](karez_reactor::Io::epoch) of what was received last.
    pub(crate) epoch: u64,
    /// See [`Io::defer`](karez_reactor::Io::defer).
    pub(crate) may_defer: bool,
}

impl Hot<'_> {
    /// Returns whether the watches have to be polled for a resource, and asks to wait for that until the
    /// other connections have received.
    pub(super) fn defers(&mut self, site: &Site, resource: &ResourceRequest) -> bool {
        let polls = |files: &mut &mut HotFiles| files.has_to_poll(site, resource, self.epoch);
        self.may_defer && self.files.as_mut().is_some_and(polls)
    }

    pub(super) fn find(
        &mut self,
        site: &Site,
        request: &ResourceRequest,
        cost: Option<&mut RequestCost>,
        now: Instant,
    ) -> Option<Hit> {
        let epoch = self.epoch;
        let files = self.files.as_deref_mut()?;
        let found = match cost {
            None => files.find(site, request, epoch, now).ok(),
            Some(cost) => {
                let before = SyscallCounts::of_this_thread();
                let found = files.find(site, request, epoch, now);
                cost.looked_up(before, found.as_ref().err().copied().flatten());
                found.ok()
            }
        };
        if let (Some(Hit::File(..)), Some(metrics)) = (&found, site.metrics()) {
            metrics.found(FileSource::Hot);
        }
        found
    }

    pub(super) fn keep(
        &mut self,
        site: &Site,
        request: &ResourceRequest,
        found: &LookupResult,
        now: Instant,
    ) {
        if let Some(files) = &mut self.files {
            files.keep(site, request, found, now);
        }
    }
}
