//! Limits by the address of the client: connections at a time, requests and bytes per second. Of IPv6 the first 64
//! bits count, which one client has for itself.
//!
//! The event loops share the tables, each part of which has a lock of its own that is held for nanoseconds.
//! Without a limit there is no table, and nothing is locked.
//!
//! # Limitations
//!
//! Peers of UNIX sockets have no address and no limit; nor have the connections of trusted proxies, which
//! carry the requests of many clients.

pub(crate) mod bytes;
pub(crate) mod connections;
pub(crate) mod key;
pub(crate) mod requests;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::{AddressShare, ByteRate, ByteRates};
use connections::{Connections, CountedConnection};
use key::AddressKey;
use requests::{RequestRate, RequestRates};

/// The limits of each address. Default: none.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AddressLimitOptions {
    /// Connections at a time.
    pub connections: Option<NonZeroU32>,
    /// Requests per time.
    pub requests: Option<RequestRate>,
    /// Bytes per second that are sent.
    pub bytes: Option<ByteRate>,
}

/// The limits of each address, and their tables.
#[derive(Clone, Default)]
pub(crate) struct AddressLimits {
    connections: Option<(NonZeroU32, Arc<Connections>)>,
    requests: Option<Arc<RequestRates>>,
    bytes: Option<Arc<ByteRates>>,
}

impl AddressLimits {
    /// Returns the limits of these options, with the tables of `before` where they fit.
    pub(crate) fn new(options: &AddressLimitOptions, before: Option<&Self>) -> Self {
        let connections = options.connections.map(|limit| {
            let table = before.and_then(|before| before.connections.as_ref());
            (limit, table.map_or_else(Arc::default, |(_, table)| Arc::clone(table)))
        });
        let requests = options.requests.map(|rate| {
            let table = before.and_then(|before| before.requests.as_ref());
            let table = table.filter(|table| table.rate() == rate);
            table.map_or_else(|| Arc::new(RequestRates::new(rate)), Arc::clone)
        });
        let bytes = options.bytes.map(|rate| {
            let table = before.and_then(|before| before.bytes.as_ref());
            let table = table.filter(|table| table.rate() == rate);
            table.map_or_else(|| Arc::new(ByteRates::new(rate)), Arc::clone)
        });
        Self { connections, requests, bytes }
    }

    /// Counts a connection of an address, as long as the result lives; `None` without a limit.
    pub(crate) fn count(&self, address: Option<IpAddr>) -> Option<CountedConnection> {
        let (limit, table) = self.connections.as_ref()?;
        let key = AddressKey::of(address?);
        Some(Connections::add(table, key, *limit))
    }

    /// Gives a connection of an address a part of its rate, as long as the result lives; `None` without a limit.
    pub(crate) fn share(&self, address: Option<IpAddr>) -> Option<AddressShare> {
        let table = self.bytes.as_ref()?;
        Some(ByteRates::join(table, AddressKey::of(address?)))
    }

    /// Returns the rates of requests; `None` without a limit.
    pub(crate) fn requests(&self) -> Option<&RequestRates> {
        self.requests.as_deref()
    }
}
