//! io_uring(7) with options that the server does not use: registered buffers and files, a kernel thread
//! that submits (SQPOLL), and `SEND_ZC` from a registered buffer (Linux 6.0).
//!
//! # Limitations
//! All operations of a call have completed when it returns. If the ring itself fails, the memory that
//! the kernel may still access is leaked.

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::{Errno, Result};
use std::hint::spin_loop;
use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Alignment of the memory: that of O_DIRECT.
const ALIGNMENT: usize = 4096;

/// Milliseconds that the submitting thread polls without work before it sleeps.
const SQPOLL_IDLE: u32 = 10;

/// Turns of a loop that polls for completions of the submitting thread before the caller sleeps.
const SPINS: u32 = 2000;

/// Options of a ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct BenchRingOptions {
    /// The memory is registered, so that the kernel need not look up its pages for each operation.
    pub registered_memory: bool,
    /// The file is registered, so that the kernel need not look it up for each operation.
    pub registered_file: bool,
    /// A kernel thread polls the submission queue.
    pub sqpoll: bool,
}

/// A way of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingSend {
    /// By a copy.
    Copy,
    /// By reference: `SEND_ZC`.
    Zerocopy,
}

/// A ring with memory for several operations in flight, all on one descriptor.
pub struct BenchRing<'a> {
    ring: IoUring,
    memory: Vec<u8>,
    /// First aligned byte of the memory.
    start: usize,
    block: usize,
    depth: usize,
    options: BenchRingOptions,
    file: BorrowedFd<'a>,
}

impl<'a> BenchRing<'a> {
    /// Makes a ring for up to `depth` operations in flight of `block` bytes each.
    ///
    /// # Errors
    /// As io_uring_setup(2) and io_uring_register(2).
    pub fn new(
        file: BorrowedFd<'a>,
        depth: u32,
        block: usize,
        options: BenchRingOptions,
    ) -> Result<Self> {
        let mut builder = IoUring::builder();
        builder.dontfork();
        if options.sqpoll {
            builder.setup_sqpoll(SQPOLL_IDLE);
        }
        let ring = builder.build(depth).map_err(|error| errno(&error))?;
        let places = usize::try_from(depth).map_err(|_| Errno::INVAL)?;
        // All of it is touched, so that no page fault occurs later.
        let memory = vec![1_u8; places * block + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        if options.registered_memory {
            let first: *const u8 = &raw const memory[start];
            let part = libc::iovec { iov_base: first.cast_mut().cast(), iov_len: places * block };
            // SAFETY: the memory belongs to the value that owns the ring, is never moved or resized, and
            // outlives every operation.
            let registered = unsafe { ring.submitter().register_buffers(&[part]) };
            registered.map_err(|error| errno(&error))?;
        }
        if options.registered_file {
            let registered = ring.submitter().register_files(&[file.as_raw_fd()]);
            registered.map_err(|error| errno(&error))?;
        }
        Ok(Self { ring, memory, start, block, depth: places, options, file })
    }

    /// Reads a block at each offset.
    ///
    /// # Errors
    /// The first error of a read, or that of the ring.
    pub fn read(&mut self, offsets: &[u64]) -> Result<()> {
        let length = u32::try_from(self.block).map_err(|_| Errno::INVAL)?;
        let options = self.options;
        // The only registered file has the index 0.
        let file = types::Fd(if options.registered_file { 0 } else { self.file.as_raw_fd() });
        self.run(offsets.len(), |at, to| {
            let entry = if options.registered_memory {
                opcode::ReadFixed::new(file, to, length, 0).offset(offsets[at]).build()
            } else {
                opcode::Read::new(file, to, length).offset(offsets[at]).build()
            };
            if options.registered_file { entry.flags(squeue::Flags::FIXED_FILE) } else { entry }
        })
    }

    /// Sends as many blocks to the socket.
    ///
    /// # Errors
    /// The first error of a send, or that of the ring; `EINVAL` before Linux 6.0 for `SEND_ZC`.
    pub fn send(&mut self, count: usize, by: RingSend) -> Result<()> {
        let length = u32::try_from(self.block).map_err(|_| Errno::INVAL)?;
        let (socket, registered) =
            (types::Fd(self.file.as_raw_fd()), self.options.registered_memory);
        self.run(count, |_, from| match by {
            RingSend::Copy => opcode::Send::new(socket, from.cast_const(), length).build(),
            RingSend::Zerocopy => opcode::SendZc::new(socket, from.cast_const(), length)
                .buf_index(registered.then_some(0))
                .build(),
        })
    }

    /// Runs `count` operations, as many at a time as there are places, and waits for all.
    fn run(
        &mut self,
        count: usize,
        operation: impl Fn(usize, *mut u8) -> squeue::Entry,
    ) -> Result<()> {
        let mut free: Vec<usize> = (0..self.depth).collect();
        let (mut begun, mut in_flight, mut outcome) = (0, 0, Ok(()));
        loop {
            while begun < count && outcome.is_ok() {
                let Some(place) = free.pop() else { break };
                let first = self.start + place * self.block;
                let entry = operation(begun, &raw mut self.memory[first]).user_data(place as u64);
                // SAFETY: the memory of the place and the descriptor stay valid until the completion,
                // which this function waits for; otherwise it leaks the memory. No other operation uses
                // the place.
                let pushed = unsafe { self.ring.submission().push(&entry) };
                if pushed.is_err() {
                    free.push(place);
                    break;
                }
                begun += 1;
                in_flight += 1;
            }
            if in_flight == 0 {
                return outcome;
            }
            if let Err(error) = self.submit_and_wait() {
                mem::forget(mem::take(&mut self.memory));
                return Err(error);
            }
            for entry in self.ring.completion() {
                if entry.result() < 0 {
                    outcome = outcome.and(Err(Errno::from_raw_os_error(-entry.result())));
                }
                // A notification of SEND_ZC follows: the kernel still refers to the memory.
                if !cqueue::more(entry.flags()) {
                    free.push(usize::try_from(entry.user_data()).map_err(|_| Errno::IO)?);
                    in_flight -= 1;
                }
            }
        }
    }

    fn submit_and_wait(&mut self) -> Result<()> {
        if self.options.sqpoll {
            // Enters the kernel only if the thread sleeps.
            self.ring.submit().map_err(|error| errno(&error))?;
            for _ in 0..SPINS {
                if !self.ring.completion().is_empty() {
                    return Ok(());
                }
                spin_loop();
            }
        }
        match self.ring.submit_and_wait(1).map_err(|error| errno(&error)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(other) => Err(other),
        }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    #[test]
    fn every_option_reads_all_blocks() {
        let mut file = tempfile();
        file.write_all(&[5; 64 << 10]).unwrap();
        let offsets: Vec<u64> = (0..16).map(|block| block * 4096).collect();
        for number in 0..8 {
            let options = BenchRingOptions {
                registered_memory: number & 1 != 0,
                registered_file: number & 2 != 0,
                sqpoll: number & 4 != 0,
            };
            let mut ring = match BenchRing::new(file.as_fd(), 4, 4096, options) {
                Ok(ring) => ring,
                Err(errno) => {
                    println!("skipped: {options:?}: {errno}");
                    continue;
                }
            };
            ring.read(&offsets).unwrap();
            let read = &ring.memory[ring.start..ring.start + 4 * 4096];
            assert!(read.iter().all(|&byte| byte == 5), "{options:?}");
        }
    }

    #[test]
    fn datagrams_arrive_by_copy_and_by_reference() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let options = BenchRingOptions { registered_memory: true, ..Default::default() };
        let Ok(mut ring) = BenchRing::new(sender.as_fd(), 2, 1000, options) else {
            println!("skipped: no io_uring");
            return;
        };
        for by in [RingSend::Copy, RingSend::Zerocopy] {
            match ring.send(3, by) {
                Err(Errno::INVAL) => println!("skipped: no SEND_ZC"),
                other => {
                    other.unwrap();
                    for _ in 0..3 {
                        assert_eq!(receiver.recv(&mut [0; 2000]).unwrap(), 1000);
                    }
                }
            }
        }
    }

    fn tempfile() -> std::fs::File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        rustix::fs::memfd_create("karez-test", flags).unwrap().into()
    }
}
