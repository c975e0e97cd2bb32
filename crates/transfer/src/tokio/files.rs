//! From file to file: whole steps in tokio's blocking pool.
//!
//! # Limitations
//!
//! Every step switches to a thread of the pool and back, which takes some ten
//! microseconds. A running step is never interrupted, so one by `reflink` or
//! `copy-range` on a network file system may take minutes.

use std::io;
use std::ops::RangeBounds;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use super::once::{duplicate, end};
use super::pool::in_pool;
use super::unfinished::Unfinished;
use crate::direction::Direction;
use crate::file_to_file::FileToFile;
use crate::report::Report;
use crate::run_blocking::Truncated;
use crate::settings::Settings;
use crate::step::Progress;

/// Drives a transfer between files to its end, in the blocking pool: one step at a time
/// ([`Settings::max_per_step`]), so that many copies share its threads.
///
/// The pool cannot borrow the transfer, so it shares it, locked while a step runs.
///
/// # Cancel safety
/// No byte is lost: a running step completes without the future, no further one starts,
/// and the next call continues behind it.
///
/// # Errors
/// As [`FileToFile::step`]. A file that ends early is `UnexpectedEof` with [`Truncated`] inside.
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
        match in_pool(move || step_locked(&shared)).await?? {
            Progress::Moved(_) | Progress::NeedsWorker => {}
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => return Err(Truncated { missing }.into()),
            // Impossible for files.
            Progress::NeedsReadable
            | Progress::NeedsWritable
            | Progress::NeedsZerocopyCompletion => {
                return Err(io::Error::other("a transfer between files waits for a socket"));
            }
        }
    }
}

pub(super) fn step_locked(shared: &Mutex<FileToFile>) -> io::Result<Progress> {
    let mut transfer = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let progress = transfer.step()?;
    if progress == Progress::NeedsWorker {
        transfer.block_on_misses(); // this thread may block
    }
    Ok(progress)
}

/// Copies the bytes `range` of one file into another, from `offset` on, and returns the report. The other
/// file is neither truncated to that length nor synced.
///
/// # Cancel safety
/// After the future is dropped, at most one running step completes, and the copied part stays. To
/// get its length, and to continue, use [`copy`] with a transfer of your own.
///
/// # Errors
/// As [`copy`], with the report so far.
///
/// ```
/// use karez_transfer::{Via, tokio::copy_file};
/// # use std::io::Write;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (mut from, to) = (tempfile::tempfile()?, tempfile::tempfile()?);
/// # from.write_all(b"under the desert")?;
/// let report = copy_file(&from, 0..from.metadata()?.len(), &to, 0, Via::Auto).await?;
/// println!("by {}, {} bytes", report.effective, report.bytes);
/// # assert_eq!(to.metadata()?.len(), 16);
/// # Ok(())
/// # }
/// ```
pub async fn copy_file<F: AsFd + Sync + ?Sized, T: AsFd + Sync + ?Sized>(
    from: &F,
    range: impl RangeBounds<u64>,
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
