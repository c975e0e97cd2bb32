//! The place of a connection among those of its address.

use super::Connection;
use crate::address_limits::connections::Verdict;

impl Connection {
    /// Counts the connection for its address, unless that is a proxy with many clients.
    pub(super) fn count(&mut self) {
        let address = self.address.map(|address| address.ip());
        if !self.context.proxies.trust(address) {
            let counted = self.context.limits.count(address);
            counted.into_iter().for_each(|counted| self.admission.set_counted(counted));
        }
    }

    /// Returns whether the connection is within the limit.
    pub(super) fn verdict(&self) -> Verdict {
        self.admission.verdict()
    }
}
