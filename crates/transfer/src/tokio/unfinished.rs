//! The error of a one-shot transfer that did not reach its end.

use std::error::Error;
use std::fmt;
use std::io;

use crate::direction::Direction;
use crate::report::Report;
use crate::via::Via;

/// The error of a one-shot transfer. It converts into an [`io::Error`] of the same kind.
///
/// ```
/// use karez_transfer::{Truncated, Via, tokio::send_file};
/// # use std::io::{ErrorKind, Write};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (socket, _peer) = tokio::net::UnixStream::pair()?;
/// # let mut file = tempfile::tempfile()?;
/// # file.write_all(b"under the desert")?;
/// let unfinished = send_file(&socket, &file, 6..20, Via::Sendfile).await.unwrap_err();
/// assert_eq!(unfinished.report.bytes, 10);
/// assert_eq!(unfinished.error.kind(), ErrorKind::UnexpectedEof);
/// let inner = unfinished.error.get_ref().and_then(|it| it.downcast_ref::<Truncated>());
/// assert_eq!(inner.map(|inner| inner.missing), Some(4));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Unfinished<R = Report> {
    /// The cause. If the source ended early, it has a [`Truncated`](crate::Truncated) inside.
    pub error: io::Error,
    /// The report; for a [`proxy`](super::proxy) those of both directions.
    pub report: Box<R>,
    /// The bytes that were taken from a socket and are lost because the transfer has been dropped. The
    /// functions that drive a transfer of the caller keep them.
    pub in_flight: u64,
}

impl Unfinished {
    /// Returns the error of a failure before the transfer existed.
    pub(super) fn before(error: io::Error, direction: Direction, via: Via) -> Self {
        Self { error, report: Box::new(Report::new(direction, via)), in_flight: 0 }
    }
}

impl<R> fmt::Display for Unfinished<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if self.in_flight > 0 {
            write!(f, " ({} bytes in flight were lost)", self.in_flight)?;
        }
        Ok(())
    }
}

impl<R: fmt::Debug> Error for Unfinished<R> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source() // the text contains the error itself
    }
}

impl<R: fmt::Debug + Send + Sync + 'static> From<Unfinished<R>> for io::Error {
    fn from(unfinished: Unfinished<R>) -> Self {
        Self::new(unfinished.error.kind(), unfinished)
    }
}
