//! The part of a connection that no backend changes: the requests of its task, and the order in which
//! events are delivered.
//!
//! A backend implements [`Connection`] for the calls that differ. An event loop also needs
//! [`EventLoopConnection`], which runs a connection step by step within a budget.

use karez_sys::unacknowledged;
use karez_transfer::Tag;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::io::{Close, Io, JobId, Requests, SocketOption};
use crate::moment::Moment;
use crate::records;
use crate::sync::mailbox::Context;
use crate::sync::offload::Offload;
use crate::task::{Event, Reason, RelayEnd, SendError, Task};
use crate::task_state::{TaskState, Turn};

/// Bytes that one connection may send in a turn before other connections are served.
const BUDGET_BYTES: u64 = 1 << 20;

/// Steps that one connection may make in a turn before other connections are served.
const BUDGET_STEPS: u32 = 24;

/// The context of the turns of a connection.
pub(crate) type ContextOf<'a, K> =
    TurnContext<'a, <K as Connection>::Resources, <<K as Connection>::Task as Task>::Job>;

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
    fn block(&mut self, cx: &mut ContextOf<'_, Self>) -> Turn;

    /// Sends as much as the socket takes at once, for a connection that is about to be closed.
    fn flush(&mut self, cx: &mut ContextOf<'_, Self>);

    /// Ends a relay or a send whose deadline has passed.
    fn time_out_send(&mut self, cx: &mut ContextOf<'_, Self>);

    /// Returns whether the peer has sent bytes that the task has not received.
    fn has_unread(&self) -> bool;

    /// Returns whether the peer's kernel has not acknowledged all that was sent.
    fn has_unacknowledged(&self) -> bool {
        unacknowledged(self.socket()).is_ok_and(|count| count > 0)
    }

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
                Step::Blocked => return self.block(cx),
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
