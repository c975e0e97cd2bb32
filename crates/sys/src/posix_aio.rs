//! POSIX AIO as glibc makes it: aio_read(3), aio_write(3), aio(7). Since glibc 2.1; there is
//! nothing of it in musl, nor in the kernel.
//!
//! An operation is a thread of glibc's that makes a blocking call, and a signal when it is done.
//! The handler writes the operation's number into a pipe, so that one thread can wait for any of
//! them with poll(2). Accepting and waiting for readiness are no operations here: poll does both.
//!
//! What it does badly: each operation that waits holds a thread, and there is a limit to them
//! (16,384 here); requests for one descriptor number wait for each other, so whoever reads and
//! writes a socket at once needs two numbers (dup(2)); a running one cannot be cancelled, only its
//! socket shut down; on a socket each begins with a `pread` or `pwrite` that is refused with
//! `ESPIPE`; there is no `MSG_MORE`, and no `MSG_NOSIGNAL`, so SIGPIPE has to be ignored (Rust
//! programs do); and every completion is a signal, sent to whichever thread does not block it.

mod call;
mod notice;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{self, Errno};
use rustix::net::{Shutdown, SocketFlags, acceptfrom_with, shutdown};
use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

use crate::operation::{Completion, Handle, Key, Operation, Outcome, Received};
use crate::slots::Slots;
use call::Call;
use notice::Notices;

/// The most threads that glibc is told to use.
const THREADS: i32 = 16_384;

/// The buffer of a receive.
const BUFFER: usize = 16 << 10;

/// Connections taken from one listener at a time.
const ACCEPT_BATCH: usize = 64;

/// A signal that finds no room in the queue (`RLIMIT_SIGPENDING`) is lost, so all operations are
/// looked at when for so long none came.
const LOOK: Duration = Duration::from_secs(1);

/// How long dropping this waits for operations whose sockets it has shut down.
const FAREWELL: Duration = Duration::from_millis(500);

/// Operations in flight, and what tells of them.
pub struct PosixAio {
    flights: Slots<Flight>,
    notices: Notices,
    /// Listeners, and others that are only waited for.
    watched: Vec<Key>,
    /// What needs no waiting.
    ready: Vec<Completion>,
    looked: Instant,
}

struct Flight {
    tag: u64,
    operation: Operation,
    /// The buffer of a receive.
    own: Vec<u8>,
    /// `None` for what is only waited for.
    call: Option<Call>,
    /// The caller has been told; the notice is still to come, if it is not lost.
    told: bool,
}

impl PosixAio {
    /// Installs the handler of the signal, which nothing else in the process may use.
    ///
    /// # Errors
    /// `EMFILE` where there is no pipe to be had, `EINVAL` where there is no such signal.
    pub fn new() -> io::Result<Self> {
        call::allow_threads(THREADS);
        let notices = Notices::new()?;
        let (flights, watched, ready) = (Slots::new(), Vec::new(), Vec::new());
        Ok(Self { flights, notices, watched, ready, looked: Instant::now() })
    }

    /// Begins an operation. What comes of it is called `tag`.
    pub fn start(&mut self, tag: u64, mut operation: Operation) -> Key {
        let mut own = Vec::new();
        if let Operation::Receive(_) = operation {
            own = vec![0; BUFFER];
        }
        if let Operation::ReceiveAtMost(_, most) = operation {
            own = vec![0; most];
        }
        let call = Call::of(&mut operation, &mut own);
        let key = self.flights.insert(Flight { tag, operation, own, call: None, told: false });
        let Some(flight) = self.flights.get_mut(key) else { return key };
        match (call, &flight.operation) {
            (Some(mut call), _) => {
                let begun = call.begin(self.notices.event(key));
                flight.call = Some(call);
                if let Err(errno) = begun {
                    self.settle(key, Err(errno));
                }
            }
            (None, Operation::Accept(_) | Operation::Readable(_) | Operation::Writable(_)) => {
                self.watched.push(key);
            }
            (None, _) => self.settle(key, Err(Errno::OPNOTSUPP)),
        }
        key
    }

    /// Asks for an end of what does not hold a thread. A receive or a send goes on.
    pub fn cancel(&mut self, key: Key) {
        if let Some(place) = self.watched.iter().position(|&watched| watched == key) {
            self.watched.swap_remove(place);
            self.settle(key, Err(Errno::CANCELED));
        }
    }

    /// Asks for an end, whatever becomes of the socket.
    pub fn abort(&mut self, key: Key) {
        self.cancel(key);
        if let Some(Flight { operation, .. }) = self.flights.get_mut(key)
            && let Operation::Receive(socket)
            | Operation::ReceiveAtMost(socket, _)
            | Operation::Send { socket, .. } = operation
        {
            // Not connected any more: then the thread knows already.
            let _gone = shutdown((**socket).as_fd(), Shutdown::Both);
        }
    }

    /// How many operations are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Waits until something is done, the time is up, or a signal comes. Appends what came to
    /// `done`.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let busy = self.flights.len() > self.watched.len();
        let most = if busy { LOOK } else { Duration::MAX };
        let timeout = if self.ready.is_empty() {
            timeout.map_or(most, |timeout| timeout.min(most))
        } else {
            Duration::ZERO
        };
        let (noticed, readable) = self.poll(timeout)?;
        if noticed {
            for key in self.notices.take(&self.flights) {
                self.look(key, true);
            }
        }
        if self.notices.were_lost() || (busy && self.looked.elapsed() >= LOOK) {
            self.looked = Instant::now();
            for key in self.flights.keys().collect::<Vec<_>>() {
                self.look(key, false);
            }
        }
        for key in readable {
            self.serve(key);
        }
        done.append(&mut self.ready);
        Ok(())
    }

    /// Whether there are notices, and which of the watched have something.
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
            Err(Errno::INTR) => return Ok((true, Vec::new())), // most likely by a notice
            Err(errno) => return Err(errno),
        }
        let found = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let readable = handles.iter().zip(&fds[1..]).filter(|(_, fd)| found(fd));
        Ok((found(&fds[0]), readable.map(|((key, _), _)| *key).collect()))
    }

    fn watched_for(&self, key: Key) -> Option<(&Handle, PollFlags)> {
        match &self.flights.get(key)?.operation {
            Operation::Accept(handle) | Operation::Readable(handle) => {
                Some((handle, PollFlags::IN))
            }
            Operation::Writable(handle) => Some((handle, PollFlags::OUT)),
            _ => None,
        }
    }

    /// Something watched is ready.
    fn serve(&mut self, key: Key) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let tag = flight.tag;
        let Operation::Accept(listener) = &flight.operation else {
            self.watched.retain(|&watched| watched != key);
            return self.settle(key, Ok(0));
        };
        for _ in 0..ACCEPT_BATCH {
            let accepted = acceptfrom_with((**listener).as_fd(), SocketFlags::CLOEXEC);
            let over = accepted.is_err();
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

    /// Takes what came of a call, if something has. Without a notice of it, glibc may still look
    /// at its control block, so that is kept until there is one.
    fn look(&mut self, key: Key, noticed: bool) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        if flight.told {
            if noticed {
                self.flights.remove(key);
            }
            return;
        }
        let Some(result) = flight.call.as_mut().and_then(Call::result) else { return };
        if noticed {
            return self.settle(key, result);
        }
        flight.told = true;
        let completion = completion(flight, key, result);
        self.ready.push(completion);
    }

    /// The operation is over.
    fn settle(&mut self, key: Key, result: io::Result<usize>) {
        if let Some(mut flight) = self.flights.remove(key) {
            self.ready.push(completion(&mut flight, key, result));
        }
    }
}

fn completion(flight: &mut Flight, key: Key, result: io::Result<usize>) -> Completion {
    let outcome = match &mut flight.operation {
        Operation::Accept(_) => Outcome::Accepted(Err(result.err().unwrap_or(Errno::CANCELED))),
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
        Operation::LookUp(_) => Outcome::LookedUp(Err(result.err().unwrap_or(Errno::OPNOTSUPP))),
    };
    Completion { tag: flight.tag, key, last: true, outcome }
}

impl Drop for PosixAio {
    fn drop(&mut self) {
        for key in self.flights.keys().collect::<Vec<_>>() {
            self.abort(key);
        }
        let (end, mut done) = (Instant::now() + FAREWELL, Vec::new());
        while self.flights.len() > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.wait(Some(left), &mut done).is_err() {
                break;
            }
        }
        if self.flights.len() > 0 {
            // A thread may still be in its call, or at its control block, for as long as it likes.
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
