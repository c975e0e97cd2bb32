//! io_uring(7): operations go into one ring shared with the kernel, completions come out of
//! another. Linux 5.11 at least; multishot accept since 5.19, multishot receive since 6.0.
//!
//! A [`Ring`] holds every operation, with its descriptors and its buffer, until the kernel has
//! said its last word about it. What it can do less well on older kernels it finds out by trying:
//! a multishot operation that is refused is begun again as one that says one thing.
//!
//! What it does badly: a container, a sysctl (`kernel.io_uring_disabled`) or seccomp may refuse
//! it; it knows no sendfile, and its splice goes to a thread of the kernel; operations pass by
//! seccomp; a ring belongs to the thread that made it; a cancelled operation is not over until it
//! says so; and when completions are not fetched in time they overflow into memory of the kernel,
//! which costs a call to get them out.

mod entries;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode};
use rustix::io::{self, Errno};
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use crate::operation::{Completion, Key, Operation, Outcome, Received, counted};
use crate::provided_buffers::{GROUP, ProvidedBuffers};
use crate::slots::Slots;
use entries::{Entries, SECOND};

/// What nobody asks about.
const NOBODY: u64 = u64::MAX;

/// How long, all in all, dropping a ring waits for operations that it has cancelled.
const FAREWELL: (u32, Duration) = (20, Duration::from_millis(25));

/// How large a ring is to be, and what it may use.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Operations handed over by one call.
    pub submissions: u32,
    /// Completions that find room.
    pub completions: u32,
    /// Buffers to receive into, a power of two; 0 for one with each receive.
    pub buffers: u16,
    /// How long such a buffer is.
    pub buffer_size: u32,
    /// Operations that say more than one thing.
    pub multishot: bool,
}

impl Default for RingOptions {
    fn default() -> Self {
        let (buffers, buffer_size) = (256, 4 << 10);
        Self { submissions: 256, completions: 4096, buffers, buffer_size, multishot: true }
    }
}

/// One ring and what is in flight.
pub struct Ring {
    ring: IoUring,
    flights: Slots<Flight>,
    buffers: Option<Rc<ProvidedBuffers>>,
    buffer_size: u32,
    can: Can,
    /// What found no room in the submission queue.
    waiting: VecDeque<Entries>,
    fetched: Vec<(u64, i32, u32)>,
    /// Completion queues that were full when they were fetched.
    overflows: u64,
    _one_thread: PhantomData<*const ()>,
}

/// What this kernel can, as far as it has not said otherwise.
#[derive(Clone, Copy, Debug)]
struct Can {
    accept_many: bool,
    receive_many: bool,
    lend: bool,
}

/// An operation in flight, with all that the kernel may look at.
struct Flight {
    tag: u64,
    operation: Operation,
    /// The buffer of a receive that has its own.
    own: Vec<u8>,
    /// Completions to come before it is over.
    due: u8,
    /// What the first of two came to.
    first: i32,
    /// The caller has been told all; the kernel still refers to the buffer.
    told: bool,
}

impl Ring {
    /// Asks the kernel for a ring, which is then this thread's.
    ///
    /// # Errors
    /// `EPERM` where it is forbidden, `ENOSYS` where there is none or it is older than Linux 5.11,
    /// `ENOMEM` beyond `RLIMIT_MEMLOCK` on kernels before 5.12.
    pub fn new(options: RingOptions) -> io::Result<Self> {
        let ring = build(options)?;
        let features = ring.params();
        if !(features.is_feature_ext_arg() && features.is_feature_nodrop()) {
            return Err(Errno::NOSYS);
        }
        let mut probe = Probe::new();
        let probed = ring.submitter().register_probe(&mut probe).is_ok();
        let lend = probed && probe.is_supported(opcode::SendZc::CODE);
        // Linux 5.19; before it each receive has a buffer of its own.
        let buffers = (options.buffers > 0)
            .then(|| ProvidedBuffers::register(&ring, options.buffers, options.buffer_size).ok())
            .flatten();
        let receive_many = options.multishot && buffers.is_some();
        Ok(Self {
            ring,
            flights: Slots::new(),
            buffers,
            buffer_size: options.buffer_size,
            can: Can { accept_many: options.multishot, receive_many, lend },
            waiting: VecDeque::new(),
            fetched: Vec::new(),
            overflows: 0,
            _one_thread: PhantomData,
        })
    }

    /// Begins an operation at the next [`wait`](Self::wait). What comes of it is called `tag`.
    pub fn start(&mut self, tag: u64, operation: Operation) -> Key {
        let flight = Flight { tag, operation, own: Vec::new(), due: 1, first: 0, told: false };
        let key = self.flights.insert(flight);
        self.begin(key);
        key
    }

    /// Asks for an end of an operation. It still says how it ended, and may have been done.
    pub fn cancel(&mut self, key: Key) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        if let Operation::LookUp(lookup) = &mut flight.operation {
            lookup.cancel();
        }
        if let Operation::ReadThenSend { .. } = flight.operation {
            self.push(Entries::one(opcode::AsyncCancel::new(key.0 | SECOND).build(), NOBODY));
        }
        self.push(Entries::one(opcode::AsyncCancel::new(key.0).build(), NOBODY));
    }

    /// How many operations are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether receives take buffers from a ring of them (Linux 5.19).
    #[must_use]
    pub fn has_provided_buffers(&self) -> bool {
        self.buffers.is_some()
    }

    /// How many times the completion queue was found full.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Hands over what has begun and waits until something is complete, the time is up, or a
    /// signal comes. Appends what came to `done`.
    ///
    /// # Errors
    /// With nothing complete: `EBUSY`, `EAGAIN`, `ENOMEM` where the kernel lacks something now, so
    /// that the caller may wait a little and call again; others cannot be mended so.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let before = done.len();
        loop {
            let busy = !self.waiting.is_empty() || done.len() > before;
            let entered = self.enter(if busy { Some(Duration::ZERO) } else { timeout });
            self.fetch(done);
            match entered {
                Err(errno) if done.len() == before => return Err(errno),
                // What was complete all the same makes room. If it stays so, the next call says it.
                Err(_) => return Ok(()),
                Ok(()) if self.waiting.is_empty() => return Ok(()),
                Ok(()) => {}
            }
            self.refill();
        }
    }

    fn enter(&self, timeout: Option<Duration>) -> io::Result<()> {
        let time = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(time) = &time {
            args = args.timespec(time);
        }
        // Deferred work is done by a call that waits for something only, if for no time at all.
        match self.ring.submitter().submit_with_args(1, &args).map_err(errno) {
            // BUSY: completions have to be fetched first. AGAIN: no memory for a request now. What
            // was not taken stays in the queue.
            Ok(_) | Err(Errno::TIME | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn fetch(&mut self, done: &mut Vec<Completion>) {
        let mut fetched = mem::take(&mut self.fetched);
        let queue = self.ring.completion();
        self.overflows += u64::from(queue.is_full());
        fetched.extend(queue.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        for (name, result, flags) in fetched.drain(..) {
            if name != NOBODY
                && let Some(completion) = self.settle(name, result, flags)
            {
                done.push(completion);
            }
        }
        self.fetched = fetched;
    }

    fn begin(&mut self, key: Key) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        if let Operation::Send { lend, .. } = &mut flight.operation {
            *lend &= self.can.lend;
        }
        if let (Operation::Receive(_), None) = (&flight.operation, &self.buffers) {
            flight.own = vec![0; self.buffer_size as usize];
        }
        if let Operation::ReceiveAtMost(_, most) = flight.operation {
            flight.own = vec![0; most];
        }
        let entries = Entries::of(flight, self.can, self.buffers.is_some(), key);
        flight.due = entries.count();
        self.push(entries);
    }

    fn push(&mut self, entries: Entries) {
        if !self.waiting.is_empty() || !entries.push(&mut self.ring) {
            self.waiting.push_back(entries);
        }
    }

    fn refill(&mut self) {
        while let Some(entries) = self.waiting.pop_front() {
            if !entries.push(&mut self.ring) {
                self.waiting.push_front(entries);
                return;
            }
        }
    }

    /// Takes one word of the kernel's; what there is to tell of it.
    fn settle(&mut self, name: u64, result: i32, flags: u32) -> Option<Completion> {
        let key = Key(name & !SECOND);
        let flight = self.flights.get_mut(key)?;
        let more = cqueue::more(flags);
        if result == -Errno::INVAL.raw_os_error() && self.can.less_than(&flight.operation) {
            self.begin(key);
            return None;
        }
        let tag = flight.tag;
        let outcome = match &mut flight.operation {
            Operation::Accept(_) => Outcome::Accepted(accepted(result)),
            Operation::Receive(_) | Operation::ReceiveAtMost(..) => {
                let own = mem::take(&mut flight.own);
                Outcome::Received(received(result, flags, own, self.buffers.as_ref()))
            }
            Operation::Readable(_) => Outcome::Readable,
            Operation::Writable(_) => Outcome::Writable(counted(result).map(drop)),
            Operation::Splice { .. } => Outcome::Spliced(counted(result)),
            Operation::Read { bytes, .. } => {
                Outcome::Read { bytes: mem::take(bytes), read: counted(result) }
            }
            Operation::Send { bytes, .. } => {
                if flight.told {
                    self.flights.remove(key); // the notification: the buffer may go
                    return None;
                }
                flight.told = true;
                let bytes = if more { Vec::new() } else { mem::take(bytes) };
                if !more {
                    self.flights.remove(key);
                }
                let outcome = Outcome::Sent { bytes, sent: counted(result) };
                return Some(Completion { tag, key, last: true, outcome });
            }
            Operation::ReadThenSend { bytes, .. } => {
                flight.due -= 1;
                let is_second = name & SECOND != 0;
                if flight.due > 0 {
                    flight.first = result;
                    return None;
                }
                let (read, sent) =
                    if is_second { (flight.first, result) } else { (result, flight.first) };
                let (read, sent) = (counted(read), counted(sent));
                Outcome::ReadThenSent { bytes: mem::take(bytes), read, sent }
            }
            Operation::LookUp(lookup) => match lookup.settle(result) {
                Some(found) => Outcome::LookedUp(found),
                None => {
                    self.begin(key); // it is open; now what it is
                    return None;
                }
            },
        };
        if !more {
            self.flights.remove(key);
        }
        Some(Completion { tag, key, last: !more, outcome })
    }
}

impl Can {
    /// Whether a refused operation was one of several words, which are not asked for again.
    fn less_than(&mut self, operation: &Operation) -> bool {
        match operation {
            Operation::Accept(_) => mem::take(&mut self.accept_many),
            Operation::Receive(_) => mem::take(&mut self.receive_many),
            _ => false,
        }
    }
}

/// A ring with as much as this kernel has of what makes one fast: one thread hands over and does
/// the deferred work when it waits (6.1), or no interrupt of a running thread (5.19).
fn build(options: RingOptions) -> io::Result<IoUring> {
    let base = || {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(options.completions);
        builder
    };
    let mut best = base();
    best.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
    let mut good = base();
    good.setup_coop_taskrun().setup_submit_all();
    for builder in [best, good] {
        match builder.build(options.submissions).map_err(errno) {
            Err(Errno::INVAL) => {}
            built => return built,
        }
    }
    base().build(options.submissions).map_err(errno)
}

fn accepted(result: i32) -> io::Result<OwnedFd> {
    let count = counted(result)?;
    let number = i32::try_from(count).map_err(|_| Errno::IO)?;
    // SAFETY: the kernel has just opened this descriptor for us, and has told nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn received(
    result: i32,
    flags: u32,
    mut own: Vec<u8>,
    buffers: Option<&Rc<ProvidedBuffers>>,
) -> io::Result<Received> {
    if let (Some(buffers), Some(number)) = (buffers, cqueue::buffer_select(flags)) {
        // Also where nothing was put into it, or it would be lost.
        let lent = buffers.lend(number, usize::try_from(result).unwrap_or(0))?;
        return counted(result).map(|_| Received::Lent(lent));
    }
    own.truncate(counted(result)?);
    Ok(Received::Owned(own))
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

impl Drop for Ring {
    fn drop(&mut self) {
        let keys: Vec<_> = self.flights.keys().collect();
        for key in keys {
            self.cancel(key);
        }
        let (rounds, pause) = FAREWELL;
        let mut done = Vec::new();
        for _ in 0..rounds {
            if self.flights.len() == 0 {
                break;
            }
            if self.wait(Some(pause), &mut done).is_err() {
                std::thread::sleep(pause); // it may be gone by the next round
            }
            done.clear();
        }
        if self.flights.len() > 0 {
            // The kernel may still look at them, for as long as it likes.
            mem::forget(mem::replace(&mut self.flights, Slots::new()));
            mem::forget(self.buffers.take());
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params = self.ring.params();
        f.debug_struct("Ring")
            .field("in_flight", &self.in_flight())
            .field("can", &self.can)
            .field("single_issuer", &params.is_setup_single_issuer())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
