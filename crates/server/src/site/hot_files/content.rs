//! The contents of hot files in memory, of one event loop: their bytes are bounded.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use karez_transfer::{CachePolicy, Version};
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, pread, preadv2};

use super::super::open_file::OpenFile;
use super::super::syscall_counts::{self, Syscall};

/// A part of the memory for contents.
pub(super) struct Memory {
    total: Rc<Cell<usize>>,
    bytes: usize,
}

impl Memory {
    pub(super) fn count(total: &Rc<Cell<usize>>, content: Option<&[u8]>) -> Self {
        let bytes = content.map_or(0, <[u8]>::len);
        total.set(total.get() + bytes);
        Self { total: Rc::clone(total), bytes }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.total.set(self.total.get().saturating_sub(self.bytes));
    }
}

/// Reads the content of a small file, if there is memory for it.
///
/// # Errors
/// As [`read_version`].
pub(super) fn load(file: &OpenFile, memory: &Cell<usize>) -> io::Result<Option<Arc<[u8]>>> {
    match usize::try_from(file.size()) {
        Ok(size)
            if keeps_pages(file) && size <= CONTENT_MAX && memory.get() + size <= MEMORY_MAX =>
        {
            read_version(file, size).map(Some)
        }
        _ => Ok(None),
    }
}

/// Reads the content of the version that was described.
///
/// # Errors
/// It cannot be read without waiting for a disk, or the file has been written since.
pub(super) fn read_version(file: &OpenFile, size: usize) -> io::Result<Arc<[u8]>> {
    let content = read(file, size)?;
    if !is_unchanged(file) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(content)
}

/// Reads a content that is in memory: a miss is an error where the file system can tell
/// (`RWF_NOWAIT`, Linux 4.14). A small file was sent a moment ago.
fn read(file: &OpenFile, size: usize) -> io::Result<Arc<[u8]>> {
    // A byte more shows a file that has grown.
    let mut bytes = vec![0; size + 1];
    syscall_counts::count(Syscall::Preadv2);
    let count = match preadv2(file, &mut [IoSliceMut::new(&mut bytes)], 0, ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            syscall_counts::count(Syscall::Pread64);
            pread(file, &mut bytes, 0)?
        }
        result => result?,
    };
    if count != size {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(bytes[..size].into())
}

/// Returns whether a file has not been written since its description: then a content that was read meanwhile
/// is of one version.
fn is_unchanged(file: &OpenFile) -> bool {
    syscall_counts::count(Syscall::Statx);
    Version::of(file).ok() == file.version()
}

/// Returns whether a file stays in memory after it was sent.
fn keeps_pages(file: &OpenFile) -> bool {
    matches!(file.cache_policy(), CachePolicy::Keep | CachePolicy::Sequential)
}

/// The longest content that is kept in memory, as long as one that is inlined behind its head.
const CONTENT_MAX: usize = 16 << 10;
/// The memory for contents, in bytes.
const MEMORY_MAX: usize = 8 << 20;
