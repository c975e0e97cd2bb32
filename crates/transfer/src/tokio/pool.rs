//! Work that may block on a disk, in tokio's blocking pool.

use ::tokio::runtime::Handle;
use ::tokio::task::JoinHandle;
use std::io;

use super::outgoing::Outgoing;

/// Runs `work` in the blocking pool. It completes even if the future is dropped.
pub(super) async fn in_pool<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    // It fails while the runtime shuts down.
    start(work)?.await.map_err(io::Error::other)
}

/// Starts `work` in the blocking pool.
pub(super) fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let runtime = Handle::try_current().map_err(io::Error::other)?;
    Ok(runtime.spawn_blocking(work))
}

/// Runs the page-in for the next step.
pub(super) async fn page_in(transfer: &mut impl Outgoing) -> io::Result<()> {
    let read = match transfer.next_page_in() {
        Some(page_in) => in_pool(move || page_in.run()).await?,
        None => Err(io::ErrorKind::NotFound.into()),
    };
    if read.is_err() {
        transfer.block_on_misses(); // the step itself returns the error of the disk
    }
    Ok(())
}
