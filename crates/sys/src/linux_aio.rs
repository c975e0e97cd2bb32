//! Linux AIO: io_submit(2) with `IOCB_CMD_POLL` (Linux 4.18) and `IOCB_CMD_PREAD`, io_getevents(2).
//!
//! Polls are one-shot, so completed polls are resubmitted before the next wait, all of them by one
//! `io_submit`. The kernel copies the control block of a poll; the memory of a read is kept here until
//! the read ends.
//!
//! # Limitations
//!
//! A read is asynchronous only with `O_DIRECT`, and even then the submission
//! may block while the file system maps the blocks. Room for polls is reserved when the context is made;
//! `fs.aio-max-nr` (65,536 by default) limits it for all processes together, beyond which io_setup(2)
//! returns `EAGAIN`. A poll in flight holds its file, so a closed file stays open until the poll is
//! cancelled. glibc wraps none of these calls.

use rustix::event::PollFlags;
use rustix::io::{self, Errno};
use std::fmt;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use crate::counted;
use abi::{IoEvent, Iocb, POLL, PREAD};

mod abi;
use crate::shared_fd::SharedFd;

/// In the data of an event: it belongs to a read.
const READ: u64 = 1 << 31;

/// Events fetched by one call.
const BATCH: usize = 256;

/// A context with its polls and reads.
#[derive(Debug)]
pub struct AioContext {
    context: libc::c_ulong,
    slots: Vec<Option<Poll>>,
    free: Vec<usize>,
    /// Polls to be submitted before the next wait.
    staged: Vec<usize>,
    /// Distinguishes a poll from earlier ones in the same slot.
    round: u32,
    capacity: usize,
    events: Vec<IoEvent>,
    reads: Vec<Option<Read>>,
    /// Completed reads that have not been fetched.
    completed: Vec<CompletedRead>,
}

/// A read in flight, with the memory that the kernel writes.
struct Read {
    tag: u64,
    memory: Vec<u8>,
    _file: SharedFd,
}

/// A completed read.
pub struct CompletedRead {
    /// The tag that the caller gave it.
    pub tag: u64,
    /// Its buffer.
    pub memory: Vec<u8>,
    /// How many bytes were read.
    pub outcome: io::Result<usize>,
}

#[derive(Debug)]
struct Poll {
    /// On the heap, for the kernel knows a poll in flight by its address.
    control: Box<Iocb>,
    tag: u64,
    wanted: PollFlags,
    armed: bool,
    staged: bool,
}

/// Identifies a polled descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

impl AioContext {
    /// Makes a context with room for `capacity` polls.
    ///
    /// # Errors
    /// `EAGAIN` beyond `fs.aio-max-nr`; `ENOSYS` if the kernel has no AIO.
    pub fn new(capacity: u32) -> io::Result<Self> {
        // A reserve: a cancelled poll occupies its room until its event has been fetched.
        let room = capacity.saturating_add(capacity / 4).saturating_add(1);
        Ok(Self {
            context: abi::setup(room)?,
            slots: Vec::new(),
            free: Vec::new(),
            staged: Vec::new(),
            round: 0,
            capacity: capacity as usize,
            events: vec![IoEvent::default(); BATCH],
            reads: Vec::new(),
            completed: Vec::new(),
        })
    }

    /// Polls `fd` for the `wanted` events from now on.
    ///
    /// # Errors
    /// `EAGAIN` if there is no room; `EINVAL` for a file that does not support it.
    pub fn add(&mut self, fd: BorrowedFd<'_>, tag: u64, wanted: PollFlags) -> io::Result<Slot> {
        if self.slots.len() - self.free.len() >= self.capacity {
            return Err(Errno::AGAIN);
        }
        self.add_beyond(fd, tag, wanted)
    }

    /// Polls likewise, and uses the reserve for cancelled polls, for descriptors that must be polled.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_beyond(
        &mut self,
        fd: BorrowedFd<'_>,
        tag: u64,
        wanted: PollFlags,
    ) -> io::Result<Slot> {
        let number = fd.as_raw_fd().unsigned_abs();
        let control = Box::new(Iocb { opcode: POLL, fd: number, ..Iocb::default() });
        let poll = Poll { control, tag, wanted, armed: false, staged: false };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[index] = Some(poll);
        if !wanted.is_empty()
            && let Err(errno) = self.begin(&[index])
        {
            self.slots[index] = None;
            self.free.push(index);
            return Err(errno);
        }
        Ok(Slot(index))
    }

    /// Starts to read `file` from `offset` on into the part `range` of `memory`. The
    /// file must be open with `O_DIRECT`, otherwise the call blocks on the disk, and offset, address and
    /// length must be aligned. The result is fetched by [`next_completed_read`](Self::next_completed_read).
    ///
    /// # Errors
    /// With the memory, because the read has not been started: `EAGAIN` if there is no room, `EINVAL`.
    pub fn read(
        &mut self,
        tag: u64,
        file: SharedFd,
        offset: u64,
        memory: Vec<u8>,
        range: Range<usize>,
    ) -> Result<(), (Errno, Vec<u8>)> {
        let slot = self.reads.iter().position(Option::is_none);
        let slot = slot.unwrap_or_else(|| {
            self.reads.push(None);
            self.reads.len() - 1
        });
        let number = (*file).as_fd().as_raw_fd().unsigned_abs();
        let read = self.reads[slot].insert(Read { tag, memory, _file: file });
        let Some(bytes) = read.memory.get_mut(range) else {
            return Err((Errno::INVAL, self.take_read(slot).map_or_else(Vec::new, |it| it.memory)));
        };
        let mut control = Iocb {
            data: READ | slot as u64,
            opcode: PREAD,
            fd: number,
            // The kernel writes to this address, which is passed as a number.
            buffer: bytes.as_mut_ptr().expose_provenance() as u64,
            length: bytes.len() as u64,
            offset,
            ..Iocb::default()
        };
        match abi::submit(self.context, &mut [&raw mut control]) {
            Ok(_) => Ok(()),
            Err(errno) => {
                Err((errno, self.take_read(slot).map_or_else(Vec::new, |read| read.memory)))
            }
        }
    }

    /// Returns the next read that has completed since the last wait.
    pub fn next_completed_read(&mut self) -> Option<CompletedRead> {
        self.completed.pop()
    }

    fn take_read(&mut self, slot: usize) -> Option<Read> {
        self.reads.get_mut(slot).and_then(Option::take)
    }

    /// Changes the wanted events.
    pub fn change(&mut self, Slot(index): Slot, tag: u64, wanted: PollFlags) {
        let context = self.context;
        let Some(Some(poll)) = self.slots.get_mut(index) else { return };
        poll.tag = tag;
        if poll.armed && poll.wanted != wanted {
            abi::cancel(context, &mut poll.control);
            poll.armed = false;
        }
        poll.wanted = wanted;
        self.stage(index);
    }

    /// Stops polling a descriptor.
    pub fn remove(&mut self, Slot(index): Slot) {
        let Some(mut poll) = self.slots.get_mut(index).and_then(Option::take) else { return };
        if poll.armed {
            abi::cancel(self.context, &mut poll.control);
        }
        self.staged.retain(|&staged| staged != index);
        self.free.push(index);
    }

    /// Resubmits completed polls, waits for events, the timeout or a signal, and appends the tag and the
    /// flags of each event.
    ///
    /// # Errors
    /// A resource error such as `ENOMEM` may be transient; no event is lost before the next call.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<(u64, PollFlags)>,
    ) -> io::Result<()> {
        let staged = std::mem::take(&mut self.staged);
        let begun = self.begin(&staged);
        // Polls that were not submitted are submitted before the next wait.
        self.staged.extend_from_slice(&staged[begun.unwrap_or(0)..]);
        match begun {
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
        }
        // Without room for some polls: fetching events makes room.
        let timeout = if self.staged.is_empty() { timeout } else { Some(Duration::ZERO) };
        let count = abi::wait(self.context, &mut self.events, timeout)?;
        for number in 0..count {
            let IoEvent { data, result, .. } = self.events[number];
            if data >> 32 == 0 && data & READ != 0 {
                self.read_ended((data & !READ) as usize, result);
                continue;
            }
            let index = (data & u64::from(u32::MAX)) as usize;
            let Some(Some(poll)) = self.slots.get_mut(index) else { continue };
            if !poll.armed || poll.control.data != data {
                continue; // of a cancelled poll
            }
            poll.armed = false;
            ready.push((poll.tag, found(result, poll.wanted)));
            self.stage(index);
        }
        Ok(())
    }

    fn read_ended(&mut self, slot: usize, result: i64) {
        if let Some(Read { tag, memory, .. }) = self.take_read(slot) {
            let outcome = i32::try_from(result).map_or(Err(Errno::IO), counted);
            self.completed.push(CompletedRead { tag, memory, outcome });
        }
    }

    fn stage(&mut self, index: usize) {
        if let Some(Some(poll)) = self.slots.get_mut(index)
            && !poll.armed
            && !poll.staged
            && !poll.wanted.is_empty()
        {
            poll.staged = true;
            self.staged.push(index);
        }
    }

    /// Submits polls; returns how many have been handled.
    fn begin(&mut self, indices: &[usize]) -> io::Result<usize> {
        let mut controls = Vec::with_capacity(indices.len());
        let mut begun = Vec::with_capacity(indices.len());
        for &index in indices {
            let Some(Some(poll)) = self.slots.get_mut(index) else { continue };
            poll.staged = false;
            if poll.armed || poll.wanted.is_empty() {
                continue;
            }
            // Never 0, which marks reads.
            self.round = self.round.wrapping_add(1).max(1);
            poll.control.data = u64::from(self.round) << 32 | index as u64;
            poll.control.buffer = u64::from(crate::poll::bits(poll.wanted));
            controls.push(&raw mut *poll.control);
            begun.push(index);
        }
        let count = abi::submit(self.context, &mut controls);
        for &index in &begun[..count.unwrap_or(0)] {
            if let Some(Some(poll)) = self.slots.get_mut(index) {
                poll.armed = true;
            }
        }
        let left: Vec<_> = begun.get(count?..).unwrap_or_default().to_vec();
        for index in left {
            self.stage(index);
        }
        Ok(indices.len())
    }
}

/// Returns the reported events, limited to the wanted ones and errors. An error of the poll itself counts
/// as an error of the descriptor.
fn found(result: i64, wanted: PollFlags) -> PollFlags {
    let unasked = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    let found = u16::try_from(result).map_or(PollFlags::ERR, crate::poll::flags);
    found & (wanted | unasked)
}

impl Drop for AioContext {
    fn drop(&mut self) {
        // Before the memory of the reads is freed.
        abi::destroy(self.context);
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("tag", &self.tag).finish_non_exhaustive()
    }
}

impl fmt::Debug for CompletedRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, outcome, .. } = self;
        f.debug_struct("CompletedRead")
            .field("tag", tag)
            .field("outcome", outcome)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
