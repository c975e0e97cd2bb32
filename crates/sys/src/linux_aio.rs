//! Linux AIO: io_submit(2) with `IOCB_CMD_POLL` (Linux 4.18) and `IOCB_CMD_PREAD`, io_getevents(2).
//!
//! Each poll says one thing once, so it is begun anew before the next wait: all of them by one
//! `io_submit`. The kernel copies what it is told of a poll; the memory of a read is kept here until
//! it is over.
//!
//! What it does badly: a read is asynchronous with `O_DIRECT` only, and even then the call that
//! begins it may wait, for the file system to find the blocks; room for polls is reserved when the context is made, and all processes
//! together have `fs.aio-max-nr` (65,536 as Linux comes), beyond which io_setup(2) says `EAGAIN`;
//! a poll in flight holds its file, so one that is closed goes on until the poll is cancelled;
//! and glibc knows none of these calls.

use rustix::event::PollFlags;
use rustix::io::{self, Errno};
use std::fmt;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use crate::last_errno;
use crate::operation::{Handle, counted};

/// `IOCB_CMD_PREAD` and `IOCB_CMD_POLL` of linux/aio_abi.h.
const PREAD: u16 = 0;
const POLL: u16 = 5;

/// In what an event is known by: it is one of a read.
const READ: u64 = 1 << 31;

/// Events fetched by one call.
const BATCH: usize = 256;

/// `struct iocb` of linux/aio_abi.h, where the machine is little-endian or 64 bits wide alike.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Iocb {
    data: u64,
    _key_and_flags: [u32; 2],
    opcode: u16,
    _priority: i16,
    fd: u32,
    buffer: u64,
    length: u64,
    offset: u64,
    _rest: [u64; 2],
}

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Event {
    data: u64,
    _object: u64,
    result: i64,
    _result2: i64,
}

/// The polls of one context.
#[derive(Debug)]
pub struct AioPolls {
    context: libc::c_ulong,
    places: Vec<Option<Poll>>,
    free: Vec<usize>,
    /// To be begun before the next wait.
    staged: Vec<usize>,
    /// Tells a poll from those before it in the same place.
    round: u32,
    capacity: usize,
    events: Vec<Event>,
    reads: Vec<Option<Read>>,
    /// Reads that are over and have not been fetched.
    over: Vec<ReadOver>,
}

/// A read in flight, with all that the kernel may look at.
struct Read {
    tag: u64,
    memory: Vec<u8>,
    _file: Handle,
}

/// A read that is over.
pub struct ReadOver {
    /// What the caller called it.
    pub tag: u64,
    /// Its memory.
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

/// A descriptor that is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

impl AioPolls {
    /// Room for `capacity` polls.
    ///
    /// # Errors
    /// `EAGAIN` beyond `fs.aio-max-nr`; `ENOSYS` for a kernel without.
    pub fn new(capacity: u32) -> io::Result<Self> {
        let mut context: libc::c_ulong = 0;
        // Some more: a cancelled poll has its room until its event has been fetched.
        let room = capacity.saturating_add(capacity / 4).saturating_add(1);
        // SAFETY: the kernel writes the context, which is 0 as it has to be.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, room, &raw mut context) };
        if made != 0 {
            return Err(last_errno());
        }
        Ok(Self {
            context,
            places: Vec::new(),
            free: Vec::new(),
            staged: Vec::new(),
            round: 0,
            capacity: capacity as usize,
            events: vec![Event::default(); BATCH],
            reads: Vec::new(),
            over: Vec::new(),
        })
    }

    /// Polls `fd`, from now on, for what is `wanted`.
    ///
    /// # Errors
    /// `EAGAIN` if there is no room; `EINVAL` for what cannot be polled in this way.
    pub fn add(&mut self, fd: BorrowedFd<'_>, tag: u64, wanted: PollFlags) -> io::Result<Place> {
        if self.places.len() - self.free.len() >= self.capacity {
            return Err(Errno::AGAIN);
        }
        self.add_beyond(fd, tag, wanted)
    }

    /// The same, of the room that is kept for what was cancelled: for the few that have to be.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_beyond(
        &mut self,
        fd: BorrowedFd<'_>,
        tag: u64,
        wanted: PollFlags,
    ) -> io::Result<Place> {
        let number = fd.as_raw_fd().unsigned_abs();
        let control = Box::new(Iocb { opcode: POLL, fd: number, ..Iocb::default() });
        let poll = Poll { control, tag, wanted, armed: false, staged: false };
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[index] = Some(poll);
        if !wanted.is_empty()
            && let Err(errno) = self.begin(&[index])
        {
            self.places[index] = None;
            self.free.push(index);
            return Err(errno);
        }
        Ok(Place(index))
    }

    /// Begins to read into the part `range` of `memory` what stands in `file` from `offset` on. The
    /// file has to be open with `O_DIRECT`, or the call waits for the disk, and with it everything
    /// has to be aligned. What comes of it is fetched by [`read_over`](Self::read_over).
    ///
    /// # Errors
    /// With the memory, for nothing was begun: `EAGAIN` if there is no room, `EINVAL`.
    pub fn read(
        &mut self,
        tag: u64,
        file: Handle,
        offset: u64,
        memory: Vec<u8>,
        range: Range<usize>,
    ) -> Result<(), (Errno, Vec<u8>)> {
        let place = self.reads.iter().position(Option::is_none);
        let place = place.unwrap_or_else(|| {
            self.reads.push(None);
            self.reads.len() - 1
        });
        let number = (*file).as_fd().as_raw_fd().unsigned_abs();
        let read = self.reads[place].insert(Read { tag, memory, _file: file });
        let Some(bytes) = read.memory.get_mut(range) else {
            return Err((
                Errno::INVAL,
                self.take_read(place).map_or_else(Vec::new, |it| it.memory),
            ));
        };
        let mut control = Iocb {
            data: READ | place as u64,
            opcode: PREAD,
            fd: number,
            // The kernel writes there though it is told a number.
            buffer: bytes.as_mut_ptr().expose_provenance() as u64,
            length: bytes.len() as u64,
            offset,
            ..Iocb::default()
        };
        match submit(self.context, &mut [&raw mut control]) {
            Ok(_) => Ok(()),
            Err(errno) => {
                Err((errno, self.take_read(place).map_or_else(Vec::new, |read| read.memory)))
            }
        }
    }

    /// One that is over since the last wait.
    pub fn read_over(&mut self) -> Option<ReadOver> {
        self.over.pop()
    }

    fn take_read(&mut self, place: usize) -> Option<Read> {
        self.reads.get_mut(place).and_then(Option::take)
    }

    /// Changes what is wanted.
    pub fn change(&mut self, Place(index): Place, tag: u64, wanted: PollFlags) {
        let context = self.context;
        let Some(Some(poll)) = self.places.get_mut(index) else { return };
        poll.tag = tag;
        if poll.armed && poll.wanted != wanted {
            cancel(context, poll);
        }
        poll.wanted = wanted;
        self.stage(index);
    }

    /// Polls it no more.
    pub fn remove(&mut self, Place(index): Place) {
        let Some(mut poll) = self.places.get_mut(index).and_then(Option::take) else { return };
        if poll.armed {
            cancel(self.context, &mut poll);
        }
        self.staged.retain(|&staged| staged != index);
        self.free.push(index);
    }

    /// Begins all polls that have said their word, waits until some have news, the time is up, or
    /// a signal comes, and appends whose news it is and what.
    ///
    /// # Errors
    /// `ENOMEM` and the like may be gone at the next call, before which nothing is lost.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        news: &mut Vec<(u64, PollFlags)>,
    ) -> io::Result<()> {
        let staged = std::mem::take(&mut self.staged);
        let begun = self.begin(&staged);
        // Those that were not begun are, before the next wait.
        self.staged.extend_from_slice(&staged[begun.unwrap_or(0)..]);
        match begun {
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
        }
        // No room for some: there is when events have been fetched.
        let timeout = if self.staged.is_empty() { timeout } else { Some(Duration::ZERO) };
        let count = self.fetch(timeout)?;
        for number in 0..count {
            let Event { data, result, .. } = self.events[number];
            if data >> 32 == 0 && data & READ != 0 {
                self.read_ended((data & !READ) as usize, result);
                continue;
            }
            let index = (data & u64::from(u32::MAX)) as usize;
            let Some(Some(poll)) = self.places.get_mut(index) else { continue };
            if !poll.armed || poll.control.data != data {
                continue; // of one that was cancelled
            }
            poll.armed = false;
            news.push((poll.tag, found(result, poll.wanted)));
            self.stage(index);
        }
        Ok(())
    }

    fn read_ended(&mut self, place: usize, result: i64) {
        if let Some(Read { tag, memory, .. }) = self.take_read(place) {
            let outcome = i32::try_from(result).map_or(Err(Errno::IO), counted);
            self.over.push(ReadOver { tag, memory, outcome });
        }
    }

    fn stage(&mut self, index: usize) {
        if let Some(Some(poll)) = self.places.get_mut(index)
            && !poll.armed
            && !poll.staged
            && !poll.wanted.is_empty()
        {
            poll.staged = true;
            self.staged.push(index);
        }
    }

    /// Begins these; says how many of them are through with it.
    fn begin(&mut self, indices: &[usize]) -> io::Result<usize> {
        let mut controls = Vec::with_capacity(indices.len());
        let mut begun = Vec::with_capacity(indices.len());
        for &index in indices {
            let Some(Some(poll)) = self.places.get_mut(index) else { continue };
            poll.staged = false;
            if poll.armed || poll.wanted.is_empty() {
                continue;
            }
            // Never 0, which reads have.
            self.round = self.round.wrapping_add(1).max(1);
            poll.control.data = u64::from(self.round) << 32 | index as u64;
            poll.control.buffer = u64::from(crate::poll::bits(poll.wanted));
            controls.push(&raw mut *poll.control);
            begun.push(index);
        }
        let count = submit(self.context, &mut controls);
        for &index in &begun[..count.unwrap_or(0)] {
            if let Some(Some(poll)) = self.places.get_mut(index) {
                poll.armed = true;
            }
        }
        let left: Vec<_> = begun.get(count?..).unwrap_or_default().to_vec();
        for index in left {
            self.stage(index);
        }
        Ok(indices.len())
    }

    fn fetch(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let time = timeout.map(crate::timespec);
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (least, most) = (1, self.events.len());
        let events = self.events.as_mut_ptr();
        // SAFETY: there is room for `most` events, and the time is read and lives here.
        let fetched = unsafe {
            libc::syscall(libc::SYS_io_getevents, self.context, least, most, events, time)
        };
        match usize::try_from(fetched) {
            Ok(count) => Ok(count.min(most)),
            Err(_) if last_errno() == Errno::INTR => Ok(0),
            Err(_) => Err(last_errno()),
        }
    }
}

/// Hands these over; says how many were taken, or why not the first.
fn submit(context: libc::c_ulong, controls: &mut [*mut Iocb]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < controls.len() {
        let rest = &mut controls[taken..];
        // SAFETY: these are addresses of control blocks, in `places` or of the caller, which nobody
        // touches now; the kernel writes their key and reads the rest before the call returns. The
        // memory of a read is owned by `reads` until its event has been fetched.
        let count =
            unsafe { libc::syscall(libc::SYS_io_submit, context, rest.len(), rest.as_mut_ptr()) };
        match usize::try_from(count) {
            Ok(count) if count > 0 => taken += count,
            _ if taken > 0 => break,
            _ => return Err(last_errno()),
        }
    }
    Ok(taken)
}

/// Its event still comes, and finds nobody waiting for it.
fn cancel(context: libc::c_ulong, poll: &mut Poll) {
    let mut event = Event::default();
    let control = &raw mut *poll.control;
    // SAFETY: the kernel knows the poll by this address and reads the key that it wrote there; it
    // writes at most one event.
    unsafe { libc::syscall(libc::SYS_io_cancel, context, control, &raw mut event) };
    poll.armed = false;
}

/// What was found of what was wanted: the kernel may tell more. An error of the poll itself is
/// for whoever tries.
fn found(result: i64, wanted: PollFlags) -> PollFlags {
    let unasked = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    let found = u16::try_from(result).map_or(PollFlags::ERR, crate::poll::flags);
    found & (wanted | unasked)
}

impl Drop for AioPolls {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and nobody uses it after this. Polls in flight end, and the
        // call waits for reads, so their memory goes after them.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("tag", &self.tag).finish_non_exhaustive()
    }
}

impl fmt::Debug for ReadOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, outcome, .. } = self;
        f.debug_struct("ReadOver")
            .field("tag", tag)
            .field("outcome", outcome)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
