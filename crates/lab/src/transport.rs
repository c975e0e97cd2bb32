//! Transports: a UNIX socket, TCP over loopback, TCP over a veth pair between two private networks.
//!
//! # Limitations
//! No transport has a device with DMA. On loopback and veth the kernel copies data of
//! `MSG_ZEROCOPY`, and the receiver's softirq runs on the sender's time.

use std::fmt;
use std::str::FromStr;

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A UNIX stream socket.
    Unix,
    /// TCP over loopback, 127.0.0.1.
    Loopback,
    /// TCP over a veth pair between two private networks.
    Veth,
    /// The same without scatter-gather: a control in which the kernel copies below the socket.
    VethWithoutScatterGather,
}

impl Transport {
    /// Every transport.
    pub const ALL: &'static [Self] =
        &[Self::Unix, Self::Loopback, Self::Veth, Self::VethWithoutScatterGather];

    /// Returns the name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Loopback => "lo",
            Self::Veth => "veth",
            Self::VethWithoutScatterGather => "veth-sg-off",
        }
    }

    /// Returns whether the transport is TCP.
    #[must_use]
    pub const fn is_tcp(self) -> bool {
        !matches!(self, Self::Unix)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Transport {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|one| one.name() == name);
        found.ok_or("unknown transport")
    }
}

/// How the receiver reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveMode {
    /// Into memory: one copy by the CPU.
    Read,
    /// Without a copy: `MSG_TRUNC` on TCP, otherwise splice to /dev/null.
    Discard,
    /// Into memory, through kernel TLS on both sides (TCP only): the kernel seals and opens the records.
    Decrypt,
}

impl ReceiveMode {
    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Discard => "without a copy",
            Self::Decrypt => "by kernel TLS",
        }
    }

    pub(crate) const fn command(self, transport: Transport) -> &'static str {
        match (self, transport.is_tcp()) {
            (Self::Read, _) => "read",
            (Self::Decrypt, _) => "decrypt",
            (Self::Discard, true) => "truncate",
            (Self::Discard, false) => "splice",
        }
    }
}
