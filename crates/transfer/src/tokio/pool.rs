//! What may wait for a disk, on the threads that tokio keeps for that.

use ::tokio::runtime::Handle;
use std::io;

use crate::file_to_socket::FileToSocket;

/// Has `work` done by the blocking pool. A future that is dropped leaves it to itself.
pub(super) async fn in_pool<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let runtime = Handle::try_current().map_err(io::Error::other)?;
    // It fails where the runtime is shutting down.
    runtime.spawn_blocking(work).await.map_err(io::Error::other)
}

/// Has what is cold read.
pub(super) async fn warm(transfer: &mut FileToSocket) -> io::Result<()> {
    let cold = transfer.cold_part();
    if in_pool(move || cold.warm()).await?.is_err() {
        transfer.wait_for_disk(); // the step itself meets the error of the disk
    }
    Ok(())
}
