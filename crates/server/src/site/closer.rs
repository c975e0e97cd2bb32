//! Closes remote files on a thread of their device: close(2) of a FUSE file sends `FUSE_FLUSH` and waits
//! for the reply, and close(2) of an NFS file writes back. An event loop must not wait for either.
//!
//! # Limitations
//!
//! While a device hangs, its closed files keep their descriptors until it answers.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The channel to which the last owner of a remote file sends its descriptor.
pub(super) type Closer = Sender<Arc<OwnedFd>>;

/// One thread for each remote device that a file was opened on; they end with the site.
#[derive(Default)]
pub(super) struct Closers(Mutex<HashMap<u64, Closer>>);

impl Closers {
    pub(super) fn of(&self, device: u64) -> Closer {
        let mut closers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        closers.entry(device).or_insert_with(spawn).clone()
    }
}

/// Starts the thread of a device. If that fails, the channel is closed, and the sender closes the file.
fn spawn() -> Closer {
    let (sender, files) = channel::<Arc<OwnedFd>>();
    let thread = thread::Builder::new().name("karez-close".to_owned());
    let _spawned = thread.spawn(move || {
        for file in files {
            // The sender still holds a reference, and must not be the last owner.
            while Arc::strong_count(&file) > 1 {
                thread::yield_now();
            }
        }
    });
    sender
}
