//! The device of a file, as far as a transfer has to know it.

/// A device (`st_dev` of stat(2)), and whether it may stop answering.
///
/// Offloaded reads of one device share a bounded number of threads, so that a device that hangs
/// does not hold up reads of another. A refusal that holds for a whole file system is remembered by
/// its device, so that not every transfer makes the refused call again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Device {
    /// The device number; 0 if it is not known.
    pub number: u64,
    /// The file system asks another host or a process (NFS, CIFS, FUSE), which may never answer. Its
    /// calls wait even for files in the page cache, because attributes are revalidated.
    pub remote: bool,
}
