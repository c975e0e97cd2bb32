//! A part of a file in memory that can be edited without the file noticing: mmap(2) with
//! `MAP_PRIVATE`. Linux 2.0.
//!
//! A page that is edited is copied first (copy on write); all others stay the page cache's.
//!
//! An edit has to touch memory that is gone (SIGBUS) where the file was cut off. So it is not made
//! by us but by the kernel, which is asked to read the new bytes from a pipe into the mapping: for
//! it a missing page is `EFAULT`, an error like any other.
//!
//! What it does badly: two system calls for each 4 KiB of an edit, and a fault and a copied page
//! for each page edited; what others write to the file may still show in pages that were not.

use rustix::io;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::mapping::{Mapping, counted};

/// What an empty pipe takes at least without blocking: `PIPE_BUF`, one page.
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

    /// Replaces the bytes from `at` on, in this mapping only. Says in how many pieces, each a
    /// `write` into a pipe and a `read` out of it.
    ///
    /// # Errors
    /// `EFAULT` where the file was cut off; `EINVAL` for a part that is not within the mapping;
    /// `EMFILE`, `ENFILE` for want of a pipe; `ENOMEM`.
    pub fn edit(&mut self, at: usize, bytes: &[u8]) -> io::Result<usize> {
        let end = at.checked_add(bytes.len()).ok_or(io::Errno::INVAL)?;
        self.mapping.part(at..end)?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut at = at;
        for piece in bytes.chunks(PIPED) {
            let mut left = io::write(&write, piece)?;
            while left > 0 {
                let (start, length) = self.mapping.part(at..at + left)?;
                // SAFETY: the range is within the mapping, which is writable, private and ours
                // alone (`&mut self`); no reference into it exists.
                let taken = counted(unsafe { libc::read(read.as_raw_fd(), start, length) })?;
                at += taken;
                left -= taken;
            }
        }
        Ok(bytes.len().div_ceil(PIPED))
    }

    /// The edited bytes, to be handed to the kernel.
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
    fn an_edit_is_sent_and_the_file_stays_as_it_is() {
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
    fn an_edit_behind_the_end_of_a_cut_off_file_is_an_error_and_not_a_signal() {
        let page = page_size();
        let file = file(&vec![1; 3 * page]);
        let mut mapping = PrivateMapping::of(file.as_fd(), 0, 3 * page).unwrap();
        file.set_len(page as u64).unwrap();
        assert_eq!(mapping.edit(2 * page, b"late"), Err(io::Errno::FAULT));
        assert_eq!(mapping.edit(10, b"in time"), Ok(1));
        assert_eq!(mapping.edit(3 * page - 1, b"ab"), Err(io::Errno::INVAL));
    }
}
