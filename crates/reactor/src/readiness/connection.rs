//! One connection on a readiness model: a socket, a task, and what the task wants.
//!
//! A call is tried first, and the selector is asked on `EAGAIN` only: most calls are made without asking
//! it at all.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::peer_watch::PeerWatch;
use super::relay::{RelayStep, SpliceRelay};
use super::send::{SendState, SendStep};
use crate::clock;
use crate::connection::{Connection, ContextOf, EventLoopConnection, Step};
use crate::io::JobId;
use crate::models::poll::report;
use crate::selector::{Interest, Ready, Token};
use crate::sync::offload::{Offload, OffloadId, run_inline, try_inline};
use crate::task::{Event, Job, RelayEnd, SendError, Task};
use crate::task_state::{TaskState, Turn};
use karez_transfer::{Outbox, PageIn, Tag};

/// A connection of a [`Reactor`](super::event_loop::Reactor).
pub(crate) struct ReadinessConnection<T: Task> {
    pub(crate) socket: OwnedFd,
    /// The selector watches the socket for this, if the model makes a difference.
    pub(crate) interest: Interest,
    pub(super) state: TaskState<T>,
    send: SendState,
    peer: PeerWatch,
    relay: Option<Box<SpliceRelay>>,
    /// A relay that is over, whose upstream may still be watched.
    relayed: Option<Box<SpliceRelay>>,
    pub(super) readable: bool,
    writable: bool,
    /// The peer's FIN or reset may be behind the bytes, so a short read does not mean "no more".
    pub(super) read_closed: bool,
}

impl<T: Task> ReadinessConnection<T> {
    pub(crate) fn new(socket: OwnedFd, task: T, outbox: Outbox, now: Instant) -> Self {
        Self {
            socket,
            interest: Interest::READ,
            state: TaskState::new(task, outbox, now),
            send: SendState::default(),
            peer: PeerWatch::default(),
            relay: None,
            relayed: None,
            readable: false,
            writable: true,
            read_closed: false,
        }
    }

    /// Remembers a report of the selector.
    pub(crate) fn set_ready(&mut self, report: Ready) {
        if let Some(relay) = &mut self.relay {
            relay.set_ready(report);
        }
        self.readable |= report.readable;
        self.writable |= report.writable || self.send.waits_for_zerocopy();
        self.read_closed |= report.read_closed;
        // An edge-triggered selector has no interest to be changed.
        if self.watches_peer() && (report.read_closed || self.interest == Interest::HANG_UP) {
            self.peer.note(report, self.socket.as_fd());
        }
    }

    /// Returns whether a worker has its job or its page-in.
    fn awaits_worker(&self) -> bool {
        let pages_in = !self.state.outbox.is_empty() && self.send.waits_for_page_in();
        self.state.wants.jobs > 0 || pages_in
    }

    /// Returns whether only a look at the peer would find out that it is gone.
    fn watches_peer(&self) -> bool {
        let sends = !self.state.outbox.is_empty() && !self.send.waits_for_page_in();
        let receives = self.state.wants.receive.is_some();
        self.awaits_worker() && !sends && !receives && self.relay.is_none()
    }

    /// Polls its own sockets and remembers the result. Returns whether it also waits for another
    /// thread, which cannot be polled.
    pub(crate) fn poll_sockets(&mut self) -> bool {
        if let Some(relay) = &mut self.relay {
            let found = poll_now(relay.upstream());
            relay.set_upstream_ready(found);
        }
        self.set_ready(poll_now(self.socket.as_fd()));
        self.awaits_worker()
    }

    /// Returns the interest to watch it for while it waits.
    pub(crate) fn wanted(&self) -> Interest {
        if let Some(relay) = &self.relay {
            return relay.wanted();
        }
        let mut wanted = match self.state.outbox.is_empty() {
            true => Interest::NONE,
            false => self.send.wanted(),
        };
        wanted.readable |= self.state.wants.receive.is_some();
        if self.watches_peer() { self.peer.wanted() } else { wanted }
    }

    /// Remembers a report of the upstream.
    pub(crate) fn set_upstream_ready(&mut self, report: Ready) {
        if let Some(relay) = &mut self.relay {
            relay.set_upstream_ready(report);
        }
    }

    pub(crate) fn relay_mut(&mut self) -> Option<&mut SpliceRelay> {
        self.relay.as_deref_mut()
    }

    /// Returns whether it relays, or a relay is over that was not taken.
    pub(crate) fn has_relay(&self) -> bool {
        self.relay.is_some() || self.relayed.is_some()
    }

    /// Takes the relay that is over, if it was not taken before.
    pub(crate) fn take_relayed(&mut self) -> Option<Box<SpliceRelay>> {
        self.relayed.take()
    }

    fn can_send(&self) -> bool {
        self.writable && !self.state.outbox.is_empty() && !self.send.waits_for_page_in()
    }

    /// Moves a step of the outbox; `None` if that has to wait.
    fn step_send(&mut self, cx: &mut ContextOf<'_, Self>) -> Option<Step> {
        let state = &mut self.state;
        let sent = self.send.step(&mut state.outbox, self.socket.as_fd());
        while let Some((tag, part)) = state.outbox.take_page_in() {
            cx.offloads.push(Offload::PageIn(Some(tag), part));
        }
        match sent {
            SendStep::Moved(bytes) => {
                if bytes > 0 {
                    // Not the time of the turn, during which the process may have been stopped.
                    state.progressed(bytes, clock::now());
                }
                self.fill(cx);
                Some(Step::Moved(bytes))
            }
            SendStep::Blocked => {
                self.writable = false;
                None
            }
            SendStep::PageIn(part) => {
                self.page_in(part, cx);
                None
            }
            SendStep::Failed(error) => {
                self.fail_send(error, cx);
                Some(Step::Moved(0))
            }
        }
    }

    /// Has pages read by a thread that may block; until then nothing is sent.
    fn page_in(&mut self, part: PageIn, cx: &mut ContextOf<'_, Self>) {
        self.peer.start();
        cx.offloads.push(Offload::PageIn(None, part));
    }

    /// Reports that the peer is gone while a worker runs something for it.
    fn lose_peer(&mut self, cx: &mut ContextOf<'_, Self>) {
        self.peer.is_gone = false;
        let reset = Errno::CONNRESET.into();
        if self.state.outbox.is_empty() {
            self.deliver(Event::Failed(reset), cx);
        } else {
            self.fail_send(SendError::Failed(reset), cx);
        }
    }

    fn step_relay(relay: &mut SpliceRelay, socket: BorrowedFd<'_>) -> Result<Step, RelayEnd> {
        let error = match relay.step(socket) {
            RelayStep::Moved(bytes) => return Ok(Step::Moved(bytes)),
            RelayStep::Blocked => return Ok(Step::Blocked),
            RelayStep::Done => None,
            RelayStep::Failed(error) => Some(error),
        };
        Err(relay.end(error))
    }

    fn end_relay(&mut self, end: RelayEnd, cx: &mut ContextOf<'_, Self>) {
        self.relayed = self.relay.take();
        // The reports meanwhile were for the relay: the next call finds out the present state.
        (self.readable, self.writable, self.read_closed) = (true, true, true);
        self.deliver(Event::Relayed(end), cx);
    }
}

#[cfg(feature = "simulation")]
impl<T: Task> ReadinessConnection<T> {
    /// Returns what the connection waits for although it has happened.
    pub(crate) fn lost_wakeup(&self) -> Option<&'static str> {
        let (wanted, found) = (self.wanted(), poll_now(self.socket.as_fd()));
        let receives = self.state.wants.receive.is_some() && wanted.readable;
        if receives && found.readable {
            return Some("it waits to receive, and its socket is readable");
        }
        if wanted.writable && found.writable {
            return Some("it waits to send, and its socket is writable");
        }
        let waits = self.awaits_worker() && self.state.tickets.is_empty();
        waits.then_some("it waits for a worker that has nothing of it")
    }
}

impl<T: Task> Connection for ReadinessConnection<T> {
    type Task = T;
    /// The receive buffer of the event loop.
    type Resources = Vec<u8>;

    fn state(&mut self) -> &mut TaskState<T> {
        &mut self.state
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Runs a job that does not block, and hands out one that may, where there is a pool.
    fn start_job(&mut self, id: JobId, job: T::Job, cx: &mut ContextOf<'_, Self>) {
        let offloads = cx.pool || job.device().remote;
        let job = if offloads { try_inline(job) } else { Ok(run_inline(job)) };
        match job {
            Ok(done) => self.state.push_result(id, done),
            Err(job) => {
                self.state.wants.jobs += 1;
                self.peer.start();
                cx.offloads.push(Offload::Job(id, job));
            }
        }
    }

    fn start_relay(
        &mut self,
        upstream: OwnedFd,
        stall: Duration,
        cx: &mut ContextOf<'_, Self>,
    ) -> Option<RelayEnd> {
        let relay = SpliceRelay::new(upstream, stall, cx.now).map(Box::new);
        relay.map(|relay| self.relay = Some(relay)).err().map(RelayEnd::failed)
    }

    fn discard_send(&mut self) {
        self.send.page_in_done();
        self.state.tickets.discard_page_ins();
    }
}

impl<T: Task> EventLoopConnection for ReadinessConnection<T> {
    fn step(&mut self, cx: &mut ContextOf<'_, Self>) -> Step {
        if self.state.wants.deferred || self.state.wants.postponed {
            return Step::Pause;
        }
        if self.peer.is_gone && self.watches_peer() {
            self.lose_peer(cx);
            return Step::Moved(0);
        }
        if let Some(event) = self.state.next_event() {
            self.deliver(event, cx);
            return Step::Moved(0);
        }
        if let Some(relay) = &mut self.relay {
            return Self::step_relay(relay, self.socket.as_fd()).unwrap_or_else(|end| {
                self.end_relay(end, cx);
                Step::Pause
            });
        }
        if self.can_send()
            && let Some(step) = self.step_send(cx)
        {
            return step;
        }
        self.shut_down_write();
        if self.state.wants.receive.is_some() && self.readable {
            return self.receive(cx);
        }
        Step::Blocked
    }

    fn block(&mut self, cx: &mut ContextOf<'_, Self>) -> Turn {
        // Pages of units are read, or will be: the work has not been handed out yet.
        let waits = self.state.waits_for_units_alone();
        let waits = waits || cx.offloads.iter().any(Offload::is_unit_page_in);
        let sends = waits || !self.state.outbox.is_empty();
        let stall = sends.then(|| self.state.stall_deadline());
        let stall = stall.or(self.relay.as_ref().map(|relay| relay.deadline()));
        self.state.block(sends || self.relay.is_some(), stall)
    }

    /// An error is found again by the next step, if there is one.
    fn flush(&mut self, cx: &mut ContextOf<'_, Self>) {
        if self.can_send()
            && let SendStep::PageIn(part) =
                self.send.step(&mut self.state.outbox, self.socket.as_fd())
        {
            self.page_in(part, cx);
        }
    }

    fn time_out_send(&mut self, cx: &mut ContextOf<'_, Self>) {
        if let Some(relay) = self.relay.as_ref().filter(|relay| relay.deadline() <= cx.now) {
            let end = relay.end(Some(std::io::ErrorKind::TimedOut.into()));
            self.end_relay(end, cx);
        }
        let sends = !self.state.outbox.is_empty() || self.state.waits_for_units_alone();
        if sends && self.state.stall_deadline() <= cx.now {
            self.fail_send(SendError::TimedOut, cx);
        }
    }

    fn has_unread(&self) -> bool {
        ioctl_fionread(&self.socket).is_ok_and(|count| count > 0)
    }

    fn page_in_done(&mut self, tag: Option<Tag>) {
        self.state.tickets.remove(OffloadId::PageIn(tag));
        match tag {
            Some(tag) => self.state.outbox.page_in_done(tag),
            None => self.send.page_in_done(),
        }
    }
}

/// Polls a socket, without a wait. A send would be no test: it uses the least room, which a selector does
/// not report.
fn poll_now(socket: BorrowedFd<'_>) -> Ready {
    let all = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP;
    let mut fds = [PollFd::from_borrowed_fd(socket, all)];
    let token = Token(0); // for the caller alone
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => report(token, fds[0].revents()),
        Err(_) => Ready::everything(token),
    }
}
