//! The arguments of `karez serve` for proxies, and for limits by the address of the client.

use clap::Args;
use karez_server::{Network, RequestRate};
use std::num::{NonZeroU32, NonZeroU64};

use super::values::rate;

/// The arguments for proxies in front of the server.
#[derive(Args, Debug)]
#[command(next_help_heading = "Clients")]
pub(crate) struct ClientArgs {
    /// Believe peers of NETWORK (an address, ADDRESS/BITS, unix for UNIX sockets, or all) what they report of
    /// their client: the last address of X-Forwarded-For, or else of Forwarded, or else of X-Real-IP, that is
    /// in no such network. Logs, --allow, --deny and limits then have that address. Repeatable
    #[arg(long, value_name = "NETWORK")]
    pub(crate) trust_proxy: Vec<Network>,

    /// Expect a header of the PROXY protocol, version 1 or 2, in front of each connection of --trust-proxy, on
    /// HTTPS in front of the handshake. A connection of these networks without one is closed; others have none
    #[arg(long, requires = "trust_proxy")]
    pub(crate) proxy_protocol: bool,

    /// Maximum number of connections of an address, or of an IPv6 network of 64 bits. Requests on further
    /// ones are answered by 429; beyond twice as many they are closed at once. Those of --trust-proxy without
    /// a header of the PROXY protocol are not counted
    #[arg(long, value_name = "N")]
    pub(crate) max_per_ip: Option<NonZeroU32>,

    /// Maximum rate of requests of an address, or of an IPv6 network of 64 bits: N, N/s, N/m or N/h. N may
    /// come at once, and as many more in each such time; others are answered by 429 with Retry-After
    #[arg(long, value_name = "RATE")]
    pub(crate) max_rate_per_ip: Option<RequestRate>,

    /// Maximum bytes per second that are sent to an address, or to an IPv6 network of 64 bits, over all of its TCP
    /// connections, such as 500K or 10M (powers of 1024). Each has an equal part, by which the kernel paces it
    /// as by --rate, and needs a second descriptor. Not for those of --trust-proxy, unless they have a header of
    /// the PROXY protocol
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    pub(crate) rate_per_ip: Option<NonZeroU64>,
}
