//! One connection on model blocking: a socket, a task, and the thread that serves them.
//!
//! As long as nothing is armed while the task sends, each call blocks: a receive with `SO_RCVTIMEO`
//! (socket(7)) as its deadline, a send [for a moment](crate::send_limit), and then poll(2) waits for
//! room. A task that wants more than one thing at a time makes the connection duplex for good: the
//! socket does not block any more, and poll(2) waits for either direction.
//!
//! # Limitations
//!
//! Local files are read inline, so a stream that waits for a disk delays all streams of its connection,
//! and a timer fires late where a call takes longer.

use karez_transfer::Outbox;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::offload::Offloader;
use super::registry::Guard;
use super::{relay, wait};
use crate::connection::{Connection, ContextOf, TurnContext};
use crate::io::{JobId, Requests};
use crate::moment::Moment;
use crate::selector::Token;
use crate::sync::inbox::Notification;
use crate::sync::mailbox::{Context, MessageQueue};
use crate::sync::offload::{Offload, PoolTask};
use crate::sync::pool::Pool;
use crate::task::{Event, Job, JobError, Reason, RelayEnd, SendError, Task};
use crate::task_state::{NEVER, TaskState};

/// The receive buffer of a thread. Smaller than an event loop's, for there is one per connection.
pub(super) const BUFFER: usize = 16 << 10;

/// One connection and its thread.
pub(super) struct BlockingConnection<'a, T: Task> {
    pub(super) socket: &'a OwnedFd,
    pub(super) guard: &'a Guard<'a>,
    pub(super) state: TaskState<T>,
    pub(super) offloads: Offloader<'a, T::Job>,
    /// A worker reads the file in front of the outbox.
    pub(super) page_in: bool,
    /// Reports of the socket are about something else, and would be repeated by every poll.
    pub(super) ignores_reports: bool,
    /// Messages to the task, if it has a mailbox.
    pub(super) messages: Option<Arc<MessageQueue<T::Message>>>,
    pub(super) buffer: Vec<u8>,
    /// Calls do not block any more.
    pub(super) duplex: bool,
    /// `SO_RCVTIMEO` as it is set.
    pub(super) receive_timeout: Option<Duration>,
    /// Sends that find no room return after a moment.
    pub(super) sends_limited: bool,
}

impl<'a, T: Task> BlockingConnection<'a, T> {
    pub(super) fn new(
        socket: &'a OwnedFd,
        guard: &'a Guard<'a>,
        pool: &'a Pool<PoolTask<T::Job>>,
        task: T,
    ) -> Self {
        let mut outbox = Outbox::new();
        outbox.report_remote_misses();
        Self {
            socket,
            guard,
            state: TaskState::new(task, outbox, Instant::now()),
            offloads: Offloader::new(pool),
            page_in: false,
            ignores_reports: false,
            messages: None,
            buffer: vec![0; BUFFER],
            duplex: false,
            receive_timeout: None,
            sends_limited: false,
        }
    }

    /// Serves the connection to its end.
    pub(super) fn run(&mut self) {
        let (mut requests, mut offloads) = (Requests::new(), Vec::new());
        let cx = &mut TurnContext {
            resources: &mut (),
            requests: &mut requests,
            offloads: &mut offloads,
            pool: true,
            now: Instant::now(),
        };
        self.state.task.on_resume();
        let mut queue = None;
        let context = Context { token: Token(0), queue: &mut queue, waker: None };
        self.deliver(Event::Opened(context), cx);
        self.messages = queue;
        while self.step(cx) {}
        self.prepare_close();
    }

    /// Does one thing that the task wants; false at the end.
    fn step(&mut self, cx: &mut ContextOf<'_, Self>) -> bool {
        if self.state.wants.close.is_some() {
            return false;
        }
        if let Some(messages) = &self.messages
            && self.state.outbox.room() > 0
        {
            for (_, envelope) in messages.drain() {
                self.state.push_message(envelope);
            }
        }
        if let Some(event) = self.state.next_event() {
            self.deliver(event, cx);
            return true;
        }
        cx.now = Instant::now();
        if self.fire_timer(cx) {
            return true;
        }
        let armed = self.state.wants.receive.is_some() || self.state.wants.timer.is_some();
        if !self.state.outbox.is_empty() && !self.page_in {
            if armed || self.duplex {
                self.step_duplex(cx);
            } else {
                self.step_send(cx);
            }
            return true;
        }
        if self.shut_down_write() {
            return true;
        }
        if self.offloads.is_pending() {
            return self.wait_for_offloads(cx);
        }
        if !armed {
            self.state.fail_forgotten();
        }
        self.step_receive(cx)
    }

    /// Takes the results of work that the pool has done.
    fn take_results(&mut self) {
        for notification in self.offloads.drain() {
            match notification {
                Notification::JobDone(_, id, result) => self.state.job_done(id, result),
                Notification::PageInDone(_, None) => self.page_in = false,
                Notification::PageInDone(_, Some(tag)) => self.state.outbox.page_in_done(tag),
                Notification::Accepted(..) => {} // of an event loop
            }
        }
    }

    /// Waits for the pool, the peer, a receive and the timer; false at the end.
    fn wait_for_offloads(&mut self, cx: &mut ContextOf<'_, Self>) -> bool {
        let sends = !self.state.outbox.is_empty();
        let stall = sends.then(|| self.state.stall_deadline());
        let deadline = self.state.wants.deadline().map(Moment::instant);
        let deadline = deadline.into_iter().chain(stall).min();
        let ready = match self.wait(PollFlags::empty(), deadline, cx) {
            Ok(ready) => ready,
            Err(errno) => {
                self.deliver(Event::Failed(errno.into()), cx);
                return true;
            }
        };
        if self.state.wants.receive.is_some() && !ready.is_empty() {
            return self.receive(RecvFlags::DONTWAIT, cx);
        }
        // An error queue that is not empty would be reported by every poll.
        self.ignores_reports |= !ready.is_empty();
        if ready.contains(PollFlags::HUP) {
            let reset = Errno::CONNRESET.into();
            if sends {
                self.fail_send(SendError::Failed(reset), cx);
            } else {
                self.deliver(Event::Failed(reset), cx);
            }
        } else if stall.is_some_and(|stall| stall <= cx.now) && self.page_in {
            self.fail_send(SendError::TimedOut, cx);
        } else {
            self.time_out_receive(cx);
        }
        true
    }

    /// Lets the task append a farewell, and sends as much as the socket takes at once.
    pub(super) fn say_farewell(&mut self, reason: Reason, cx: &mut ContextOf<'_, Self>) {
        self.state.handle(Event::Closing(reason), cx.requests, Instant::now());
        if !self.state.outbox.is_empty() {
            let _best_effort = self.state.outbox.step(self.socket.as_fd());
        }
    }

    /// Waits for the socket, the pool or a message until the deadline. Returns the flags of the socket,
    /// which may be empty.
    pub(super) fn wait(
        &mut self,
        interest: PollFlags,
        deadline: Option<Instant>,
        cx: &mut ContextOf<'_, Self>,
    ) -> rustix::io::Result<PollFlags> {
        let mut interest = interest;
        interest.set(PollFlags::IN, self.state.wants.receive.is_some());
        let until = deadline.unwrap_or_else(|| Instant::now() + NEVER);
        // A socket that is not waited for is left out where it would be reported all the time.
        let watched = !self.ignores_reports || !interest.is_empty();
        let mut fds = Vec::with_capacity(3);
        if watched {
            fds.push(PollFd::new(self.socket, interest));
        }
        let offloads = self.offloads.waker();
        let messages = self.messages.as_ref().map(|messages| messages.waker());
        fds.extend(
            offloads.iter().chain(&messages).map(|waker| PollFd::new(*waker, PollFlags::IN)),
        );
        let waited = wait::until_ready(&mut fds, until);
        cx.now = Instant::now();
        waited?;
        let mut found = fds.iter().map(PollFd::revents);
        let of_socket = if watched { found.next() } else { None };
        let of_offloads = offloads.and_then(|_| found.next());
        if let Some(messages) = messages
            && found.next().is_some_and(|flags| !flags.is_empty())
        {
            messages.drain();
        }
        if of_offloads.is_some_and(|flags| !flags.is_empty()) {
            self.take_results();
        }
        Ok(of_socket.unwrap_or(PollFlags::empty()))
    }
}

impl<T: Task> Connection for BlockingConnection<'_, T> {
    type Task = T;
    type Resources = ();

    fn state(&mut self) -> &mut TaskState<T> {
        &mut self.state
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The calls before may have blocked, so the clock is read.
    fn deliver(&mut self, event: Event<'_, T>, cx: &mut ContextOf<'_, Self>) {
        cx.now = Instant::now();
        self.state.handle(event, cx.requests, cx.now);
        self.follow_requests(cx);
    }

    /// Runs a job here if it does not block.
    fn start_job(&mut self, id: JobId, job: T::Job, cx: &mut ContextOf<'_, Self>) {
        let job = match job.try_run() {
            Ok(done) => return self.state.push_result(id, done),
            Err(job) => job,
        };
        let offload = Offload::Job(id, job);
        let until = self.state.offload_deadline(offload.id(), cx.now);
        self.ignores_reports = false;
        self.state.wants.jobs += 1;
        if self.offloads.submit(offload, until).is_err() {
            self.state.job_done(id, Err(JobError::Rejected));
        }
    }

    /// Relays to the end.
    fn start_relay(
        &mut self,
        upstream: OwnedFd,
        stall: Duration,
        cx: &mut ContextOf<'_, Self>,
    ) -> Option<RelayEnd> {
        let end = match self.make_duplex() {
            Ok(()) => relay::relay(self.socket, upstream, stall),
            Err(errno) => RelayEnd::failed(errno),
        };
        cx.now = Instant::now();
        Some(end)
    }

    fn discard_send(&mut self) {
        self.page_in = false;
        self.offloads.abandon_page_ins();
    }
}
