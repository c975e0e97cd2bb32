//! Calls that may hang, made by another thread while the connection's own waits in poll(2) for the
//! result, the deadline, or a hang-up of the peer: a thread inside a system call can do none of that.
//!
//! # Limitations
//!
//! Each such call costs two switches of threads, and the connection an eventfd from the first on. A
//! local file is still read by the connection's own thread, inside sendfile(2) or read(2), so a local
//! disk that hangs holds the thread and its connection until it answers.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::demultiplexer::Token;
use crate::inbox::{Inbox, Letter};
use crate::order::{Errand, Order};
use crate::pool::Pool;
use crate::task::Job;
use crate::waker::Waker;

/// What one connection has other threads do.
pub(super) struct Offload<'a, J: Job> {
    pool: &'a Pool<Order<J>>,
    inbox: Option<Arc<Inbox<J::Done>>>,
    serial: u32,
}

/// The result of an errand.
pub(super) enum Outcome<J: Job> {
    Worked(J::Done),
    Warmed,
    /// The job panicked.
    Lost,
    /// It was not accepted.
    Rejected(Errand<J>),
    TimedOut,
    /// The peer is gone.
    HungUp,
}

impl<'a, J: Job> Offload<'a, J> {
    pub(super) fn new(pool: &'a Pool<Order<J>>) -> Self {
        Self { pool, inbox: None, serial: 0 }
    }

    /// Has it done and waits for that, at most until then. One that is not waited for any more is
    /// dropped where it has not begun, and else keeps its thread until it returns.
    pub(super) fn run(
        &mut self,
        errand: Errand<J>,
        until: Instant,
        socket: &OwnedFd,
    ) -> Outcome<J> {
        let Ok(inbox) = self.inbox() else { return Outcome::Rejected(errand) };
        self.serial = self.serial.wrapping_add(1);
        let (device, admit, serial) = (errand.device(), errand.admit(), self.serial);
        let order = Order { errand, token: Token(0), serial, inbox: Arc::clone(&inbox) };
        match self.pool.submit(device, until, admit, order) {
            Err(Order { errand, .. }) => Outcome::Rejected(errand),
            Ok(ticket) => {
                let outcome = wait(&inbox, serial, until, socket);
                if matches!(outcome, Outcome::TimedOut | Outcome::HungUp) {
                    self.pool.abandon(ticket);
                }
                outcome
            }
        }
    }

    fn inbox(&mut self) -> rustix::io::Result<Arc<Inbox<J::Done>>> {
        if self.inbox.is_none() {
            self.inbox = Some(Arc::new(Inbox::new(Arc::new(Waker::eventfd()?))));
        }
        self.inbox.clone().ok_or(Errno::MFILE)
    }
}

fn wait<J: Job>(
    inbox: &Inbox<J::Done>,
    serial: u32,
    until: Instant,
    socket: &OwnedFd,
) -> Outcome<J> {
    let (mut letters, mut watches_peer) = (Vec::new(), true);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        // A hang-up is reported unasked.
        let mut fds =
            [PollFd::new(inbox.waker(), PollFlags::IN), PollFd::new(socket, PollFlags::empty())];
        let watched = if watches_peer { &mut fds[..] } else { &mut fds[..1] };
        match poll(watched, timeout.as_ref()) {
            Ok(0) if left.is_zero() => return Outcome::TimedOut,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Outcome::TimedOut, // no memory for the poll: the peer is told to come back
        }
        if !fds[0].revents().is_empty() {
            inbox.waker().rearm();
            inbox.take(&mut letters);
            if let Some(outcome) = letters.drain(..).find_map(|letter| outcome_of(letter, serial)) {
                return outcome;
            }
        }
        let of_peer = fds[1].revents();
        if of_peer.contains(PollFlags::HUP) {
            return Outcome::HungUp;
        }
        // An error queue that has something would be reported again and again.
        watches_peer &= of_peer.is_empty();
    }
}

/// What a letter says of the errand with this serial number; those of earlier ones are late.
fn outcome_of<J: Job>(letter: Letter<J::Done>, serial: u32) -> Option<Outcome<J>> {
    match letter {
        Letter::Worked(_, of, done) if of == serial => Some(Outcome::Worked(done)),
        Letter::Warmed(_, of) if of == serial => Some(Outcome::Warmed),
        Letter::Lost(_, of) if of == serial => Some(Outcome::Lost),
        _ => None,
    }
}
