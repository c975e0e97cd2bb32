//! A directory that is to be archived.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use karez_transfer::Device;

use super::super::root::Root;

/// A directory that a lookup has opened for an archive.
pub(crate) struct ArchiveDirectory {
    pub(in super::super) root: Arc<Root>,
    /// Nothing of it has been read.
    pub(in super::super) fd: OwnedFd,
    /// Its path from the root.
    pub(in super::super) path: Vec<u8>,
    pub(in super::super) device: Device,
}
