//! A mapped part of a file that can be edited while the file stays unchanged: mmap(2) with
//! `MAP_PRIVATE`. Linux 2.0.
//!
//! The kernel copies a page before its first edit (copy on write); other pages stay shared with the page
//! cache.
//!
//! A store behind the end of a truncated file would raise SIGBUS. So the kernel makes the edit: read(2)
//! from a pipe into the mapping, which returns `EFAULT` for a missing page.
//!
//! # Limitations
//!
//! Two system calls for each 4 KiB of an edit, and a fault and a copied page
//! for each edited page. Later writes to the file may show in pages without edits.

use rustix::io;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::mapping::{Mapping, counted};

/// The bytes that an empty pipe always takes without blocking: `PIPE_BUF`, one page.
const PIPED: usize = 4096;

/// A part of a file, mapped privately.
#[derive(Debug)]
pub struct PrivateMapping {
    mapping: Mapping,
}

impl PrivateMapping {
    /// Maps `length` bytes of `file` from `offset`, which is a multiple of
    /// [`page_size`](crate::page_size).
    ///
    /// # Errors
    /// As [`Mapping::of`]. The file need not be open for writing.
    pub fn of(file: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let mapping = Mapping::new(file, offset, length, protection, MapFlags::PRIVATE)?;
        Ok(Self { mapping })
    }

    /// Replaces the bytes from `at` on, in this mapping only. Returns the number of pieces, each a
    /// `write` into a pipe and a `read` out of it.
    ///
    /// # Errors
    /// `EFAULT` behind the end of a truncated file; `EINVAL` for a part outside the mapping;
    /// `EMFILE`, `ENFILE` if no pipe can be made; `ENOMEM`.
    pub fn edit(&mut self, at: usize, bytes: &[u8]) -> io::Result<usize> {
        let end = at.checked_add(bytes.len()).ok_or(io::Errno::INVAL)?;
        self.mapping.part(at..end)?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut at = at;
        for piece in bytes.chunks(PIPED) {
            let mut left = io::write(&write, piece)?;
            while left > 0 {
                let (start, length) = self.mapping.part(at..at + left)?;
                // SAFETY: the range is within the mapping, which is writable, private and exclusively
                // borrowed (`&mut self`); no reference into it exists.
                let taken = counted(unsafe { libc::read(read.as_raw_fd(), start, length) })?;
                at += taken;
                left -= taken;
            }
        }
        Ok(bytes.len().div_ceil(PIPED))
    }

    /// Returns the edited mapping, to be passed to the kernel.
    #[must_use]
    pub fn as_mapping(&self) -> &Mapping {
        &self.mapping
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_size;
    use rustix::net::SendFlags;
    use std::fs::File;
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn an_edit_is_sent_and_the_file_stays_unchanged() {
        let content = vec![b'.'; 3 * page_size()];
        let mut file = file(&content);
        let mut mapping = PrivateMapping::of(file.as_fd(), 0, content.len()).unwrap();
        let edited = vec![b'#'; page_size() + 10];
        mapping.edit(100, &edited).unwrap();

        let mut expected = content.clone();
        expected[100..100 + edited.len()].copy_from_slice(&edited);
        let (near, mut far) = UnixStream::pair().unwrap();
        assert_eq!(
            mapping.as_mapping().send(near.as_fd(), 0..content.len(), SendFlags::empty()),
            Ok(content.len())
        );
        let mut received = vec![0; content.len()];
        far.read_exact(&mut received).unwrap();
        assert!(received == expected);

        file.rewind().unwrap();
        file.read_exact(&mut received).unwrap();
        assert!(received == content);
    }

    #[test]
    fn an_edit_behind_the_end_of_a_truncated_file_is_an_error_and_not_a_signal() {
        let page = page_size();
        let file = file(&vec![1; 3 * page]);
        let mut mapping = PrivateMapping::of(file.as_fd(), 0, 3 * page).unwrap();
        file.set_len(page as u64).unwrap();
        assert_eq!(mapping.edit(2 * page, b"late"), Err(io::Errno::FAULT));
        assert_eq!(mapping.edit(10, b"in time"), Ok(1));
        assert_eq!(mapping.edit(3 * page - 1, b"ab"), Err(io::Errno::INVAL));
    }
}
