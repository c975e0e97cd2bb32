//! Page faults of memory that is read or written once per page, and a pipe that refers to memory:
//! mmap(2), madvise(2), vmsplice(2).
//!
//! # Limitations
//! A file that is truncated meanwhile ends the process by SIGBUS, so the file must belong to the caller.

use rustix::io::Result;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags, pipe_with, vmsplice};
use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::null_mut;

use crate::rusage::thread_usage;

/// Kind of memory.
#[derive(Clone, Copy, Debug)]
pub enum TouchedMemory<'a> {
    /// A mapped file, read.
    File(BorrowedFd<'a>),
    /// A mapped file with `MAP_POPULATE`, read.
    PopulatedFile(BorrowedFd<'a>),
    /// Private memory, written, in pages of the smallest size.
    Private,
    /// Private memory, written, with `MADV_HUGEPAGE`.
    PrivateHuge,
}

/// Maps `length` bytes of memory, touches every page in order, and returns the page faults of this thread.
///
/// # Errors
/// As mmap(2) and madvise(2).
pub fn faults_of_touching(memory: TouchedMemory<'_>, length: usize) -> Result<u64> {
    let start = map(memory, length)?;
    let advice = match memory {
        TouchedMemory::Private => Some(Advice::LinuxNoHugepage),
        TouchedMemory::PrivateHuge => Some(Advice::LinuxHugepage),
        _ => None,
    };
    // SAFETY: the range is the one just mapped, and these advices change no content.
    let advised = advice.map_or(Ok(()), |advice| unsafe { madvise(start, length, advice) });
    let before = thread_usage().minor_faults;
    if advised.is_ok() {
        for offset in (0..length).step_by(rustix::param::page_size()) {
            // SAFETY: the offset is within the mapping, which nothing else accesses; the caller owns the
            // file, whose size does not change.
            let byte = unsafe { start.cast::<u8>().add(offset) };
            match memory {
                TouchedMemory::File(_) | TouchedMemory::PopulatedFile(_) => {
                    // SAFETY: as above.
                    std::hint::black_box(unsafe { byte.read_volatile() });
                }
                // SAFETY: as above, and the mapping is writable.
                _ => unsafe { byte.write_volatile(1) },
            }
        }
    }
    let faults = thread_usage().minor_faults - before;
    // SAFETY: the range is the one just mapped, and no reference to it exists.
    unsafe { munmap(start, length)? };
    advised.map(|()| faults)
}

fn map(memory: TouchedMemory<'_>, length: usize) -> Result<*mut c_void> {
    let (file, flags) = match memory {
        TouchedMemory::File(file) => (file, MapFlags::SHARED),
        TouchedMemory::PopulatedFile(file) => (file, MapFlags::SHARED | MapFlags::POPULATE),
        TouchedMemory::Private | TouchedMemory::PrivateHuge => {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: the kernel chooses the address, so no memory that is in use is replaced.
            return unsafe { mmap_anonymous(null_mut(), length, protection, MapFlags::PRIVATE) };
        }
    };
    // SAFETY: as above.
    unsafe { mmap(null_mut(), length, ProtFlags::READ, flags, file, 0) }
}

/// Passes a page to a pipe by vmsplice, overwrites the page, and returns whether the pipe has the new
/// content: then the pipe refers to the page and has not copied it.
///
/// # Errors
/// As pipe2(2) and vmsplice(2).
pub fn pipe_refers_to_memory() -> Result<bool> {
    let length = rustix::param::page_size();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut page = vec![1_u8; length];
    let part = IoSliceRaw::from_slice(&page);
    // SAFETY: the page outlives the bytes in the pipe, which are read below; or the pipe, which is closed
    // before the page is freed. No gift is made of it.
    unsafe { vmsplice(&write, &[part], SpliceFlags::empty())? };
    page.fill(2);
    std::hint::black_box(&mut page);
    let mut received = vec![0_u8; length];
    let count = rustix::io::read(&read, &mut received)?;
    drop((read, write));
    Ok(received[..count].iter().all(|&byte| byte == 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    /// As many bytes as a huge page.
    const LENGTH: usize = 2 << 20;

    #[test]
    fn private_memory_takes_a_fault_for_each_page() {
        let faults = faults_of_touching(TouchedMemory::Private, LENGTH).unwrap();
        assert_eq!(faults, (LENGTH / rustix::param::page_size()) as u64);
    }

    #[test]
    fn populated_file_takes_no_fault() {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = rustix::fs::memfd_create("karez-test", flags).unwrap();
        rustix::fs::ftruncate(&file, LENGTH as u64).unwrap();
        let faults =
            faults_of_touching(TouchedMemory::PopulatedFile(file.as_fd()), LENGTH).unwrap();
        assert_eq!(faults, 0);
    }

    #[test]
    fn spliced_memory_is_not_copied() {
        assert!(pipe_refers_to_memory().unwrap());
    }
}
