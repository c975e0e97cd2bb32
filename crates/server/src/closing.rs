//! The end of a connection, by either protocol: how long it lingers, and whose fault a failed send is.

use std::io;
use std::time::Duration;

/// How long the client may take to close its side after the last response.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Returns whether the cause of a send error is on this side of the socket.
pub(crate) fn is_local(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut};
    !matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut
    )
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client closed or reset it.
    Client,
    /// The server closed it behind a response.
    Finished,
    /// It was idle for too long.
    IdleTimeout,
    /// The client sent or received too slowly.
    Timeout,
    /// It made room for another.
    Evicted,
    /// Its address has too many.
    Limit,
    /// An error on this side.
    Error,
    /// The server shuts down.
    Shutdown,
    /// Anything else.
    #[cfg(feature = "metrics")]
    Other,
}

#[cfg(feature = "metrics")]
impl CloseReason {
    /// Every reason, in the order of their numbers.
    pub(crate) const ALL: [Self; 9] = [
        Self::Client,
        Self::Finished,
        Self::IdleTimeout,
        Self::Timeout,
        Self::Evicted,
        Self::Limit,
        Self::Error,
        Self::Shutdown,
        Self::Other,
    ];

    /// Returns the name in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Finished => "finished",
            Self::IdleTimeout => "idle_timeout",
            Self::Timeout => "timeout",
            Self::Evicted => "evicted",
            Self::Limit => "limit",
            Self::Error => "error",
            Self::Shutdown => "shutdown",
            Self::Other => "other",
        }
    }
}
