//! What a connection has only behind a proxy or under a limit, in one allocation, so that others are small.

use std::time::Instant;

use crate::address_limits::bytes::AddressShare;
use crate::address_limits::connections::{CountedConnection, Verdict};

/// The header of a proxy, the place among the connections of an address, and the part of its rate.
#[derive(Default)]
pub(super) struct Admission(Option<Box<Parts>>);

#[derive(Default)]
struct Parts {
    header: Option<ProxyHeader>,
    counted: Option<CountedConnection>,
    share: Option<AddressShare>,
}

/// A header of the PROXY protocol that has not been received completely.
pub(super) struct ProxyHeader {
    pub(super) bytes: Vec<u8>,
    /// When it must be complete.
    pub(super) due: Instant,
}

impl Admission {
    /// Takes the header that has to be received.
    pub(super) fn take_header(&mut self) -> Option<ProxyHeader> {
        self.0.as_mut()?.header.take()
    }

    /// Sets the header that has to be received.
    pub(super) fn set_header(&mut self, header: ProxyHeader) {
        self.0.get_or_insert_default().header = Some(header);
    }

    pub(super) fn set_counted(&mut self, counted: CountedConnection) {
        self.0.get_or_insert_default().counted = Some(counted);
    }

    pub(super) fn set_share(&mut self, share: AddressShare) {
        self.0.get_or_insert_default().share = Some(share);
    }

    pub(super) fn has_share(&self) -> bool {
        self.0.as_ref().is_some_and(|parts| parts.share.is_some())
    }

    /// Returns whether the connection is within the limit.
    pub(super) fn verdict(&self) -> Verdict {
        let counted = self.0.as_ref().and_then(|parts| parts.counted.as_ref());
        counted.map_or(Verdict::Within, |counted| counted.verdict)
    }
}

impl ProxyHeader {
    pub(super) fn new(due: Instant) -> Self {
        Self { bytes: Vec::new(), due }
    }
}
