//! One connection on a completion model: a socket, a task, and the operations in flight for it.
//!
//! A receive stands on the socket from the first unbounded one that the task arms, so that bytes are
//! there before the task wants them. Bytes that are read ahead are buffered, but not many: then the
//! receive is cancelled, and the peer's window closes. An end of the stream, or an error, is buffered
//! in the same way. A bounded receive is an operation of its own, and nothing is read ahead before it.

use karez_sys::{Completion, Handle, Key, Operation, Outcome, Received};
use karez_transfer::{Outbox, OutboxEvent};
use rustix::io::{self, Errno, ioctl_fionread};
use rustix::net::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Backend;
use super::relay::{Relay, Side};
use super::send::{Send, SendContext, Sent};
use crate::driver::Completer;
use crate::io::{Close, Io, JobId, Receive, Requests, Wants};
use crate::outlet::Outlet;
use crate::sync::mailbox::{Context, Envelope};
use crate::sync::offload::{Offload, OffloadId, Tickets, run_inline};
use crate::task::{Event, Job, JobError, Reason, RecordType, RelayEnd, SendError, Task};
use crate::timers::Deadline;

/// The most bytes that are read ahead of a task.
const READ_AHEAD: usize = 16 << 10;

/// Steps that one connection may make in a turn before other connections are served.
const BUDGET_STEPS: u32 = 24;

/// Where no deadline is set: longer than any connection lasts.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(crate) struct CompletionConnection<T: Task> {
    pub(crate) deadline: Deadline,
    /// In the event loop's queue for the next turn.
    pub(crate) queued: bool,
    /// It is closed to make room, which other event loops wait for.
    pub(crate) evicting: bool,
    tag: u64,
    socket: Handle,
    /// The same socket, where each direction needs its own number.
    out: Outlet,
    task: T,
    outbox: Outbox,
    wants: Wants,
    send: Send,
    /// Results of jobs that have not been delivered.
    done: VecDeque<Finished<T::Job>>,
    /// What the pool has of it.
    pub(crate) tickets: Tickets,
    /// Jobs whose name is being opened.
    pub(super) opening: Vec<Opening<T::Job>>,
    messages: VecDeque<Envelope<T::Message>>,
    relay: Option<Box<Relay>>,
    receive: Option<Key>,
    /// The task has armed an unbounded receive: from then on bytes are read ahead.
    reads_ahead: bool,
    read_ahead: VecDeque<Vec<u8>>,
    buffered: usize,
    end: Option<End>,
}

/// The result of a job.
type Finished<J> = (JobId, Result<<J as Job>::Done, JobError>);

/// A job whose name is being opened.
pub(super) struct Opening<J> {
    pub(super) id: JobId,
    pub(super) key: Key,
    pub(super) job: J,
}

/// How the peer's stream ended.
#[derive(Clone, Copy)]
enum End {
    Closed,
    Failed(Errno),
}

/// What a turn of a connection works with.
pub(crate) struct TurnContext<'a, C, J> {
    pub(crate) backend: &'a mut Backend<C>,
    pub(crate) requests: &'a mut Requests<J>,
    /// Jobs for the pool.
    pub(crate) offloads: &'a mut Vec<Offload<J>>,
    /// There is a pool.
    pub(crate) pool: bool,
    pub(crate) now: Instant,
}

/// How a turn of a connection ended.
pub(crate) enum Turn {
    /// Everything that its task wants is in flight, at most until then. `unchanged`: nothing has
    /// happened since it waited last.
    Waiting { deadline: Option<Instant>, idle: bool, unchanged: bool },
    /// Its budget is used up; it could go on at once.
    Yielded,
    /// It is over.
    Closed,
}

impl<T: Task> CompletionConnection<T> {
    pub(crate) fn new(socket: Handle, out: Handle, task: T, now: Instant) -> Self {
        Self {
            deadline: Deadline::default(),
            queued: false,
            evicting: false,
            tag: 0,
            socket,
            out: Outlet::new(out),
            task,
            outbox: Outbox::new(),
            wants: Wants::new(),
            send: Send::new(now),
            done: VecDeque::new(),
            tickets: Tickets::default(),
            opening: Vec::new(),
            messages: VecDeque::new(),
            relay: None,
            receive: None,
            reads_ahead: false,
            read_ahead: VecDeque::new(),
            buffered: 0,
            end: None,
        }
    }

    /// Delivers the first event. The operations of the connection have its token as their tag.
    pub(crate) fn open<C: Completer>(
        &mut self,
        context: Context<'_, T::Message>,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) {
        self.tag = context.token.0;
        self.deliver(Event::Opened(context), cx);
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

    /// Takes the result of an operation.
    pub(crate) fn complete<C: Completer>(
        &mut self,
        completion: Completion,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) {
        self.task.on_resume();
        if let Some(relay) = &mut self.relay {
            if let Err(errno) = relay.complete(completion, cx.now, cx.backend) {
                self.end_relay(Some(errno.into()), cx);
            }
            return;
        }
        match completion.outcome {
            Outcome::Received(received) => {
                if self.receive != Some(completion.key) {
                    return; // of a relay that is over
                }
                if completion.last {
                    self.receive = None;
                }
                self.received(received, cx);
            }
            Outcome::LookedUp(opened) => self.name_opened(completion.key, opened, cx),
            _ => self.sent(completion, cx),
        }
    }

    fn sent<C: Completer>(&mut self, completion: Completion, cx: &mut TurnContext<'_, C, T::Job>) {
        let mut send = SendContext {
            outbox: &mut self.outbox,
            backend: cx.backend,
            tag: self.tag,
            out: &mut self.out,
            now: cx.now,
        };
        if let Err(error) = self.send.complete(completion, &mut send) {
            return self.send_failed(error, cx);
        }
        if self.outbox.room() > 0 {
            let mut io = Io::new(cx.now, &mut self.outbox, cx.requests, self.wants.jobs);
            self.task.fill(&mut io);
            self.wants.take(cx.requests);
            self.follow_requests(cx);
        }
    }

    /// Works for the task until everything it wants is in flight, its budget is used up, or the
    /// connection is over.
    pub(crate) fn advance<C: Completer>(&mut self, cx: &mut TurnContext<'_, C, T::Job>) -> Turn {
        self.task.on_resume();
        let turn = self.run_budget(cx);
        self.task.on_yield();
        turn
    }

    fn run_budget<C: Completer>(&mut self, cx: &mut TurnContext<'_, C, T::Job>) -> Turn {
        let mut unchanged = true;
        for _ in 0..BUDGET_STEPS {
            if let Some(close) = self.wants.close {
                self.close(close);
                return Turn::Closed;
            }
            if !self.step(cx) {
                return self.waiting(unchanged);
            }
            unchanged = false;
        }
        Turn::Yielded
    }

    fn waiting(&self, unchanged: bool) -> Turn {
        let sends = !self.outbox.is_empty() || self.send.is_in_flight();
        let stall = if sends { self.send.deadline(self.wants.send_timeout) } else { None };
        let stall = stall.or(self.relay.as_ref().map(|relay| relay.deadline()));
        let busy = sends || self.wants.jobs > 0 || self.relay.is_some();
        let deadline = self.wants.deadline();
        if deadline.is_none() && !busy {
            return Turn::Closed; // the task wants nothing any more
        }
        let idle = !busy && self.wants.receive.is_some_and(|receive| receive.idle);
        let unchanged = unchanged && !sends && self.relay.is_none();
        Turn::Waiting { deadline: deadline.into_iter().chain(stall).min(), idle, unchanged }
    }

    /// Does one thing that the task wants; false if all of that is in flight.
    fn step<C: Completer>(&mut self, cx: &mut TurnContext<'_, C, T::Job>) -> bool {
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
        if let Some(relay) = &mut self.relay {
            if relay.advance(self.tag, cx.backend) {
                self.end = Some(End::Closed);
                self.end_relay(None, cx);
                return true;
            }
            return false;
        }
        if !self.outbox.is_empty() && !self.send.is_in_flight() {
            match self.start_send(cx) {
                Sent::InFlight | Sent::Nothing => {}
                Sent::Failed(error) => {
                    self.send_failed(error, cx);
                    return true;
                }
            }
        }
        if self.wants.shutdown_write && self.outbox.is_empty() && !self.send.is_in_flight() {
            self.wants.shutdown_write = false;
            self.out.finish();
        }
        match self.wants.receive {
            Some(receive) => {
                self.deliver_buffered(receive, cx) || {
                    self.arm_receive(receive, cx.backend);
                    false
                }
            }
            None => false,
        }
    }

    fn start_send<C: Completer>(&mut self, cx: &mut TurnContext<'_, C, T::Job>) -> Sent {
        self.send.start_next(&mut SendContext {
            outbox: &mut self.outbox,
            backend: cx.backend,
            tag: self.tag,
            out: &mut self.out,
            now: cx.now,
        })
    }

    /// Lets the task handle an event, and takes over what it wants then.
    fn handle<C>(&mut self, event: Event<'_, T>, cx: &mut TurnContext<'_, C, T::Job>) {
        let was_empty = self.outbox.is_empty();
        let mut io = Io::new(cx.now, &mut self.outbox, cx.requests, self.wants.jobs);
        self.task.handle(event, &mut io);
        self.wants.take(cx.requests);
        if was_empty {
            self.send.restart_clock(cx.now);
        }
    }

    fn deliver<C: Completer>(
        &mut self,
        event: Event<'_, T>,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) -> bool {
        self.handle(event, cx);
        self.follow_requests(cx);
        true
    }

    /// Does what the task has asked for beyond what the connection remembers.
    fn follow_requests<C: Completer>(&mut self, cx: &mut TurnContext<'_, C, T::Job>) {
        while let Some(option) = cx.requests.options.pop_front() {
            let result = option.set((*self.out.handle()).as_fd());
            self.handle(Event::Configured(result), cx);
        }
        while let Some((id, job)) = cx.requests.jobs.pop_front() {
            self.start_job(id, job, cx);
        }
        if let Some((upstream, stall)) = cx.requests.relay.take() {
            self.start_relay(upstream, stall, cx);
        }
    }

    /// Runs a job that does not block, and starts one that may where that is asynchronous.
    fn start_job<C: Completer>(
        &mut self,
        id: JobId,
        job: T::Job,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) {
        if !cx.pool && !job.device().remote && !C::LOOKS_UP {
            return self.done.push_back((id, Ok(run_inline(job))));
        }
        match job.try_run() {
            Ok(done) => self.done.push_back((id, Ok(done))),
            Err(job) => {
                self.wants.jobs += 1;
                self.open_or_run(id, job, cx);
                self.watch_peer(cx.backend);
            }
        }
    }

    /// Ends a job that was in flight.
    pub(super) fn finish_job(&mut self, id: JobId, done: <T::Job as Job>::Done) {
        self.job_done(id, Ok(done));
    }

    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    /// Returns whether the peer has sent what the task has not received.
    pub(crate) fn has_unread(&self) -> bool {
        let in_socket = || ioctl_fionread((*self.socket).as_fd()).is_ok_and(|count| count > 0);
        !self.read_ahead.is_empty() || in_socket()
    }

    /// Ends the receiving side, where an operation may have taken bytes that nobody has seen yet: what
    /// has been received is delivered, and then most likely the end.
    pub(crate) fn start_eviction(&mut self) {
        self.evicting = true;
        // A peer that is gone has ended by itself.
        let _gone = shutdown((*self.socket).as_fd(), Shutdown::Read);
    }

    /// A deadline has passed: of the outbox, of receiving, of the timer.
    pub(crate) fn time_out<C: Completer>(&mut self, cx: &mut TurnContext<'_, C, T::Job>) {
        let now = cx.now;
        let is_over = |deadline: Instant| deadline <= now;
        if self.relay.as_ref().is_some_and(|relay| is_over(relay.deadline())) {
            self.end_relay(Some(std::io::ErrorKind::TimedOut.into()), cx);
        }
        if self.send.deadline(self.wants.send_timeout).is_some_and(is_over)
            && (self.send.is_in_flight() || !self.outbox.is_empty())
            && let Err(error) = self.send.cancel(cx.now, cx.backend)
        {
            // A read ahead of a send holds the socket for as long as the file system likes.
            let _gone = shutdown((*self.out.handle()).as_fd(), Shutdown::Both);
            self.send_failed(error, cx);
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

    /// Cancels what is in flight: the connection is over.
    pub(crate) fn abort<C: Completer>(&mut self, backend: &mut Backend<C>) {
        if let Some(key) = self.receive.take() {
            backend.driver.abort(key);
        }
        for opening in self.opening.drain(..) {
            backend.driver.abort(opening.key);
        }
        if let Some(relay) = &mut self.relay {
            relay.abort(backend);
        }
        self.send.abort(backend);
    }

    /// Returns whether bytes are still on their way out.
    pub(crate) fn is_sending(&self) -> bool {
        self.send.is_in_flight()
    }

    /// Lets the task append a farewell; what it appends starts to leave.
    pub(crate) fn say_farewell<C: Completer>(
        &mut self,
        reason: Reason,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) {
        self.deliver(Event::Closing(reason), cx);
        if !self.outbox.is_empty() && !self.send.is_in_flight() {
            let _best_effort = self.start_send(cx);
        }
    }

    /// The grace period is over: the last event of the task.
    pub(crate) fn abandon<C: Completer>(&mut self, cx: &mut TurnContext<'_, C, T::Job>) {
        if !self.outbox.is_empty() {
            self.send_failed(SendError::ShutDown, cx);
        }
    }

    fn send_failed<C: Completer>(&mut self, error: SendError, cx: &mut TurnContext<'_, C, T::Job>) {
        self.outbox.clear();
        self.send.reset();
        self.deliver(Event::SendFailed(error), cx);
    }

    fn start_relay<C: Completer>(
        &mut self,
        upstream: OwnedFd,
        stall: Duration,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) {
        let failed =
            |errno: Errno| RelayEnd { to_upstream: 0, to_client: 0, error: Some(errno.into()) };
        if let Some(End::Failed(errno)) = self.end {
            return self.handle(Event::Relayed(failed(errno)), cx);
        }
        let client = Side { source: Arc::clone(&self.socket), sink: self.out.clone() };
        match Relay::new::<C>(client, upstream, stall, cx.now) {
            Ok(mut relay) => {
                let early = self.read_ahead.drain(..).flatten().collect();
                self.buffered = 0;
                relay.begin_with(early, self.end.is_some(), self.receive.take());
                self.relay = Some(Box::new(relay));
            }
            Err(errno) => self.handle(Event::Relayed(failed(errno)), cx),
        }
    }

    fn end_relay<C: Completer>(
        &mut self,
        error: Option<std::io::Error>,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) {
        let Some(mut relay) = self.relay.take() else { return };
        relay.abort(cx.backend);
        let [to_upstream, to_client] = relay.moved();
        self.deliver(Event::Relayed(RelayEnd { to_upstream, to_client, error }), cx);
    }

    fn received<C: Completer>(
        &mut self,
        received: io::Result<Received>,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) {
        match received {
            Ok(bytes) if bytes.is_empty() => self.end = Some(End::Closed),
            Ok(mut bytes) => {
                let fits = self.wants.receive.is_some_and(|receive| {
                    receive.at_most.is_none_or(|most| bytes.len() <= most.get())
                });
                if fits && self.read_ahead.is_empty() {
                    self.wants.receive = None;
                    self.deliver(Event::Received(&mut bytes, RecordType::Data), cx);
                } else {
                    self.buffer(bytes.to_vec(), cx.backend);
                }
            }
            // It ended early, and is started again when the task wants to receive. NOBUFS: all buffers
            // were in use, and are back when what came in this turn has been handled.
            Err(Errno::NOBUFS | Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
            // The peer has reset the connection, so the job is in vain.
            Err(errno) if self.wants.jobs > 0 && self.wants.receive.is_none() => {
                self.deliver(Event::Failed(errno.into()), cx);
            }
            Err(errno) => self.end = Some(End::Failed(errno)),
        }
    }

    /// While a job runs, a receive stands on the socket where the task has armed one before: so that a
    /// reset is noticed.
    fn watch_peer<C: Completer>(&mut self, backend: &mut Backend<C>) {
        let full = self.buffered > READ_AHEAD || self.end.is_some();
        if self.wants.jobs > 0 && self.reads_ahead && self.receive.is_none() && !full {
            let operation = Operation::Receive(Arc::clone(&self.socket));
            self.receive = Some(backend.driver.start(self.tag, operation));
        }
    }

    /// Returns when a job that is handed out now is overdue.
    pub(crate) fn job_deadline(&self, now: Instant) -> Instant {
        self.wants.timer.unwrap_or(now + NEVER)
    }

    /// Not in the ring's buffer: a peer that sends and is not read would take all of them.
    fn buffer<C: Completer>(&mut self, bytes: Vec<u8>, backend: &mut Backend<C>) {
        self.buffered += bytes.len();
        self.read_ahead.push_back(bytes);
        if let Some(key) = self.receive
            && self.buffered > READ_AHEAD
        {
            backend.driver.cancel(key);
        }
    }

    /// Delivers what has been received already; false if that is nothing.
    fn deliver_buffered<C: Completer>(
        &mut self,
        receive: Receive,
        cx: &mut TurnContext<'_, C, T::Job>,
    ) -> bool {
        if let Some(mut bytes) = self.read_ahead.pop_front() {
            if let Some(most) = receive.at_most.map(std::num::NonZero::get)
                && bytes.len() > most
            {
                self.read_ahead.push_front(bytes.split_off(most));
            }
            self.buffered -= bytes.len();
            self.wants.receive = None;
            return self.deliver(Event::Received(&mut bytes, RecordType::Data), cx);
        }
        let event = match self.end {
            // Its receiving side has been shut down.
            Some(End::Closed) if self.evicting => Event::Closing(Reason::Evicted),
            Some(End::Closed) => Event::PeerClosed,
            Some(End::Failed(errno)) => Event::Failed(errno.into()),
            None => return false,
        };
        self.end = Some(End::Closed);
        self.wants.receive = None;
        self.deliver(event, cx)
    }

    fn arm_receive<C: Completer>(&mut self, receive: Receive, backend: &mut Backend<C>) {
        self.reads_ahead |= receive.at_most.is_none();
        if self.receive.is_none() {
            let socket = Arc::clone(&self.socket);
            let operation = match receive.at_most {
                Some(most) => Operation::ReceiveAtMost(socket, most.get()),
                None => Operation::Receive(socket),
            };
            self.receive = Some(backend.driver.start(self.tag, operation));
        }
    }

    fn close(&mut self, close: Close) {
        if close == Close::Reset {
            // If it fails, the peer sees a regular end.
            let socket = self.out.handle();
            let _failed =
                rustix::net::sockopt::set_socket_linger((*socket).as_fd(), Some(Duration::ZERO));
        }
    }
}

fn outbox_event<T: Task>(event: OutboxEvent) -> Event<'static, T> {
    match event {
        OutboxEvent::Sent(mark) => Event::Sent(mark),
        OutboxEvent::Unit(tag, event) => Event::Unit(tag, event),
    }
}
