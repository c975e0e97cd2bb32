//! One connection on a readiness model: a socket, a task, and the wish that is open.
//!
//! [`Connection::advance`] grants wishes until one has to wait or the connection has had its
//! share of the turn. A wish is tried first and waited for on `EAGAIN` only: most wishes are
//! granted without asking the demultiplexer at all.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use crate::alarms::Deadline;
use crate::demultiplexer::{Interest, Ready, Token};
use crate::mailroom::{Home, Parcel, Unheard};
use crate::models::poll::report;
use crate::order::{Errand, run_here};
use crate::outgoing::{Others, Outgoing, Step};
use crate::pending_errand::PendingErrand;
use crate::relaying::{self, Relaying};
use crate::task::{Event, Job, Obstacle, Task, Want};

/// Bytes that one connection may send in a turn before others have theirs.
const SHARE_BYTES: u64 = 1 << 20;

/// Wishes that one connection may be granted in a turn before others have theirs.
const SHARE_WISHES: u32 = 24;

pub(crate) struct Connection<T: Task> {
    pub(crate) socket: OwnedFd,
    pub(crate) deadline: Deadline,
    /// In the reactor's queue for this turn.
    pub(crate) queued: bool,
    /// It waits already for what it wishes.
    rests: bool,
    /// What the demultiplexer watches it for, if that makes a difference to it.
    pub(crate) interest: Interest,
    task: T,
    wish: Wish,
    mail: Unheard<T::Mail>,
    pub(crate) errand: PendingErrand,
    /// A relay that is over, whose upstream may still be watched.
    relayed: Option<Box<Relaying>>,
    readable: bool,
    writable: bool,
    /// The peer's FIN or reset may be behind the bytes, so a short read does not mean "no more".
    hang_up: bool,
}

/// The open wish, as far as it has to be remembered.
enum Wish {
    /// The task has to be asked.
    Ask,
    Receive {
        until: Instant,
        idle: bool,
    },
    Send(Outgoing),
    Relay(Box<Relaying>),
    /// A worker runs its job, at most until then.
    Work {
        until: Instant,
    },
}

/// Why a connection rests.
pub(crate) enum Rest<J> {
    /// It waits for its socket, at most so long. `still` if it has waited for this before.
    Waiting { until: Instant, idle: bool, still: bool },
    /// It waits for this errand, which may block, in the end at most so long.
    Working(Errand<J>, Option<Instant>),
    /// The same, and it is on its way.
    StillWorking(Instant),
    /// It has had its share and could go on at once.
    Sharing,
    /// It is over.
    Closed,
}

/// What came of one attempt to grant a wish.
enum Grant<J> {
    Went(u64),
    Wait,
    /// Something has to be done about it first.
    Pause,
    Work(Errand<J>),
    Close,
}

/// What a selector would report of a socket now: poll(2), without a wait. Not by trying, for a send
/// takes what little room there is, where a selector says that there is none.
fn look_at(socket: BorrowedFd<'_>) -> Ready {
    let all = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP;
    let mut fds = [PollFd::from_borrowed_fd(socket, all)];
    let token = Token(0); // for the one who asks
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => report(token, fds[0].revents()),
        Err(_) => Ready::anything(token),
    }
}

impl<T: Task> Connection<T> {
    pub(crate) fn new(socket: OwnedFd, task: T) -> Self {
        Self {
            socket,
            deadline: Deadline::default(),
            queued: false,
            rests: false,
            interest: Interest::READ,
            task,
            wish: Wish::Ask,
            mail: Unheard::new(),
            errand: PendingErrand::default(),
            relayed: None,
            readable: false,
            writable: true,
            hang_up: false,
        }
    }

    /// Tells the task where it lives.
    pub(crate) fn move_in(&mut self, home: Home<'_, T::Mail>) {
        self.task.move_in(home);
    }

    /// Keeps a mail until the task wants to receive.
    pub(crate) fn post(&mut self, parcel: Parcel<T::Mail>) {
        self.mail.push_back(parcel);
    }

    /// Remembers what the demultiplexer reported.
    pub(crate) fn note(&mut self, report: Ready) {
        if let Wish::Relay(relaying) = &mut self.wish {
            relaying.note(report);
        }
        self.readable |= report.readable;
        self.writable |= report.writable || self.waits_for_release();
        self.hang_up |= report.hang_up;
        // On edges there is no interest to tell what it is watched for.
        if self.awaits_worker() && (report.hang_up || self.interest == Interest::HANG_UP) {
            self.errand.note(report, self.socket.as_fd());
        }
    }

    /// Whether its job or its page-in is with a worker.
    pub(crate) fn awaits_worker(&self) -> bool {
        match &self.wish {
            Wish::Work { .. } => true,
            Wish::Send(outgoing) => outgoing.waits_for_warmth(),
            Wish::Ask | Wish::Receive { .. } | Wish::Relay(_) => false,
        }
    }

    /// Looks at its own sockets and remembers what they say; false where another thread has to do
    /// something first.
    pub(crate) fn look(&mut self) -> bool {
        match &mut self.wish {
            Wish::Work { .. } => return false,
            Wish::Send(outgoing) if outgoing.waits_for_warmth() => return false,
            Wish::Relay(relaying) => {
                let found = look_at(relaying.upstream());
                relaying.note_upstream(found);
            }
            Wish::Ask | Wish::Receive { .. } | Wish::Send(_) => {}
        }
        self.note(look_at(self.socket.as_fd()));
        true
    }

    /// Whether the peer has sent what was not received yet.
    pub(crate) fn has_unread(&self) -> bool {
        ioctl_fionread(&self.socket).is_ok_and(|count| count > 0)
    }

    /// What it has to be watched for while it rests.
    pub(crate) fn wanted(&self) -> Interest {
        match self.wish {
            Wish::Work { .. } => self.errand.wanted(),
            Wish::Send(ref outgoing) if outgoing.waits_for_warmth() => self.errand.wanted(),
            Wish::Receive { .. } => Interest::READ,
            Wish::Send(ref outgoing) => outgoing.wanted(),
            Wish::Relay(ref relaying) => relaying.wanted(),
            Wish::Ask => Interest::NONE,
        }
    }

    /// Remembers what the demultiplexer reported of the upstream.
    pub(crate) fn note_upstream(&mut self, report: Ready) {
        if let Wish::Relay(relaying) = &mut self.wish {
            relaying.note_upstream(report);
        }
    }

    /// The relay that it is in.
    pub(crate) fn relaying(&mut self) -> Option<&mut Relaying> {
        match &mut self.wish {
            Wish::Relay(relaying) => Some(relaying),
            _ => None,
        }
    }

    /// Whether it is in a relay, or one is over that was not taken.
    pub(crate) fn has_relay(&self) -> bool {
        matches!(self.wish, Wish::Relay(_)) || self.relayed.is_some()
    }

    /// The relay that is over, if it was not taken before.
    pub(crate) fn take_relayed(&mut self) -> Option<Box<Relaying>> {
        self.relayed.take()
    }

    /// Grants wishes until one has to wait, the share is spent, or the task wants no more. With
    /// a pool a job that may block is handed out instead of run.
    pub(crate) fn advance(
        &mut self,
        buffer: &mut [u8],
        others: Others,
        now: Instant,
    ) -> Rest<T::Job> {
        self.task.taken_up();
        let rest = self.have_share(buffer, others, now);
        self.task.put_down();
        rest
    }

    fn have_share(&mut self, buffer: &mut [u8], others: Others, now: Instant) -> Rest<T::Job> {
        let (mut wishes, mut bytes) = (0, 0);
        while wishes < SHARE_WISHES && bytes < SHARE_BYTES {
            match self.grant(buffer, others, now) {
                Grant::Went(moved) => {
                    self.rests = false;
                    wishes += 1;
                    bytes += moved;
                }
                Grant::Wait => return self.rest(now),
                Grant::Pause => break,
                Grant::Work(errand) => {
                    self.errand.begin();
                    return Rest::Working(errand, self.until());
                }
                Grant::Close => return Rest::Closed,
            }
        }
        Rest::Sharing
    }

    /// The deadline has passed.
    pub(crate) fn time_out(&mut self, now: Instant) {
        match std::mem::replace(&mut self.wish, Wish::Ask) {
            Wish::Ask => {}
            Wish::Receive { .. } | Wish::Work { .. } => self.task.hear(Event::TimedOut, now),
            Wish::Relay(relaying) => {
                self.relayed = Some(relaying);
                self.task.hear(Event::TimedOut, now);
            }
            Wish::Send(outgoing) => {
                self.task.hear(Event::Unsent(outgoing.outbox, Obstacle::TimedOut), now);
            }
        }
    }

    /// What it had to send is in memory now.
    pub(crate) fn warmed(&mut self) {
        self.errand.end();
        if let Wish::Send(outgoing) = &mut self.wish {
            outgoing.warmed();
        }
    }

    /// Nobody else can read what it has to send.
    pub(crate) fn wait_for_disk(&mut self) {
        if let Wish::Send(outgoing) = &mut self.wish {
            outgoing.wait_for_disk();
        }
    }

    fn waits_for_release(&self) -> bool {
        matches!(&self.wish, Wish::Send(outgoing) if outgoing.waits_for_release())
    }

    /// The deadline of a wish to send, or of a job.
    fn until(&self) -> Option<Instant> {
        match &self.wish {
            Wish::Send(outgoing) => Some(outgoing.until()),
            Wish::Work { until } => Some(*until),
            _ => None,
        }
    }

    /// The job with this serial number is done. One that timed out is not waited for any more.
    pub(crate) fn worked(&mut self, serial: u32, done: <T::Job as Job>::Done, now: Instant) {
        if !self.awaits_job(serial) {
            return;
        }
        self.errand.end();
        self.wish = Wish::Ask;
        self.task.taken_up();
        self.task.hear(Event::Worked(done), now);
        self.task.put_down();
    }

    /// Whether it waits for the job with this serial number.
    pub(crate) fn awaits_job(&self, serial: u32) -> bool {
        matches!(self.wish, Wish::Work { .. }) && self.errand.serial == serial
    }

    /// Its job was not accepted.
    pub(crate) fn rejected(&mut self, now: Instant) {
        if let Wish::Work { .. } = self.wish {
            self.wish = Wish::Ask;
            self.task.hear(Event::Rejected, now);
        }
    }

    /// The peer is gone while a worker was busy for it.
    fn lose_peer(&mut self, now: Instant) -> Grant<T::Job> {
        self.errand.peer_is_gone = false;
        let reset = Errno::CONNRESET.into();
        if let Wish::Send(_) = self.wish {
            return self.unsent(Obstacle::Failed(reset), now);
        }
        self.wish = Wish::Ask;
        self.task.hear(Event::Failed(reset), now);
        Grant::Went(0)
    }

    /// The grace is over: the last thing that the task hears.
    pub(crate) fn abandon(&mut self, now: Instant) {
        if let Wish::Send(_) = self.wish {
            self.unsent(Obstacle::Stopped, now);
        }
    }

    fn rest(&mut self, now: Instant) -> Rest<T::Job> {
        let still = std::mem::replace(&mut self.rests, true);
        let (until, idle) = match self.wish {
            Wish::Receive { until, idle } => (until, idle),
            Wish::Send(ref outgoing) => (outgoing.until(), false),
            Wish::Relay(ref relaying) => (relaying.until(), false),
            Wish::Work { until } => return Rest::StillWorking(until),
            Wish::Ask => (now, false),
        };
        Rest::Waiting { until, idle, still }
    }

    fn grant(&mut self, buffer: &mut [u8], others: Others, now: Instant) -> Grant<T::Job> {
        if self.errand.peer_is_gone && self.awaits_worker() {
            return self.lose_peer(now);
        }
        match self.wish {
            Wish::Ask => self.ask(others, now),
            Wish::Work { .. } => Grant::Wait,
            Wish::Receive { .. } => self.receive(buffer, now),
            Wish::Send(_) => self.send(now),
            Wish::Relay(_) => self.relay(now),
        }
    }

    fn ask(&mut self, others: Others, now: Instant) -> Grant<T::Job> {
        match self.task.want() {
            Want::Receive { until, idle } => self.wish = Wish::Receive { until, idle },
            Want::Send { outbox, stall } => {
                self.wish = Wish::Send(Outgoing::new(outbox, stall, others, now));
            }
            Want::Work { job, until } if others.pool || job.device().remote => {
                match job.try_run() {
                    Ok(done) => self.task.hear(Event::Worked(done), now),
                    Err(job) => {
                        self.wish = Wish::Work { until };
                        return Grant::Work(Errand::Job(job));
                    }
                }
            }
            Want::Work { job, .. } => self.task.hear(Event::Worked(run_here(job)), now),
            Want::Finish => {
                // A peer that is gone already needs no FIN.
                let _gone = shutdown(&self.socket, Shutdown::Write);
                self.task.hear(Event::Finished, now);
            }
            Want::Relay { upstream, stall } => match Relaying::new(upstream, stall, now) {
                Ok(relaying) => self.wish = Wish::Relay(Box::new(relaying)),
                Err(error) => self.task.hear(Event::Failed(error), now),
            },
            Want::Close => return Grant::Close,
        }
        Grant::Went(0)
    }

    fn receive(&mut self, buffer: &mut [u8], now: Instant) -> Grant<T::Job> {
        if let Some(parcel) = self.mail.pop_front() {
            self.wish = Wish::Ask;
            self.task.hear(Event::Mail(parcel.open()), now);
            return Grant::Went(0);
        }
        if !self.readable {
            return Grant::Wait;
        }
        let event = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => Event::PeerClosed,
            Ok((count, _)) => {
                // A short count is as good as EAGAIN (epoll(7), question 9). An end that was
                // reported stands right behind it, so one more look finds it.
                let short = count < buffer.len();
                self.readable = !short || self.hang_up;
                self.hang_up &= !short;
                Event::Received(&buffer[..count])
            }
            Err(Errno::AGAIN) => {
                (self.readable, self.hang_up) = (false, false);
                return Grant::Wait;
            }
            Err(Errno::INTR) => return Grant::Went(0),
            Err(errno) => Event::Failed(errno.into()),
        };
        self.wish = Wish::Ask;
        self.task.hear(event, now);
        Grant::Went(0)
    }

    fn send(&mut self, now: Instant) -> Grant<T::Job> {
        let Wish::Send(outgoing) = &mut self.wish else {
            return Grant::Wait;
        };
        // Of what its socket tells meanwhile, nothing is forgotten.
        if !self.writable || outgoing.waits_for_warmth() {
            return Grant::Wait;
        }
        match outgoing.step(self.socket.as_fd()) {
            Step::Moved(bytes) => Grant::Went(bytes),
            Step::Wait => {
                self.writable = false;
                Grant::Wait
            }
            Step::Warm(part) => Grant::Work(Errand::Warm(part)),
            Step::Sent => self.sent(now),
            Step::Unsent(obstacle) => self.unsent(obstacle, now),
        }
    }

    fn relay(&mut self, now: Instant) -> Grant<T::Job> {
        let Wish::Relay(relaying) = &mut self.wish else {
            return Grant::Wait;
        };
        let event = match relaying.step(self.socket.as_fd()) {
            relaying::Step::Moved(bytes) => return Grant::Went(bytes),
            relaying::Step::Wait => return Grant::Wait,
            relaying::Step::Relayed => Event::Relayed(relaying.moved()),
            relaying::Step::Failed(error) => Event::Failed(error),
        };
        if let Wish::Relay(relaying) = std::mem::replace(&mut self.wish, Wish::Ask) {
            self.relayed = Some(relaying);
        }
        // What was reported meanwhile was for the relay: a call will say what is so now.
        (self.readable, self.writable, self.hang_up) = (true, true, true);
        self.task.hear(event, now);
        Grant::Pause
    }

    fn sent(&mut self, now: Instant) -> Grant<T::Job> {
        if let Wish::Send(outgoing) = std::mem::replace(&mut self.wish, Wish::Ask) {
            self.task.hear(Event::Sent(outgoing.outbox), now);
        }
        Grant::Went(0)
    }

    fn unsent(&mut self, obstacle: Obstacle, now: Instant) -> Grant<T::Job> {
        if let Wish::Send(outgoing) = std::mem::replace(&mut self.wish, Wish::Ask) {
            self.task.hear(Event::Unsent(outgoing.outbox, obstacle), now);
        }
        Grant::Went(0)
    }
}
