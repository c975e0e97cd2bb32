//! POSIX AIO of glibc: aio_read(3), aio_write(3), aio(7). Since glibc 2.1; neither musl nor the kernel
//! has it.
//!
//! For each operation a thread of glibc makes a blocking call, and sends a signal at its end.
//! The handler writes the operation's number into a pipe, so that one thread can wait for all of
//! them with poll(2). poll(2) also accepts connections and waits for readiness.
//!
//! # Limitations
//!
//! Each blocked operation occupies a thread, of which there is a limited number (16,384 here). Requests
//! for one descriptor number are serialized, so simultaneous reads and writes of a socket need two
//! numbers (dup(2)). A running operation cannot be cancelled; only its
//! socket can be shut down. On a socket each begins with a `pread` or `pwrite` that fails with
//! `ESPIPE`. There is no `MSG_MORE`, and no `MSG_NOSIGNAL`, so SIGPIPE must be ignored (Rust
//! programs do). Every completion is a signal, sent to any thread that does not block it. Where the signal cannot be
//! queued, glibc overwrites the result, and the operation ends with `EIO`.

mod call;
mod notice;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{self, Errno};
use rustix::net::{Shutdown, SocketFlags, acceptfrom_with, shutdown};
use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

use crate::operation::{Completion, Key, Operation, Outcome, Received};
use crate::shared_fd::SharedFd;
use crate::slots::Slots;
use call::Call;
use notice::Notices;

/// The most threads of glibc.
const THREADS: i32 = 16_384;

/// The size of the buffer of a receive.
const BUFFER: usize = 16 << 10;

/// Connections taken from one listener at a time.
const ACCEPT_BATCH: usize = 64;

/// A signal beyond the limit of the queue (`RLIMIT_SIGPENDING`) is lost, so all operations are
/// checked after this time.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long dropping this waits for operations after shutting their sockets down.
const DROP_TIMEOUT: Duration = Duration::from_millis(500);

/// Operations in flight, and their notifications.
pub struct PosixAio {
    flights: Slots<RunningCall>,
    notices: Notices,
    /// Listeners and descriptors that are only polled.
    watched: Vec<Key>,
    /// Completions to be delivered at once.
    ready: Vec<Completion>,
    checked: Instant,
}

struct RunningCall {
    tag: u64,
    operation: Operation,
    /// The buffer of a receive.
    own: Vec<u8>,
    /// `None` for a descriptor that is only polled.
    call: Option<Call>,
    /// When its result was found to be `EAGAIN`, and no signal had come.
    unnoticed: Option<Instant>,
}

impl PosixAio {
    /// Installs the handler of the signal, which no other code of the process may use.
    ///
    /// # Errors
    /// `EMFILE` if no pipe can be made, `EINVAL` if the signal does not exist.
    pub fn new() -> io::Result<Self> {
        call::allow_threads(THREADS);
        let notices = Notices::new()?;
        let (flights, watched, ready) = (Slots::new(), Vec::new(), Vec::new());
        Ok(Self { flights, notices, watched, ready, checked: Instant::now() })
    }

    /// Starts an operation. Its completions have this `tag`.
    pub fn start(&mut self, tag: u64, mut operation: Operation) -> Key {
        let mut own = Vec::new();
        if let Operation::Receive(_) = operation {
            own = vec![0; BUFFER];
        }
        if let Operation::ReceiveAtMost(_, most) = operation {
            own = vec![0; most];
        }
        let call = Call::of(&mut operation, &mut own);
        let key =
            self.flights.insert(RunningCall { tag, operation, own, call: None, unnoticed: None });
        let Some(flight) = self.flights.get_mut(key) else { return key };
        match (call, &flight.operation) {
            (Some(mut call), _) => {
                let begun = call.begin(self.notices.event(key));
                flight.call = Some(call);
                if let Err(errno) = begun {
                    self.settle(key, Err(errno));
                }
            }
            (
                None,
                Operation::Accept(_)
                | Operation::AcceptOne(_)
                | Operation::Readable(_)
                | Operation::Writable(_),
            ) => self.watched.push(key),
            (None, _) => self.settle(key, Err(Errno::OPNOTSUPP)),
        }
        key
    }

    /// Cancels an operation that occupies no thread. A receive or a send continues.
    pub fn cancel(&mut self, key: Key) {
        if let Some(place) = self.watched.iter().position(|&watched| watched == key) {
            self.watched.swap_remove(place);
            self.settle(key, Err(Errno::CANCELED));
        }
    }

    /// Cancels an operation, and shuts its socket down if that is necessary.
    pub fn abort(&mut self, key: Key) {
        self.cancel(key);
        if let Some(RunningCall { operation, .. }) = self.flights.get_mut(key)
            && let Operation::Receive(socket)
            | Operation::ReceiveAtMost(socket, _)
            | Operation::Send { socket, .. } = operation
        {
            // If it is not connected any more, the call has returned already.
            let _gone = shutdown((**socket).as_fd(), Shutdown::Both);
        }
    }

    /// Returns the number of operations in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Waits for a completion, the timeout or a signal. Appends the completions to `done`.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let busy = self.flights.len() > self.watched.len();
        let most = if busy { CHECK_INTERVAL } else { Duration::MAX };
        let timeout = if self.ready.is_empty() {
            timeout.map_or(most, |timeout| timeout.min(most))
        } else {
            Duration::ZERO
        };
        let (noticed, readable) = self.poll(timeout)?;
        if noticed {
            for key in self.notices.take(&self.flights) {
                self.check(key, true);
            }
        }
        if self.notices.were_lost() || (busy && self.checked.elapsed() >= CHECK_INTERVAL) {
            self.checked = Instant::now();
            for key in self.flights.keys().collect::<Vec<_>>() {
                self.check(key, false);
            }
        }
        for key in readable {
            self.serve(key);
        }
        done.append(&mut self.ready);
        Ok(())
    }

    /// Returns whether there are notifications, and which of the polled descriptors are ready.
    fn poll(&self, timeout: Duration) -> io::Result<(bool, Vec<Key>)> {
        let watched = |&key| Some((key, self.watched_for(key)?));
        let handles: Vec<_> = self.watched.iter().filter_map(watched).collect();
        let mut fds = vec![PollFd::new(self.notices.pipe(), PollFlags::IN)];
        fds.extend(
            handles
                .iter()
                .map(|&(_, (handle, flags))| PollFd::from_borrowed_fd((**handle).as_fd(), flags)),
        );
        let timeout = rustix::event::Timespec::try_from(timeout).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok((true, Vec::new())), // most likely by a notification
            Err(errno) => return Err(errno),
        }
        let found = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let readable = handles.iter().zip(&fds[1..]).filter(|(_, fd)| found(fd));
        Ok((found(&fds[0]), readable.map(|((key, _), _)| *key).collect()))
    }

    fn watched_for(&self, key: Key) -> Option<(&SharedFd, PollFlags)> {
        match &self.flights.get(key)?.operation {
            Operation::Accept(handle)
            | Operation::AcceptOne(handle)
            | Operation::Readable(handle) => Some((handle, PollFlags::IN)),
            Operation::Writable(handle) => Some((handle, PollFlags::OUT)),
            _ => None,
        }
    }

    /// Handles a ready descriptor.
    fn serve(&mut self, key: Key) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let tag = flight.tag;
        let (listener, once) = match &flight.operation {
            Operation::Accept(listener) => (listener, false),
            Operation::AcceptOne(listener) => (listener, true),
            _ => {
                self.watched.retain(|&watched| watched != key);
                return self.settle(key, Ok(0));
            }
        };
        for _ in 0..ACCEPT_BATCH {
            let accepted = acceptfrom_with((**listener).as_fd(), SocketFlags::CLOEXEC);
            let over = once || accepted.is_err();
            if accepted.as_ref().err() == Some(&Errno::AGAIN) {
                return;
            }
            let outcome = Outcome::Accepted(accepted.map(|(socket, _)| socket));
            self.ready.push(Completion { tag, key, last: over, outcome });
            if over {
                self.watched.retain(|&watched| watched != key);
                self.flights.remove(key);
                return;
            }
        }
    }

    /// Takes the result of a call, if it has ended. `EAGAIN` may be that of a socket without room or, in place of the
    /// result, that of a signal which could not be queued (`RLIMIT_SIGPENDING`): then it is not known what was sent.
    fn check(&mut self, key: Key, noticed: bool) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let Some(result) = flight.call.as_ref().and_then(Call::result) else { return };
        if noticed || result != Err(Errno::AGAIN) {
            return self.settle(key, result);
        }
        let found = flight.unnoticed.get_or_insert_with(Instant::now);
        if found.elapsed() >= CHECK_INTERVAL {
            self.settle(key, Err(Errno::IO));
        }
    }

    /// Ends the operation.
    fn settle(&mut self, key: Key, result: io::Result<usize>) {
        if let Some(mut flight) = self.flights.remove(key) {
            self.ready.push(completion(&mut flight, key, result));
        }
    }
}

fn completion(flight: &mut RunningCall, key: Key, result: io::Result<usize>) -> Completion {
    let outcome = match &mut flight.operation {
        Operation::Accept(_) | Operation::AcceptOne(_) => {
            Outcome::Accepted(Err(result.err().unwrap_or(Errno::CANCELED)))
        }
        Operation::Readable(_) => Outcome::Readable,
        Operation::Writable(_) => Outcome::Writable(result.map(drop)),
        Operation::Receive(_) | Operation::ReceiveAtMost(..) => {
            Outcome::Received(result.map(|count| {
                let mut own = mem::take(&mut flight.own);
                own.truncate(count);
                Received::Owned(own)
            }))
        }
        Operation::Send { bytes, .. } => Outcome::Sent { bytes: mem::take(bytes), sent: result },
        Operation::Read { bytes, .. } => Outcome::Read { bytes: mem::take(bytes), read: result },
        Operation::ReadThenSend { bytes, .. } => {
            Outcome::ReadThenSent { bytes: mem::take(bytes), read: result, sent: result }
        }
        Operation::Splice { .. } => Outcome::Spliced(result),
        Operation::Open(_) => Outcome::Opened(Err(result.err().unwrap_or(Errno::OPNOTSUPP))),
    };
    Completion { tag: flight.tag, key, last: true, outcome }
}

impl Drop for PosixAio {
    fn drop(&mut self) {
        for key in self.flights.keys().collect::<Vec<_>>() {
            self.abort(key);
        }
        let (end, mut done) = (Instant::now() + DROP_TIMEOUT, Vec::new());
        while self.flights.len() > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.wait(Some(left), &mut done).is_err() {
                break;
            }
        }
        if self.flights.len() > 0 {
            // A thread may still be in its call, or access its control block, at any time.
            mem::forget(mem::replace(&mut self.flights, Slots::new()));
        }
    }
}

impl fmt::Debug for PosixAio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PosixAio").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
