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

/// Brings cold pages into memory, and notices where they do not stay there.
#[derive(Debug, Default)]
pub(super) struct Warmer {
    last: Option<u64>,
    in_vain: u32,
}

impl Warmer {
    /// How often the same part is warmed, before the file system is said to keep no pages.
    const PATIENCE: u32 = 3;

    pub(super) async fn warm(&mut self, transfer: &mut FileToSocket) -> io::Result<()> {
        let cold = transfer.cold_part();
        let at = Some(cold.range().start);
        self.in_vain = if self.last == at { self.in_vain + 1 } else { 0 };
        self.last = at;
        let warmed = self.in_vain < Self::PATIENCE && in_pool(move || cold.warm()).await?.is_ok();
        if !warmed {
            // The step itself meets the truth: an error of the disk, or nothing worse than a wait.
            transfer.wait_for_disk();
        }
        Ok(())
    }
}
