//! What is said of a movement that did not come to its end.

use std::error::Error;
use std::fmt;
use std::io;

use crate::direction::Direction;
use crate::report::Report;
use crate::via::Via;

/// The source ended before the promised bytes were there. It is in an [`io::Error`] of the kind
/// `UnexpectedEof`: see [`io::Error::get_ref`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// How many of the promised bytes do not exist.
    pub missing: u64,
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the source ended {} bytes early", self.missing)
    }
}

impl Error for Truncated {}

impl From<Truncated> for io::Error {
    fn from(truncated: Truncated) -> Self {
        Self::new(io::ErrorKind::UnexpectedEof, truncated)
    }
}

/// A one-shot movement failed on its way. `?` makes an [`io::Error`] of it, of the same kind.
///
/// ```
/// use karez_transfer::{Via, tokio::{Truncated, send_file}};
/// # use std::io::{ErrorKind, Write};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (socket, _peer) = tokio::net::UnixStream::pair()?;
/// # let mut file = tempfile::tempfile()?;
/// # file.write_all(b"under the desert")?;
/// let unfinished = send_file(&socket, &file, 6..20, Via::Sendfile).await.unwrap_err();
/// assert_eq!(unfinished.report.bytes, 10);
/// assert_eq!(unfinished.error.kind(), ErrorKind::UnexpectedEof);
/// let inner = unfinished.error.get_ref().and_then(|inner| inner.downcast_ref());
/// assert_eq!(inner, Some(&Truncated { missing: 4 }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Unfinished<R = Report> {
    /// Why. If the source ended early, there is a [`Truncated`] in it.
    pub error: io::Error,
    /// What was done until then; of a [`proxy`](super::proxy) the reports of both directions.
    pub report: Box<R>,
    /// Bytes that had left a socket, arrived nowhere and are lost. By the functions that drive a
    /// transfer of the caller's they are not.
    pub in_flight: u64,
}

impl Unfinished {
    /// It failed before there was a transfer.
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
        self.error.source() // the error itself is in the text
    }
}

impl<R: fmt::Debug + Send + Sync + 'static> From<Unfinished<R>> for io::Error {
    fn from(unfinished: Unfinished<R>) -> Self {
        Self::new(unfinished.error.kind(), unfinished)
    }
}
