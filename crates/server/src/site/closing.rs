//! Closes remote files on a thread of their device: close(2) of a FUSE file sends `FUSE_FLUSH` and
//! waits for the answer, that of an NFS file writes back, and an event loop must not wait for either.
//!
//! # Limitations
//!
//! While a device hangs, its closed files keep their descriptors until it answers.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Where the last owner of a remote file sends its descriptor.
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

/// If there is no thread to be had, the sender finds the channel closed, and its caller closes.
fn spawn() -> Closer {
    let (sender, files) = channel::<Arc<OwnedFd>>();
    let thread = thread::Builder::new().name("karez-close".to_owned());
    let _spawned = thread.spawn(move || {
        for file in files {
            // The sender is about to let go of it, and must not be the last.
            while Arc::strong_count(&file) > 1 {
                thread::yield_now();
            }
        }
    });
    sender
}
