//! The part of a connection that no backend changes: its task, its outbox, the requests of the task, and
//! the order in which events are delivered.
//!
//! A backend implements [`Connection`] for the calls that differ. An event loop also needs
//! [`EventLoopConnection`], which runs a connection step by step within a budget.

use karez_transfer::{Outbox, OutboxEvent, Tag};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::mem;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::io::{Close, Io, JobId, Requests, SocketOption, Wants};
use crate::moment::Moment;
use crate::pending::Pending;
use crate::records;
use crate::sync::mailbox::{Context, Envelope};
use crate::sync::offload::{Offload, OffloadId, Tickets};
use crate::task::{Event, Job, JobError, Reason, RelayEnd, SendError, Task};
use crate::timers::Deadline;

/// Bytes that one connection may send in a turn before other connections are served.
const BUDGET_BYTES: u64 = 1 << 20;

/// Steps that one connection may make in a turn before other connections are served.
const BUDGET_STEPS: u32 = 24;

/// Where no deadline is set: longer than any connection lasts.
pub(crate) const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The context of the turns of a connection.
pub(crate) type ContextOf<'a, K> =
    TurnContext<'a, <K as Connection>::Resources, <<K as Connection>::Task as Task>::Job>;

/// The task of a connection and its state between two events.
pub(crate) struct TaskState<T: Task> {
    pub(crate) task: T,
    pub(crate) outbox: Outbox,
    pub(crate) wants: Wants,
    /// The last time that a byte was sent, or that the outbox was empty.
    pub(crate) progressed_at: Moment,
    pub(crate) deadline: Deadline,
    /// In the event loop's run queue.
    pub(crate) queued: bool,
    /// It is evicted as soon as the received bytes are delivered.
    pub(crate) evicting: bool,
    /// Nothing has happened since it blocked last.
    pub(crate) unchanged: bool,
    /// The kernel opens the records of TLS that the socket receives.
    pub(crate) records: bool,
    /// The event that the task has deferred to is due.
    pub(crate) deferred_due: bool,
    pub(crate) tickets: Tickets,
    pending: Pending<T>,
}

/// The context of a turn of a connection.
pub(crate) struct TurnContext<'a, R, J> {
    /// The resources that connections of an event loop share: a buffer, or the driver and its pools.
    pub(crate) resources: &'a mut R,
    pub(crate) requests: &'a mut Requests<J>,
    /// Work for a worker thread or the selector.
    pub(crate) offloads: &'a mut Vec<Offload<J>>,
    /// The worker pool takes jobs.
    pub(crate) pool: bool,
    pub(crate) now: Instant,
}

/// The result of one step of a connection.
pub(crate) enum Step {
    /// An event was delivered, or so many bytes were sent.
    Moved(u64),
    /// Everything that the task wants has to wait.
    Blocked,
    /// The event loop has to update its registrations first.
    Pause,
}

/// The result of a turn of a connection.
pub(crate) enum Turn {
    /// Everything that its task wants has to wait, at most until `deadline`. `unchanged`: nothing has
    /// happened since it blocked last.
    Blocked {
        deadline: Option<Instant>,
        idle: bool,
        unchanged: bool,
    },
    /// Its budget is used up; it could go on at once.
    Yielded,
    Closed,
}

impl<T: Task> TaskState<T> {
    pub(crate) fn new(task: T, outbox: Outbox, now: Instant) -> Self {
        Self {
            task,
            outbox,
            wants: Wants::new(),
            progressed_at: now.into(),
            deadline: Deadline::default(),
            queued: false,
            evicting: false,
            unchanged: false,
            records: false,
            deferred_due: false,
            tickets: Tickets::default(),
            pending: Pending::default(),
        }
    }

    /// Lets the task handle an event, and remembers its requests.
    pub(crate) fn handle(
        &mut self,
        event: Event<'_, T>,
        requests: &mut Requests<T::Job>,
        now: Instant,
    ) {
        let was_empty = self.outbox.is_empty();
        let mut io = Io::new(now, &mut self.outbox, requests, self.wants.jobs);
        self.task.handle(event, &mut io);
        self.wants.take(requests);
        self.unchanged = false;
        if was_empty {
            self.progressed_at = now.into();
        }
    }

    /// Returns the next event that needs no system call.
    pub(crate) fn next_event(&mut self) -> Option<Event<'static, T>> {
        if mem::take(&mut self.deferred_due) {
            return Some(Event::Deferred);
        }
        if let Some((id, result)) = self.pending.next_result() {
            return Some(Event::JobDone(id, result));
        }
        if let Some(event) = self.outbox.next_event() {
            return Some(match event {
                OutboxEvent::Sent(mark) => Event::Sent(mark),
                OutboxEvent::Unit(tag, event) => Event::Unit(tag, event),
            });
        }
        // Backpressure: a task that answers messages to a slow peer does not get more of them.
        if self.outbox.room() == 0 {
            return None;
        }
        self.pending.next_message().map(|envelope| Event::Message(envelope.open()))
    }

    /// Keeps a message until the next turn.
    pub(crate) fn push_message(&mut self, envelope: Envelope<T::Message>) {
        self.pending.push_message(envelope);
    }

    /// Keeps the result of a job that did not run elsewhere.
    pub(crate) fn push_result(&mut self, id: JobId, done: <T::Job as Job>::Done) {
        self.pending.push_result((id, Ok(done)));
    }

    /// Keeps the result of a job that ran elsewhere until the next turn.
    pub(crate) fn job_done(&mut self, id: JobId, result: Result<<T::Job as Job>::Done, JobError>) {
        self.tickets.remove(OffloadId::Job(id));
        self.wants.jobs = self.wants.jobs.saturating_sub(1);
        self.pending.push_result((id, result));
    }

    pub(crate) fn progressed(&mut self, bytes: u64, now: Instant) {
        self.progressed_at = self.wants.stall.progress(self.progressed_at, bytes, now);
    }

    /// Returns when the peer has taken no byte, or too few, for too long.
    pub(crate) fn stall_deadline(&self) -> Instant {
        self.progressed_at.instant() + self.wants.stall.timeout()
    }

    /// Returns when work for the pool is overdue.
    pub(crate) fn offload_deadline(&self, id: OffloadId, now: Instant) -> Instant {
        match id {
            OffloadId::Job(_) => self.wants.timer.map_or(now + NEVER, Moment::instant),
            OffloadId::PageIn(_) => self.stall_deadline(),
        }
    }

    /// Ends a turn in which nothing more can be done. `busy`: the backend sends or relays, at most until
    /// `stall`.
    pub(crate) fn block(&mut self, busy: bool, stall: Option<Instant>) -> Turn {
        let deadline = self.wants.deadline().map(Moment::instant);
        let busy = busy || self.wants.jobs > 0;
        if deadline.is_none() && !busy {
            return Turn::Closed; // the task wants nothing any more
        }
        let idle = !busy && self.wants.receive.is_some_and(|receive| receive.idle);
        let unchanged = mem::replace(&mut self.unchanged, true);
        Turn::Blocked { deadline: deadline.into_iter().chain(stall).min(), idle, unchanged }
    }
}

/// One connection: the calls of a backend for a task.
pub(crate) trait Connection: Sized {
    type Task: Task;
    type Resources;

    fn state(&mut self) -> &mut TaskState<Self::Task>;

    /// Returns the socket, for options and for a FIN.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Runs a job, or has it run.
    fn start_job(
        &mut self,
        id: JobId,
        job: <Self::Task as Task>::Job,
        cx: &mut ContextOf<'_, Self>,
    );

    /// Starts to relay to `upstream`; returns the end if it is over at once.
    fn start_relay(
        &mut self,
        upstream: OwnedFd,
        stall_timeout: Duration,
        cx: &mut ContextOf<'_, Self>,
    ) -> Option<RelayEnd>;

    /// Forgets the send in progress: the outbox has been emptied.
    fn discard_send(&mut self);

    /// Lets the task handle an event and follows its requests.
    fn deliver(&mut self, event: Event<'_, Self::Task>, cx: &mut ContextOf<'_, Self>) {
        self.state().handle(event, cx.requests, cx.now);
        self.follow_requests(cx);
    }

    /// Empties the request record: sets options, starts jobs and a relay.
    fn follow_requests(&mut self, cx: &mut ContextOf<'_, Self>) {
        loop {
            if let Some(paced) = cx.requests.pace.take() {
                paced.set(self.socket());
            }
            while let Some(option) = cx.requests.options.pop_front() {
                let opens_records = matches!(option, SocketOption::TlsRx(_));
                let result = option.set(self.socket());
                self.state().records |= opens_records && result.is_ok();
                self.state().handle(Event::Configured(result), cx.requests, cx.now);
            }
            while let Some((id, job)) = cx.requests.jobs.pop_front() {
                self.start_job(id, job, cx);
            }
            let Some((upstream, stall_timeout)) = cx.requests.relay.take() else { return };
            if let Some(end) = self.start_relay(upstream, stall_timeout, cx) {
                self.state().handle(Event::Relayed(end), cx.requests, cx.now);
            }
        }
    }

    /// Lets the task append, where its outbox is below the low-water mark.
    fn fill(&mut self, cx: &mut ContextOf<'_, Self>) {
        let state = self.state();
        if state.outbox.room() > 0 {
            let mut io = Io::new(cx.now, &mut state.outbox, cx.requests, state.wants.jobs);
            state.task.fill(&mut io);
            state.wants.take(cx.requests);
            self.follow_requests(cx);
        }
    }

    /// Empties the outbox and reports why.
    fn fail_send(&mut self, error: SendError, cx: &mut ContextOf<'_, Self>) {
        if let SendError::Failed(error) = &error
            && self.state().records
            && let Some(errno) = Errno::from_io_error(error)
        {
            records::clear_error(self.socket(), errno);
        }
        self.state().outbox.clear();
        self.discard_send();
        self.deliver(Event::SendFailed(error), cx);
    }

    /// Sends a FIN, if the task has asked for it and everything before it has been sent.
    fn shut_down_write(&mut self) -> bool {
        let state = self.state();
        let due = state.wants.shutdown_write && state.outbox.is_empty();
        if due {
            state.wants.shutdown_write = false;
            // A peer that has closed the connection needs no FIN.
            let _closed = shutdown(self.socket(), Shutdown::Write);
        }
        due
    }

    /// Reports that the deadline of the receive has passed; false if it has not.
    fn time_out_receive(&mut self, cx: &mut ContextOf<'_, Self>) -> bool {
        let (receive, now) = (&mut self.state().wants.receive, Moment::from(cx.now));
        let late = receive.take_if(|receive| receive.deadline <= now).is_some();
        if late {
            self.deliver(Event::ReceiveTimedOut, cx);
        }
        late
    }

    /// Reports that the time of the timer has come; false if it has not.
    fn fire_timer(&mut self, cx: &mut ContextOf<'_, Self>) -> bool {
        let now = Moment::from(cx.now);
        let due = self.state().wants.timer.take_if(|at| *at <= now).is_some();
        if due {
            self.deliver(Event::Timer, cx);
        }
        due
    }

    /// Prepares the socket for how the task has closed the connection.
    fn prepare_close(&mut self) {
        if self.state().wants.close == Some(Close::Reset) {
            // If it fails, the peer sees a regular end.
            let linger = Some(Duration::ZERO);
            let _failed = rustix::net::sockopt::set_socket_linger(self.socket(), linger);
        }
    }
}

/// A connection on an event loop.
pub(crate) trait EventLoopConnection: Connection {
    /// Does one thing that the task wants.
    fn step(&mut self, cx: &mut ContextOf<'_, Self>) -> Step;

    /// Ends a turn in which everything has to wait.
    fn block(&mut self) -> Turn;

    /// Sends as much as the socket takes at once, for a connection that is about to be closed.
    fn flush(&mut self, cx: &mut ContextOf<'_, Self>);

    /// Ends a relay or a send whose deadline has passed.
    fn time_out_send(&mut self, cx: &mut ContextOf<'_, Self>);

    /// Returns whether the peer has sent bytes that the task has not received.
    fn has_unread(&self) -> bool;

    /// Prepares an idle connection for its eviction; false if bytes may have been received that are not
    /// visible yet, so that it ends by itself when they have been delivered.
    fn end_receiving(&mut self) -> bool {
        true
    }

    /// Notes that pages are in memory, or cannot be read, which the next step finds out.
    fn page_in_done(&mut self, _tag: Option<Tag>) {}

    /// Delivers the first event.
    fn open(
        &mut self,
        context: Context<'_, <Self::Task as Task>::Message>,
        cx: &mut ContextOf<'_, Self>,
    ) {
        self.deliver(Event::Opened(context), cx);
    }

    /// Works for the task until everything it wants has to wait, its budget is used up, or the
    /// connection is closed.
    fn advance(&mut self, cx: &mut ContextOf<'_, Self>) -> Turn {
        self.state().task.on_resume();
        let turn = self.run_budget(cx);
        self.state().task.on_yield();
        turn
    }

    fn run_budget(&mut self, cx: &mut ContextOf<'_, Self>) -> Turn {
        let (mut steps, mut bytes) = (0, 0);
        while steps < BUDGET_STEPS && bytes < BUDGET_BYTES {
            if self.state().wants.close.is_some() {
                self.prepare_close();
                return Turn::Closed;
            }
            match self.step(cx) {
                Step::Moved(moved) => {
                    self.state().unchanged = false;
                    steps += 1;
                    bytes += moved;
                }
                Step::Blocked => return self.block(),
                Step::Pause => break,
            }
        }
        Turn::Yielded
    }

    /// Reports each deadline that has passed: of a relay, the outbox, the receive, the timer.
    fn time_out(&mut self, cx: &mut ContextOf<'_, Self>) {
        self.time_out_send(cx);
        self.time_out_receive(cx);
        self.fire_timer(cx);
    }

    /// Lets the task append a farewell, and sends as much as the socket takes at once.
    fn say_farewell(&mut self, reason: Reason, cx: &mut ContextOf<'_, Self>) {
        self.deliver(Event::Closing(reason), cx);
        self.flush(cx);
    }

    /// Delivers the last event: the grace period is over.
    fn abandon(&mut self, cx: &mut ContextOf<'_, Self>) {
        if !self.state().outbox.is_empty() {
            self.fail_send(SendError::ShutDown, cx);
        }
    }
}
