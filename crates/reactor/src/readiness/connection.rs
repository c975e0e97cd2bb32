//! One connection on a readiness model: a socket, a task, and what the task wants.
//!
//! [`ReadinessConnection::advance`] works for the task until everything it wants has to wait or the
//! connection has used up its budget for this turn. A call is tried first, and the selector is asked
//! on `EAGAIN` only: most calls are made without asking it at all.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::peer_watch::PeerWatch;
use super::relay::{self, Relay};
use super::send::{SendState, Sent};
use crate::io::{Close, Io, JobId, Requests, Wants};
use crate::models::poll::report;
use crate::selector::{Interest, Ready, Token};
use crate::sync::mailbox::{Context, Envelope};
use crate::sync::offload::{Offload, OffloadId, Tickets, run_inline};
use crate::sync::pool::Ticket;
use crate::task::{Event, Job, JobError, Reason, RecordType, RelayEnd, SendError, Task};
use crate::timers::Deadline;
use karez_transfer::{Outbox, OutboxEvent, Tag};

/// Bytes that one connection may send in a turn before other connections are served.
const BUDGET_BYTES: u64 = 1 << 20;

/// Steps that one connection may make in a turn before other connections are served.
const BUDGET_STEPS: u32 = 24;

/// Where no deadline is set: longer than any connection lasts.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(crate) struct ReadinessConnection<T: Task> {
    pub(crate) socket: OwnedFd,
    pub(crate) deadline: Deadline,
    /// In the event loop's queue for this turn.
    pub(crate) queued: bool,
    /// The selector watches it for this, if that makes a difference to it.
    pub(crate) interest: Interest,
    task: T,
    outbox: Outbox,
    wants: Wants,
    send: SendState,
    /// Results of jobs that have not been delivered.
    done: VecDeque<Finished<T::Job>>,
    /// What the pool has of it.
    pub(crate) tickets: Tickets,
    /// What the pool has and is not wanted any more.
    pub(crate) unwanted: Vec<Ticket>,
    peer: PeerWatch,
    messages: VecDeque<Envelope<T::Message>>,
    relay: Option<Box<Relay>>,
    /// A relay that is over, whose upstream may still be watched.
    relayed: Option<Box<Relay>>,
    readable: bool,
    writable: bool,
    /// The peer's FIN or reset may be behind the bytes, so a short read does not mean "no more".
    hang_up: bool,
    /// Nothing has happened since it blocked last.
    unchanged: bool,
}

/// The result of a job.
pub(crate) type Finished<J> = (JobId, Result<<J as Job>::Done, JobError>);

/// What a turn of a connection works with.
pub(crate) struct TurnContext<'a, J: Job> {
    pub(crate) buffer: &'a mut [u8],
    pub(crate) requests: &'a mut Requests<J>,
    /// What has to be done by a worker thread or the selector.
    pub(crate) offloads: &'a mut Vec<Offload<J>>,
    /// There is a pool for jobs.
    pub(crate) pool: bool,
    pub(crate) now: Instant,
}

/// How a turn of a connection ended.
pub(crate) enum Turn {
    /// Everything that its task wants has to wait, at most until then. `unchanged`: nothing has
    /// happened since it blocked last.
    Blocked { deadline: Option<Instant>, idle: bool, unchanged: bool },
    /// Its budget is used up; it could go on at once.
    Yielded,
    /// It is over.
    Closed,
}

enum Step {
    Moved(u64),
    Blocked,
    /// The caller has to follow the relay's upstream first.
    Pause,
    Closed,
}

impl<T: Task> ReadinessConnection<T> {
    /// `on_miss` prepares the outbox for how pages are read that are not in memory.
    pub(crate) fn new(socket: OwnedFd, task: T, outbox: Outbox) -> Self {
        Self {
            socket,
            deadline: Deadline::default(),
            queued: false,
            interest: Interest::READ,
            task,
            outbox,
            wants: Wants::new(),
            send: SendState::default(),
            done: VecDeque::new(),
            tickets: Tickets::default(),
            unwanted: Vec::new(),
            peer: PeerWatch::default(),
            messages: VecDeque::new(),
            relay: None,
            relayed: None,
            readable: false,
            writable: true,
            hang_up: false,
            unchanged: false,
        }
    }

    /// Delivers the first event.
    pub(crate) fn open(
        &mut self,
        context: Context<'_, T::Message>,
        cx: &mut TurnContext<'_, T::Job>,
    ) {
        self.handle(Event::Opened(context), cx.requests, cx.now);
        self.follow_requests(cx);
    }

    /// Keeps a message until the task has its turn.
    pub(crate) fn push_message(&mut self, envelope: Envelope<T::Message>) {
        self.messages.push_back(envelope);
    }

    /// Keeps the result of a job until the task has its turn.
    pub(crate) fn job_done(&mut self, id: JobId, result: Result<<T::Job as Job>::Done, JobError>) {
        self.tickets.remove(OffloadId::Job(id));
        self.wants.jobs = self.wants.jobs.saturating_sub(1);
        self.done.push_back((id, result));
    }

    /// Notes that pages have been read, or cannot be, which the next step finds out.
    pub(crate) fn page_in_done(&mut self, tag: Option<Tag>) {
        self.tickets.remove(OffloadId::PageIn(tag));
        match tag {
            Some(tag) => self.outbox.page_in_done(tag),
            None => self.send.page_in_done(),
        }
    }

    /// Lets steps wait for the disk: there is no thread that could read what is cold.
    pub(crate) fn wait_for_disk(&mut self, tag: Option<Tag>) {
        self.outbox.wait_for_disk();
        self.page_in_done(tag);
    }

    /// Remembers what the selector reported.
    pub(crate) fn set_ready(&mut self, report: Ready) {
        if let Some(relay) = &mut self.relay {
            relay.set_ready(report);
        }
        self.readable |= report.readable;
        self.writable |= report.writable || self.send.waits_for_zerocopy();
        self.hang_up |= report.hang_up;
        // On edges there is no interest to tell what it is watched for.
        if self.watches_peer() && (report.hang_up || self.interest == Interest::HANG_UP) {
            self.peer.note(report, self.socket.as_fd());
        }
    }

    /// Returns whether a worker has its job or its page-in.
    fn awaits_worker(&self) -> bool {
        self.wants.jobs > 0 || (!self.outbox.is_empty() && self.send.waits_for_page_in())
    }

    /// Returns whether nothing but a look at the peer would find out that it is gone.
    fn watches_peer(&self) -> bool {
        let sends = !self.outbox.is_empty() && !self.send.waits_for_page_in();
        self.awaits_worker() && !sends && self.wants.receive.is_none() && self.relay.is_none()
    }

    /// Returns when work for the pool is overdue.
    pub(crate) fn offload_deadline(&self, id: OffloadId, now: Instant) -> Instant {
        match id {
            OffloadId::Job(_) => self.wants.timer.unwrap_or(now + NEVER),
            OffloadId::PageIn(_) => self.send.since + self.wants.send_timeout,
        }
    }

    /// Looks at its own sockets and remembers what they say. Returns whether another thread has to do
    /// something for it, which cannot be looked at.
    pub(crate) fn look(&mut self) -> bool {
        if let Some(relay) = &mut self.relay {
            let found = look_at(relay.upstream());
            relay.set_upstream_ready(found);
        }
        self.set_ready(look_at(self.socket.as_fd()));
        self.awaits_worker()
    }

    /// Returns whether the peer has sent what was not received yet.
    pub(crate) fn has_unread(&self) -> bool {
        ioctl_fionread(&self.socket).is_ok_and(|count| count > 0)
    }

    /// Returns what it has to be watched for while it waits.
    pub(crate) fn wanted(&self) -> Interest {
        if let Some(relay) = &self.relay {
            return relay.wanted();
        }
        let mut wanted = match self.outbox.is_empty() {
            true => Interest::NONE,
            false => self.send.wanted(),
        };
        wanted.readable |= self.wants.receive.is_some();
        if self.watches_peer() { self.peer.wanted() } else { wanted }
    }

    /// Remembers what the selector reported of the upstream.
    pub(crate) fn set_upstream_ready(&mut self, report: Ready) {
        if let Some(relay) = &mut self.relay {
            relay.set_upstream_ready(report);
        }
    }

    pub(crate) fn relay_mut(&mut self) -> Option<&mut Relay> {
        self.relay.as_deref_mut()
    }

    /// Returns whether it relays, or a relay is over that was not taken.
    pub(crate) fn has_relay(&self) -> bool {
        self.relay.is_some() || self.relayed.is_some()
    }

    /// Takes the relay that is over, if it was not taken before.
    pub(crate) fn take_relayed(&mut self) -> Option<Box<Relay>> {
        self.relayed.take()
    }

    /// Works for the task until it has to wait, its budget is used up, or the connection is over.
    pub(crate) fn advance(&mut self, cx: &mut TurnContext<'_, T::Job>) -> Turn {
        self.task.on_resume();
        let turn = self.run_budget(cx);
        self.task.on_yield();
        turn
    }

    fn run_budget(&mut self, cx: &mut TurnContext<'_, T::Job>) -> Turn {
        let (mut steps, mut bytes) = (0, 0);
        while steps < BUDGET_STEPS && bytes < BUDGET_BYTES {
            match self.step(cx) {
                Step::Moved(moved) => {
                    self.unchanged = false;
                    steps += 1;
                    bytes += moved;
                }
                Step::Blocked => return self.blocked(),
                Step::Pause => break,
                Step::Closed => return Turn::Closed,
            }
        }
        Turn::Yielded
    }

    fn blocked(&mut self) -> Turn {
        let sends = !self.outbox.is_empty();
        let deadline = self.wants.deadline();
        let stall = sends.then(|| self.send.since + self.wants.send_timeout);
        let stall = stall.or(self.relay.as_ref().map(|relay| relay.deadline()));
        let busy = sends || self.wants.jobs > 0 || self.relay.is_some();
        if deadline.is_none() && !busy {
            return Turn::Closed; // the task wants nothing any more
        }
        let idle = !busy && self.wants.receive.is_some_and(|receive| receive.idle);
        let unchanged = std::mem::replace(&mut self.unchanged, true);
        Turn::Blocked { deadline: deadline.into_iter().chain(stall).min(), idle, unchanged }
    }

    fn step(&mut self, cx: &mut TurnContext<'_, T::Job>) -> Step {
        if let Some(close) = self.wants.close {
            self.close(close);
            return Step::Closed;
        }
        if self.peer.peer_is_gone && self.watches_peer() {
            return self.lose_peer(cx);
        }
        if let Some((id, result)) = self.done.pop_front() {
            return self.deliver(Event::JobDone(id, result), cx);
        }
        if let Some(event) = self.outbox.next_event() {
            return self.deliver(outbox_event(event), cx);
        }
        // Backpressure: a task that answers messages to a slow peer does not get more of them.
        if self.outbox.room() > 0
            && let Some(envelope) = self.messages.pop_front()
        {
            return self.deliver(Event::Message(envelope.open()), cx);
        }
        if self.relay.is_some() {
            return self.step_relay(cx);
        }
        if self.can_send()
            && let Some(step) = self.step_send(cx)
        {
            return step;
        }
        if self.wants.shutdown_write && self.outbox.is_empty() {
            self.wants.shutdown_write = false;
            // A peer that is gone already needs no FIN.
            let _gone = shutdown(&self.socket, Shutdown::Write);
        }
        if self.wants.receive.is_some() && self.readable {
            return self.receive(cx);
        }
        Step::Blocked
    }

    fn can_send(&self) -> bool {
        self.writable && !self.outbox.is_empty() && !self.send.waits_for_page_in()
    }

    /// Lets the task handle an event, and takes over what it wants then.
    fn handle(&mut self, event: Event<'_, T>, requests: &mut Requests<T::Job>, now: Instant) {
        let was_empty = self.outbox.is_empty();
        let mut io = Io::new(now, &mut self.outbox, requests, self.wants.jobs);
        self.task.handle(event, &mut io);
        self.wants.take(requests);
        if was_empty {
            self.send.since = now;
        }
    }

    fn deliver(&mut self, event: Event<'_, T>, cx: &mut TurnContext<'_, T::Job>) -> Step {
        self.handle(event, cx.requests, cx.now);
        self.follow_requests(cx);
        Step::Moved(0)
    }

    /// Does what the task has asked for beyond what the connection remembers.
    fn follow_requests(&mut self, cx: &mut TurnContext<'_, T::Job>) {
        while let Some(option) = cx.requests.options.pop_front() {
            let result = option.set(&self.socket);
            self.handle(Event::Configured(result), cx.requests, cx.now);
        }
        while let Some((id, job)) = cx.requests.jobs.pop_front() {
            self.start_job(id, job, cx);
        }
        if let Some((upstream, stall)) = cx.requests.relay.take() {
            match Relay::new(upstream, stall, cx.now) {
                Ok(relay) => self.relay = Some(Box::new(relay)),
                Err(error) => {
                    let end = RelayEnd { to_upstream: 0, to_client: 0, error: Some(error) };
                    self.handle(Event::Relayed(end), cx.requests, cx.now);
                }
            }
        }
    }

    /// Runs a job that does not block, and hands out one that may, where there is a pool.
    fn start_job(&mut self, id: JobId, job: T::Job, cx: &mut TurnContext<'_, T::Job>) {
        let offloads = cx.pool || job.device().remote;
        let job = if offloads { job.try_run() } else { Ok(run_inline(job)) };
        match job {
            Ok(done) => self.done.push_back((id, Ok(done))),
            Err(job) => {
                self.wants.jobs += 1;
                self.peer.start();
                cx.offloads.push(Offload::Job(id, job));
            }
        }
    }

    /// Receives what the task allows.
    fn receive(&mut self, cx: &mut TurnContext<'_, T::Job>) -> Step {
        let at_most = self.wants.receive.and_then(|receive| receive.at_most);
        let room = at_most.map_or(cx.buffer.len(), |most| most.get().min(cx.buffer.len()));
        let event = match recv(&self.socket, &mut cx.buffer[..room], RecvFlags::empty()) {
            Ok((0, _)) => Event::PeerClosed,
            Ok((count, _)) => {
                // A short count is as good as EAGAIN (epoll(7), question 9). An end that was
                // reported stands right behind it, so one more look finds it.
                let short = count < room;
                self.readable = !short || self.hang_up;
                self.hang_up &= !short;
                Event::Received(&mut cx.buffer[..count], RecordType::Data)
            }
            Err(Errno::AGAIN) => {
                (self.readable, self.hang_up) = (false, false);
                return Step::Blocked;
            }
            Err(Errno::INTR) => return Step::Moved(0),
            Err(errno) => Event::Failed(errno.into()),
        };
        self.wants.receive = None;
        self.handle(event, cx.requests, cx.now);
        self.follow_requests(cx);
        Step::Moved(0)
    }

    /// Moves a step of the outbox; `None` if that has to wait.
    fn step_send(&mut self, cx: &mut TurnContext<'_, T::Job>) -> Option<Step> {
        let sent = self.send.step(&mut self.outbox, self.socket.as_fd());
        while let Some((tag, part)) = self.outbox.take_page_in() {
            cx.offloads.push(Offload::PageIn(Some(tag), part));
        }
        match sent {
            Sent::Moved(bytes) => {
                if self.outbox.room() > 0 {
                    let mut io = Io::new(cx.now, &mut self.outbox, cx.requests, self.wants.jobs);
                    self.task.fill(&mut io);
                    self.wants.take(cx.requests);
                    self.follow_requests(cx);
                }
                Some(Step::Moved(bytes))
            }
            Sent::Blocked => {
                self.writable = false;
                None
            }
            Sent::PageIn(part) => {
                self.peer.start();
                cx.offloads.push(Offload::PageIn(None, part));
                None
            }
            Sent::Failed(error) => Some(self.send_failed(error, cx)),
        }
    }

    fn send_failed(&mut self, error: SendError, cx: &mut TurnContext<'_, T::Job>) -> Step {
        self.outbox.clear();
        self.send.page_in_done();
        self.unwanted.extend(self.tickets.take_page_ins());
        self.deliver(Event::SendFailed(error), cx)
    }

    /// The peer is gone while a worker is busy for it.
    fn lose_peer(&mut self, cx: &mut TurnContext<'_, T::Job>) -> Step {
        self.peer.peer_is_gone = false;
        let reset = Errno::CONNRESET.into();
        if self.outbox.is_empty() {
            self.deliver(Event::Failed(reset), cx)
        } else {
            self.send_failed(SendError::Failed(reset), cx)
        }
    }

    fn step_relay(&mut self, cx: &mut TurnContext<'_, T::Job>) -> Step {
        let Some(relay) = &mut self.relay else { return Step::Blocked };
        let error = match relay.step(self.socket.as_fd()) {
            relay::Step::Moved(bytes) => return Step::Moved(bytes),
            relay::Step::Blocked => return Step::Blocked,
            relay::Step::Done => None,
            relay::Step::Failed(error) => Some(error),
        };
        self.end_relay(error, cx);
        Step::Pause
    }

    fn end_relay(&mut self, error: Option<std::io::Error>, cx: &mut TurnContext<'_, T::Job>) {
        let Some(relay) = self.relay.take() else { return };
        let [to_upstream, to_client] = relay.moved();
        self.relayed = Some(relay);
        // What was reported meanwhile was for the relay: a call finds out what holds now.
        (self.readable, self.writable, self.hang_up) = (true, true, true);
        self.deliver(Event::Relayed(RelayEnd { to_upstream, to_client, error }), cx);
    }

    /// A deadline has passed: of the outbox, of receiving, of the timer.
    pub(crate) fn time_out(&mut self, cx: &mut TurnContext<'_, T::Job>) {
        let now = cx.now;
        let is_over = |deadline: Instant| deadline <= now;
        if self.relay.as_ref().is_some_and(|relay| is_over(relay.deadline())) {
            self.end_relay(Some(std::io::ErrorKind::TimedOut.into()), cx);
        }
        if !self.outbox.is_empty() && is_over(self.send.since + self.wants.send_timeout) {
            self.send_failed(SendError::TimedOut, cx);
        }
        if self.wants.receive.is_some_and(|receive| is_over(receive.deadline)) {
            self.wants.receive = None;
            self.deliver(Event::ReceiveTimedOut, cx);
        }
        if self.wants.timer.is_some_and(is_over) {
            self.wants.timer = None;
            self.deliver(Event::Timer, cx);
        }
    }

    /// Lets the task append a farewell, and sends what leaves at once.
    pub(crate) fn say_farewell(&mut self, reason: Reason, cx: &mut TurnContext<'_, T::Job>) {
        self.deliver(Event::Closing(reason), cx);
        if self.can_send() {
            let _best_effort = self.send.step(&mut self.outbox, self.socket.as_fd());
        }
    }

    /// The grace period is over: the last event of the task.
    pub(crate) fn abandon(&mut self, cx: &mut TurnContext<'_, T::Job>) {
        if !self.outbox.is_empty() {
            self.send_failed(SendError::ShutDown, cx);
        }
    }

    fn close(&mut self, close: Close) {
        if close == Close::Reset {
            // If it fails, the peer sees a regular end.
            let _failed =
                rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
        }
    }
}

/// Returns what a selector would report of a socket now: poll(2), without a wait. Not by trying, for a
/// send takes what little room there is, where a selector says that there is none.
fn look_at(socket: BorrowedFd<'_>) -> Ready {
    let all = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP;
    let mut fds = [PollFd::from_borrowed_fd(socket, all)];
    let token = Token(0); // for the caller alone
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => report(token, fds[0].revents()),
        Err(_) => Ready::anything(token),
    }
}

fn outbox_event<T: Task>(event: OutboxEvent) -> Event<'static, T> {
    match event {
        OutboxEvent::Sent(mark) => Event::Sent(mark),
        OutboxEvent::Unit(tag, event) => Event::Unit(tag, event),
    }
}
