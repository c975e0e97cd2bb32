//! io_uring(7): operations go into one ring shared with the kernel, completions come out of
//! another. Linux 5.11 at least; multishot accept since 5.19, multishot receive since 6.0.
//!
//! A [`Ring`] holds every operation, with its descriptors and its buffer, until its last completion. It
//! detects missing features of older kernels by trying them: a refused multishot operation is restarted
//! as a one-shot.
//!
//! # Limitations
//!
//! A container, a sysctl (`kernel.io_uring_disabled`) or seccomp may forbid it. It has no sendfile, and a
//! kernel thread makes each splice. Operations bypass
//! seccomp. A ring belongs to the thread that made it. A cancelled operation ends only with its
//! completion. If completions are not fetched in time, they overflow into memory of the kernel,
//! and a further call must fetch them.

mod entries;
mod in_flight;
mod options;

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

use crate::counted;
#[cfg(feature = "fault-injection")]
use crate::faults::ring::InjectedErrnos;
use crate::operation::{Completion, Key, Operation, Outcome, Received};
use crate::provided_buffers::ProvidedBuffers;
use crate::slots::Slots;
use entries::{Entries, SECOND};
use in_flight::{Features, InFlight};
pub use options::RingOptions;
use options::{build, errno};

/// The key of entries whose completion is ignored.
const NO_KEY: u64 = u64::MAX;

/// The rounds and the length of each in which dropping a ring waits for cancelled operations.
const DROP_TIMEOUT: (u32, Duration) = (20, Duration::from_millis(25));

/// A ring and its operations in flight.
pub struct Ring {
    ring: IoUring,
    flights: Slots<InFlight>,
    buffers: Option<Rc<ProvidedBuffers>>,
    buffer_size: u32,
    features: Features,
    /// Entries for which the submission queue has no room.
    waiting: VecDeque<Entries>,
    fetched: Vec<(u64, i32, u32)>,
    /// How often the completion queue was full when it was read.
    overflows: u64,
    #[cfg(feature = "fault-injection")]
    injected: InjectedErrnos,
    _one_thread: PhantomData<*const ()>,
}

impl Ring {
    /// Makes a ring, which belongs to this thread.
    ///
    /// # Errors
    /// `EPERM` if it is forbidden, `ENOSYS` before Linux 5.11,
    /// `ENOMEM` beyond `RLIMIT_MEMLOCK` on kernels before 5.12.
    pub fn new(options: RingOptions) -> io::Result<Self> {
        let ring = build(options)?;
        let features = ring.params();
        if !(features.is_feature_ext_arg() && features.is_feature_nodrop()) {
            return Err(Errno::NOSYS);
        }
        let mut probe = Probe::new();
        let probed = ring.submitter().register_probe(&mut probe).is_ok();
        let zerocopy = probed && probe.is_supported(opcode::SendZc::CODE);
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
            features: Features { accept_many: options.multishot, receive_many, zerocopy },
            waiting: VecDeque::new(),
            fetched: Vec::new(),
            overflows: 0,
            #[cfg(feature = "fault-injection")]
            injected: InjectedErrnos::default(),
            _one_thread: PhantomData,
        })
    }

    /// Starts an operation at the next [`wait`](Self::wait). Its completions have this `tag`.
    pub fn start(&mut self, tag: u64, operation: Operation) -> Key {
        let flight =
            InFlight { tag, operation, own: Vec::new(), pending: 1, first: 0, delivered: false };
        let key = self.flights.insert(flight);
        self.begin(key);
        key
    }

    /// Requests the cancellation of an operation. It still completes, possibly with success.
    pub fn cancel(&mut self, key: Key) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        if let Operation::Open(lookup) = &mut flight.operation {
            lookup.cancel();
        }
        if let Operation::ReadThenSend { .. } = flight.operation {
            self.push(Entries::one(opcode::AsyncCancel::new(key.0 | SECOND).build(), NO_KEY));
        }
        self.push(Entries::one(opcode::AsyncCancel::new(key.0).build(), NO_KEY));
    }

    /// Returns the number of operations in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Returns whether receives use provided buffers (Linux 5.19).
    #[must_use]
    pub fn has_provided_buffers(&self) -> bool {
        self.buffers.is_some()
    }

    /// Returns how often the completion queue was full.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Submits the started operations and waits for a completion, the timeout or a
    /// signal. Appends the completions to `done`.
    ///
    /// # Errors
    /// Without a completion: `EBUSY`, `EAGAIN`, `ENOMEM` if the kernel lacks resources now, so
    /// that the caller may retry after a pause; all further errors are permanent.
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
                // The completions make room. If the error persists, the next call returns it.
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
        // Only a call that waits for a completion runs deferred work, even with a timeout of 0.
        match self.ring.submitter().submit_with_args(1, &args).map_err(errno) {
            // BUSY: completions must be fetched first. AGAIN: no memory for a request now. Entries
            // that were not submitted stay in the queue.
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
            #[cfg(feature = "fault-injection")]
            let (result, flags) = self.injected.result(name, result, flags);
            if name != NO_KEY
                && let Some(completion) = self.settle(name, result, flags)
            {
                done.push(completion);
            }
        }
        self.fetched = fetched;
    }

    fn begin(&mut self, key: Key) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        if let Operation::Send { zerocopy, .. } = &mut flight.operation {
            *zerocopy &= self.features.zerocopy;
        }
        if let (Operation::Receive(_), None) = (&flight.operation, &self.buffers) {
            flight.own = vec![0; self.buffer_size as usize];
        }
        if let Operation::ReceiveAtMost(_, most) = flight.operation {
            flight.own = vec![0; most];
        }
        let entries = Entries::of(flight, self.features, self.buffers.is_some(), key);
        #[cfg(feature = "fault-injection")]
        let entries = entries.with_faults(key, &mut self.injected);
        flight.pending = entries.count();
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

    /// Handles one entry of the completion queue, and returns a completion to be delivered.
    fn settle(&mut self, name: u64, result: i32, flags: u32) -> Option<Completion> {
        let key = Key(name & !SECOND);
        let flight = self.flights.get_mut(key)?;
        let more = cqueue::more(flags);
        if result == -Errno::INVAL.raw_os_error() && self.features.downgrade(&flight.operation) {
            self.begin(key);
            return None;
        }
        let tag = flight.tag;
        let outcome = match &mut flight.operation {
            Operation::Accept(_) | Operation::AcceptOne(_) => Outcome::Accepted(accepted(result)),
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
                if flight.delivered {
                    self.flights.remove(key); // the notification: the buffer is free
                    return None;
                }
                flight.delivered = true;
                let bytes = if more { Vec::new() } else { mem::take(bytes) };
                if !more {
                    self.flights.remove(key);
                }
                let outcome = Outcome::Sent { bytes, sent: counted(result) };
                return Some(Completion { tag, key, last: true, outcome });
            }
            Operation::ReadThenSend { bytes, .. } => {
                flight.pending -= 1;
                let is_second = name & SECOND != 0;
                if flight.pending > 0 {
                    flight.first = result;
                    return None;
                }
                let (read, sent) =
                    if is_second { (flight.first, result) } else { (result, flight.first) };
                let (read, sent) = (counted(read), counted(sent));
                Outcome::ReadThenSent { bytes: mem::take(bytes), read, sent }
            }
            Operation::Open(lookup) => match lookup.settle(result) {
                Some(found) => Outcome::Opened(found),
                None => {
                    self.begin(key); // the file is open; statx is next
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

fn accepted(result: i32) -> io::Result<OwnedFd> {
    let count = counted(result)?;
    let number = i32::try_from(count).map_err(|_| Errno::IO)?;
    // SAFETY: the kernel has just opened this descriptor, and has returned it only here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn received(
    result: i32,
    flags: u32,
    mut own: Vec<u8>,
    buffers: Option<&Rc<ProvidedBuffers>>,
) -> io::Result<Received> {
    if let (Some(buffers), Some(number)) = (buffers, cqueue::buffer_select(flags)) {
        // Also if it is empty, or it would be lost.
        let lent = buffers.buffer(number, usize::try_from(result).unwrap_or(0))?;
        return counted(result).map(|_| Received::Provided(lent));
    }
    own.truncate(counted(result)?);
    Ok(Received::Owned(own))
}

impl Drop for Ring {
    fn drop(&mut self) {
        let keys: Vec<_> = self.flights.keys().collect();
        for key in keys {
            self.cancel(key);
        }
        let (rounds, pause) = DROP_TIMEOUT;
        let mut done = Vec::new();
        for _ in 0..rounds {
            if self.flights.len() == 0 {
                break;
            }
            if self.wait(Some(pause), &mut done).is_err() {
                std::thread::sleep(pause); // the error may be transient
            }
            done.clear();
        }
        if self.flights.len() > 0 {
            // The kernel may still access them at any time.
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
            .field("features", &self.features)
            .field("single_issuer", &params.is_setup_single_issuer())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
