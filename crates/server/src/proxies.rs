//! Trusted proxies, and the address of the client behind them.
//!
//! Only peers in the given networks are believed: their request fields ([`karez_http::forwarded`]), and with
//! the PROXY protocol the header in front of their bytes, which each of their connections then must have. The
//! spoken protocol is never guessed from the bytes.
//!
//! # Limitations
//!
//! The scheme and the host that a proxy reports are not read.

use std::net::IpAddr;

use karez_http::{Request, forwarded};

use crate::network::Network;

/// The proxies in front of a server. Default: none.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// The networks whose peers are believed.
    pub trusted: Vec<Network>,
    /// Whether each of their connections begins with a header of the PROXY protocol, version 1 or 2.
    pub protocol: bool,
}

impl ProxyOptions {
    /// Returns whether a peer is a trusted proxy.
    pub(crate) fn trust(&self, peer: Option<IpAddr>) -> bool {
        self.trusted.iter().any(|network| network.matches(peer).is_some())
    }

    /// Returns whether the connection of a peer begins with a header.
    pub(crate) fn expect_header(&self, peer: Option<IpAddr>) -> bool {
        self.protocol && self.trust(peer)
    }

    /// Returns the address of the client of a request that this peer has sent.
    pub(crate) fn client(&self, request: &Request, peer: Option<IpAddr>) -> Option<IpAddr> {
        if self.trusted.is_empty() || !self.trust(peer) {
            return peer;
        }
        forwarded::client_address(request, |address| self.trust(Some(address))).or(peer)
    }
}
