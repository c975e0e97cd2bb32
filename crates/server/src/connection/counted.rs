//! The place of a connection among those of its address.

use karez_reactor::Io;

use super::Connection;
use crate::address_limits::connections::Verdict;
use crate::job::FileJob;

impl Connection {
    /// Counts the connection for its address, unless that is a proxy with many clients.
    pub(super) fn count(&mut self) {
        let address = self.address.map(|address| address.ip());
        if !self.context.proxies.trust(address) {
            let counted = self.context.limits.count(address);
            counted.into_iter().for_each(|counted| self.admission.set_counted(counted));
        }
    }

    /// Paces the connection by its part of the rate of its address, unless that is a proxy with many clients.
    pub(super) fn pace(&mut self, io: &mut Io<'_, FileJob>) {
        let address = self.address.map(|address| address.ip());
        if self.admission.has_share() || self.context.proxies.trust(address) {
            return;
        }
        if let Some(share) = self.context.limits.share(address) {
            share.share().into_iter().for_each(|share| io.pace(share));
            self.admission.set_share(share);
        }
    }

    /// Returns whether the connection is within the limit.
    pub(super) fn verdict(&self) -> Verdict {
        self.admission.verdict()
    }
}
