//! From file to file: whole steps in tokio's blocking pool.
//!
//! What it does badly: every share is handed to a thread of the pool and back, some ten
//! microseconds; and a step that has begun is never interrupted, so one by `reflink` or
//! `copy-range` that a file system over a network takes minutes for takes minutes.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use super::once::{duplicate, end};
use super::pool::in_pool;
use super::unfinished::{Truncated, Unfinished};
use crate::direction::Direction;
use crate::file_to_file::FileToFile;
use crate::report::Report;
use crate::settings::Settings;
use crate::step::Progress;

/// Drives a transfer between files to its end, in the blocking pool: a share at a time
/// ([`Settings::share`]), so that many copies share its threads.
///
/// The transfer is shared with the pool, which cannot borrow. It is locked while a step runs.
///
/// # Cancel safety
/// Nothing is lost: a step that has begun runs to its end without the future, no other follows,
/// and the next call goes on behind it.
///
/// # Errors
/// As [`FileToFile::step`]. A file that ended early is `UnexpectedEof` with [`Truncated`] in it.
///
/// ```
/// use karez_transfer::{FileToFile, Via, tokio::copy};
/// use std::io::{Read, Write};
/// use std::sync::{Arc, Mutex};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let mut from = tempfile::tempfile()?;
/// from.write_all(b"under the desert")?;
/// let mut to = tempfile::tempfile()?;
///
/// let sink = Arc::new(to.try_clone()?);
/// let transfer = FileToFile::new(Arc::new(from), 6..16, sink, 0, Via::Auto);
/// copy(&Arc::new(Mutex::new(transfer))).await?;
///
/// let mut copied = String::new();
/// to.read_to_string(&mut copied)?;
/// assert_eq!(copied, "the desert");
/// # Ok(())
/// # }
/// ```
pub async fn copy(transfer: &Arc<Mutex<FileToFile>>) -> io::Result<()> {
    loop {
        let shared = Arc::clone(transfer);
        match in_pool(move || step(&shared)).await?? {
            Progress::Moved(_) | Progress::NeedsWorker => {}
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => return Err(Truncated { missing }.into()),
            // No file says so.
            Progress::NeedsReadable | Progress::NeedsWritable | Progress::NeedsRelease => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }
}

fn step(shared: &Mutex<FileToFile>) -> io::Result<Progress> {
    let mut transfer = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let progress = transfer.step()?;
    if progress == Progress::NeedsWorker {
        transfer.wait_for_disk(); // here one may
    }
    Ok(progress)
}

/// Copies the bytes `range` of one file into another, from `offset` on, and says how. The other
/// file is not cut to that length, and not synced.
///
/// # Cancel safety
/// A dropped future leaves what has been copied and at most one step that runs to its end. To
/// know, and to go on, [`copy`] by a transfer of your own.
///
/// # Errors
/// As [`copy`], with the report of what was copied until then.
///
/// ```
/// use karez_transfer::{Via, tokio::copy_file};
/// # use std::io::Write;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (mut from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
/// # from.write_all(b"under the desert")?;
/// let report = copy_file(&from, 0..from.metadata()?.len(), &to, 0, Via::Auto).await?;
/// println!("by {}, {} bytes", report.ran, report.bytes);
/// # assert_eq!(to.metadata()?.len(), 16);
/// # Ok(())
/// # }
/// ```
pub async fn copy_file<F: AsFd + Sync + ?Sized, T: AsFd + Sync + ?Sized>(
    from: &F,
    range: Range<u64>,
    to: &T,
    offset: u64,
    settings: impl Into<Settings>,
) -> Result<Report, Unfinished> {
    let settings = settings.into();
    let (source, sink) = match (duplicate(from), duplicate(to)) {
        (Ok(source), Ok(sink)) => (source, sink),
        (Err(error), _) | (_, Err(error)) => {
            return Err(Unfinished::before(error, Direction::FileToFile, settings.via));
        }
    };
    let transfer = Arc::new(Mutex::new(FileToFile::new(source, range, sink, offset, settings)));
    let copied = copy(&transfer).await;
    let transfer = transfer.lock().unwrap_or_else(PoisonError::into_inner);
    end(copied, transfer.report(), 0)
}
