//! pselect6(2) with bitmaps of any size. Linux 2.6.16.
//!
//! The limit of 1024 descriptors is that of glibc's `fd_set`; the kernel takes any number of bits
//! and stops at the size of the process's descriptor table.
//!
//! # Limitations
//!
//! The result overwrites the sets, so they are copied before each call, and a set holds only numbers. One
//! closed descriptor in a set fails the whole call with `EBADF`, so the owner of the set removes a
//! descriptor before it closes it.

use rustix::event::{FdSetElement, FdSetIter, fd_set_bound, fd_set_insert, fd_set_remove};
use rustix::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

/// Bits in one element of a set: the kernel's `unsigned long`.
const BITS: usize = size_of::<FdSetElement>() * 8;

/// A set of descriptor numbers.
#[derive(Clone, Default)]
pub struct FdSet {
    elements: Vec<FdSetElement>,
}

impl FdSet {
    /// Adds a descriptor; the set grows as necessary.
    pub fn insert(&mut self, fd: BorrowedFd<'_>) {
        let number = fd.as_raw_fd();
        self.grow(number.unsigned_abs() as usize / BITS + 1);
        fd_set_insert(&mut self.elements, number);
    }

    /// Removes a descriptor, if it is in the set.
    pub fn remove(&mut self, fd: BorrowedFd<'_>) {
        let number = fd.as_raw_fd();
        if (number.unsigned_abs() as usize) < self.elements.len() * BITS {
            fd_set_remove(&mut self.elements, number);
        }
    }

    /// Copies `other` into the memory of this set.
    pub fn copy(&mut self, other: &Self) {
        self.elements.clear();
        self.elements.extend_from_slice(&other.elements);
    }

    /// Returns the numbers in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        FdSetIter::new(&self.elements).map(|number| number.unsigned_abs() as usize)
    }

    fn grow(&mut self, elements: usize) {
        if self.elements.len() < elements {
            self.elements.resize(elements, FdSetElement::default());
        }
    }
}

impl std::fmt::Debug for FdSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Waits until one of `read` is readable or one of `write` is writable, and reduces the sets to those.
/// `None` waits indefinitely.
///
/// # Errors
/// `EBADF` for a number that is closed; `EINTR`; `ENOMEM`. The sets are then unchanged.
pub fn select(read: &mut FdSet, write: &mut FdSet, timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(crate::timespec_of_rustix);
    let elements = read.elements.len().max(write.elements.len());
    read.grow(elements);
    write.grow(elements);
    let bound = fd_set_bound(&read.elements).max(fd_set_bound(&write.elements));
    let (read, write) = (Some(&mut read.elements[..]), Some(&mut write.elements[..]));
    // SAFETY: both sets have room for `bound` bits. rustix requires open numbers because
    // they are not borrowed: here a closed one is `EBADF`, and a reused one reports the new
    // file, which no memory depends on.
    let found = unsafe { rustix::event::select(bound, read, write, None, timeout.as_ref()) }?;
    Ok(found.unsigned_abs() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_above_1024_work() {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if limit.maximum.is_some_and(|most| most <= 3000)
            || setrlimit(Resource::Nofile, raised).is_err()
        {
            println!("skipped: no descriptor may be as high as 3000");
            return;
        }
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let high = fcntl_dupfd_cloexec(&ours, 3000).unwrap();
        let (mut read, mut write) = (FdSet::default(), FdSet::default());
        read.insert(high.as_fd());
        // Signals of other tests interrupt it.
        let selected = |read: &mut FdSet, write: &mut FdSet, timeout| loop {
            match select(read, write, timeout) {
                Err(io::Errno::INTR) => {}
                result => return result,
            }
        };
        assert_eq!(selected(&mut read, &mut write, Some(Duration::ZERO)), Ok(0));
        assert_eq!(read.iter().count(), 0);
        theirs.write_all(b"x").unwrap();
        read.insert(high.as_fd());
        write.insert(ours.as_fd());
        assert_eq!(selected(&mut read, &mut write, None), Ok(2));
        let number = usize::try_from(high.as_raw_fd()).unwrap();
        assert!(number >= 3000);
        assert_eq!(read.iter().collect::<Vec<_>>(), [number]);
    }

    #[test]
    fn removed_descriptors_are_not_reported() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut write = FdSet::default();
        write.remove(ours.as_fd());
        write.insert(ours.as_fd());
        write.remove(ours.as_fd());
        assert_eq!(select(&mut FdSet::default(), &mut write, Some(Duration::ZERO)), Ok(0));
    }
}
