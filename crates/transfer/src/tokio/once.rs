//! One call, one movement: the transfer lives and ends with the future.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::drive::{receive, send};
use super::socket::Socket;
use super::unfinished::Unfinished;
use crate::direction::Direction;
use crate::file_to_socket::{FileToSocket, Source};
use crate::report::Report;
use crate::settings::{Cold, Settings};
use crate::socket_to_file::SocketToFile;

/// Sends the bytes `range` of `file`, and says how. A cold file does not hold up other tasks,
/// whatever the settings say: the blocking pool reads it. The example of [the module](super)
/// shows it.
///
/// The file is duplicated (dup(2)), for the pool may be reading when the future is dropped.
///
/// # Cancel safety
/// A dropped future has sent some of the bytes and does not say how many; the file has them all.
/// To know, and to go on, [`send`] a transfer of your own.
///
/// # Errors
/// As [`send`], with the report of what was sent until then.
pub async fn send_file<S: Socket, F: AsFd + Sync + ?Sized>(
    socket: &S,
    file: &F,
    range: Range<u64>,
    settings: impl Into<Settings>,
) -> Result<Report, Unfinished> {
    let settings = Settings { cold: Cold::Tell, ..settings.into() };
    let source = match duplicate(file) {
        Ok(source) => source,
        Err(error) => return Err(Unfinished::before(error, Direction::FileToSocket, settings.via)),
    };
    let mut transfer = FileToSocket::new(source, range, settings);
    let sent = send(&mut transfer, socket).await;
    end(sent, transfer.report(), 0)
}

/// Stores `len` bytes that `socket` receives in `file` from `offset` on, or all until the peer
/// closes if that is `None`; says how. The file is not cut to that length, and not synced.
///
/// # Cancel safety
/// With a dropped future, bytes that had left the socket and not reached the file are lost, and
/// nobody says how many. To lose none, [`receive`] by a transfer of your own.
///
/// # Errors
/// As [`receive`], with the report of what was stored until then and the number of bytes lost.
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

/// A descriptor of our own for what `file` has open.
pub(super) fn duplicate<F: AsFd + ?Sized>(file: &F) -> io::Result<Source> {
    Ok(Arc::new(file.as_fd().try_clone_to_owned()?))
}

/// The report of a movement that came to its end, well or not.
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
