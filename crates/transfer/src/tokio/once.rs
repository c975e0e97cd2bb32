//! One-shot transfers, which live as long as their future.

use karez_sys::SharedFd;
use std::io;
use std::ops::RangeBounds;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::drive::{receive, send};
use super::socket::Socket;
use super::unfinished::Unfinished;
use crate::direction::Direction;
use crate::file_to_socket::FileToSocket;
use crate::report::Report;
use crate::settings::{OnMiss, Settings};
use crate::socket_to_file::SocketToFile;

/// Sends the bytes `range` of `file`, and returns the report. Reads of a file that is not in memory do not
/// block other tasks, whatever the settings: the blocking pool makes them. See the example of
/// [the module](super).
///
/// The file is duplicated (dup(2)), because the pool may be reading when the future is dropped.
///
/// # Cancel safety
/// After the future is dropped, the number of sent bytes is unknown; the file still has all of them.
/// To get the number, and to continue, [`send`] a transfer of your own.
///
/// # Errors
/// As [`send`], with the report so far.
pub async fn send_file<S: Socket, F: AsFd + Sync + ?Sized>(
    socket: &S,
    file: &F,
    range: impl RangeBounds<u64>,
    settings: impl Into<Settings>,
) -> Result<Report, Unfinished> {
    let settings = settings.into().on_miss(OnMiss::Report);
    let source = match duplicate(file) {
        Ok(source) => source,
        Err(error) => return Err(Unfinished::before(error, Direction::FileToSocket, settings.via)),
    };
    let mut transfer = FileToSocket::new(source, range, settings);
    let sent = send(&mut transfer, socket).await;
    end(sent, transfer.report(), 0)
}

/// Writes `len` bytes that `socket` receives to `file` from `offset` on, or all until the peer
/// closes if that is `None`; returns the report. The file is neither truncated to that length nor synced.
///
/// # Cancel safety
/// If the future is dropped, an unknown number of bytes that had left the socket and not reached the
/// file is lost. To lose none, use [`receive`] with a transfer of your own.
///
/// # Errors
/// As [`receive`], with the report so far and the number of lost bytes.
///
/// ```
/// use karez_transfer::{Via, tokio::receive_to_file};
/// use std::io::Read;
/// # use tokio::{io::AsyncWriteExt, net::UnixStream};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (socket, mut peer) = UnixStream::pair()?;
/// # peer.write_all(b"under the desert").await?;
/// # drop(peer);
/// let mut file = tempfile::tempfile()?;
/// let report = receive_to_file(&socket, &file, 0, None, Via::Auto).await?;
/// assert_eq!(report.bytes, 16);
///
/// let mut stored = String::new();
/// file.read_to_string(&mut stored)?;
/// assert_eq!(stored, "under the desert");
/// # Ok(())
/// # }
/// ```
pub async fn receive_to_file<S: Socket, F: AsFd + Sync + ?Sized>(
    socket: &S,
    file: &F,
    offset: u64,
    len: Option<u64>,
    settings: impl Into<Settings>,
) -> Result<Report, Unfinished> {
    let settings = settings.into();
    let sink = match duplicate(file) {
        Ok(sink) => sink,
        Err(error) => return Err(Unfinished::before(error, Direction::SocketToFile, settings.via)),
    };
    let mut transfer = SocketToFile::new(sink, offset, len, settings);
    let received = receive(&mut transfer, socket).await;
    end(received, transfer.report(), transfer.in_flight())
}

/// Returns a second descriptor of the open file.
pub(super) fn duplicate<F: AsFd + ?Sized>(file: &F) -> io::Result<SharedFd> {
    Ok(Arc::new(file.as_fd().try_clone_to_owned()?))
}

/// Returns the report of a transfer that has ended.
pub(super) fn end(
    ended: io::Result<()>,
    report: &Report,
    in_flight: u64,
) -> Result<Report, Unfinished> {
    match ended {
        Ok(()) => Ok(report.clone()),
        Err(error) => Err(Unfinished { error, report: Box::new(report.clone()), in_flight }),
    }
}
