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
