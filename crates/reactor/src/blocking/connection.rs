//! One connection on model blocking: a socket, a task, and the thread that serves them.
//!
//! As long as nothing is armed while the task sends, each call blocks: a receive with `SO_RCVTIMEO`
//! (socket(7)) as its deadline, a send [for a moment](send_limit), and then poll(2) waits for room. A
//! task that wants more than one thing at a time makes the connection duplex for good: the socket does
//! not block any more, and poll(2) waits for either direction.
//!
//! # Limitations
//!
//! Local files are read inline, so a stream that waits for a disk holds up the others of its connection,
//! and a timer fires late where a call takes longer.

use karez_transfer::{Outbox, OutboxEvent, Progress};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown, sockopt};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::messages::Messages;
use super::offload::Offloader;
use super::registry::Guard;
use super::{relay, wait};
use crate::io::{Close, Io, JobId, Requests, Wants};
use crate::selector::Token;
use crate::send_limit;
use crate::sync::inbox::Notification;
use crate::sync::mailbox::Context;
use crate::sync::offload::{Offload, PoolTask};
use crate::sync::pool::Pool;
use crate::task::{Event, Job, JobError, Reason, RecordType, SendError, Task};

/// The receive buffer of a thread. Smaller than an event loop's, for there is one per connection.
const BUFFER: usize = 16 << 10;

/// The result of a job.
type Finished<J> = (JobId, Result<<J as Job>::Done, JobError>);

/// Where no deadline is set: longer than any connection lasts.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// One connection and its thread.
pub(super) struct BlockingConnection<'a, T: Task> {
    socket: &'a OwnedFd,
    guard: &'a Guard<'a>,
    task: T,
    outbox: Outbox,
    wants: Wants,
    requests: Requests<T::Job>,
    done: VecDeque<Finished<T::Job>>,
    offloads: Offloader<'a, T::Job>,
    /// A worker reads the file in front of the outbox.
    page_in: bool,
    /// A hang-up of the peer would be reported again and again.
    deaf: bool,
    messages: Option<Messages<T::Message>>,
    buffer: Vec<u8>,
    /// Since when nothing has been sent.
    since: Instant,
    /// Calls do not block any more.
    duplex: bool,
    /// `SO_RCVTIMEO` as it is set.
    receive_timeout: Option<Duration>,
    /// Sends that find no room are over in a moment.
    limited: bool,
}

impl<'a, T: Task> BlockingConnection<'a, T> {
    pub(super) fn new(
        socket: &'a OwnedFd,
        guard: &'a Guard<'a>,
        pool: &'a Pool<PoolTask<T::Job>>,
        task: T,
    ) -> Self {
        let mut outbox = Outbox::new();
        outbox.tell_remote();
        Self {
            socket,
            guard,
            task,
            outbox,
            wants: Wants::new(),
            requests: Requests::new(),
            done: VecDeque::new(),
            offloads: Offloader::new(pool),
            page_in: false,
            deaf: false,
            messages: None,
            buffer: vec![0; BUFFER],
            since: Instant::now(),
            duplex: false,
            receive_timeout: None,
            limited: false,
        }
    }

    /// Serves the connection to its end.
    pub(super) fn run(mut self) {
        self.task.on_resume();
        let mut queue = None;
        let context = Context { token: Token(0), queue: &mut queue, waker: None };
        self.handle(Event::Opened(context));
        self.messages = queue.map(Messages::new);
        self.follow_requests();
        while self.step() {}
        if self.wants.close == Some(Close::Reset) {
            // If it fails, the peer sees a regular end.
            let _failed = sockopt::set_socket_linger(self.socket, Some(Duration::ZERO));
        }
    }

    /// Does one thing that the task wants; false at the end.
    fn step(&mut self) -> bool {
        if self.wants.close.is_some() {
            return false;
        }
        if let Some((id, result)) = self.done.pop_front() {
            return self.deliver(Event::JobDone(id, result));
        }
        if let Some(event) = self.outbox.next_event() {
            return self.deliver(outbox_event(event));
        }
        // Backpressure: a task that answers messages to a slow peer does not get more of them.
        if self.outbox.room() > 0
            && let Some(message) = self.messages.as_mut().and_then(Messages::next)
        {
            return self.deliver(Event::Message(message));
        }
        if self.fire_timer() {
            return true;
        }
        let armed = self.wants.receive.is_some() || self.wants.timer.is_some();
        if !self.outbox.is_empty() && !self.page_in {
            return if armed || self.duplex { self.step_duplex() } else { self.step_send() };
        }
        if self.outbox.is_empty() && std::mem::take(&mut self.wants.shutdown_write) {
            // A peer that is gone already needs no FIN.
            let _gone = shutdown(self.socket, Shutdown::Write);
            return true;
        }
        if self.offloads.is_pending() {
            return self.wait_for_offloads();
        }
        if !armed {
            return false; // the task wants nothing any more
        }
        self.step_receive()
    }

    /// Lets the task handle an event, and takes over what it wants then.
    fn handle(&mut self, event: Event<'_, T>) {
        let (now, was_empty) = (Instant::now(), self.outbox.is_empty());
        let jobs = self.offloads.jobs();
        let mut io = Io::new(now, &mut self.outbox, &mut self.requests, jobs);
        self.task.handle(event, &mut io);
        self.wants.take(&mut self.requests);
        if was_empty {
            self.since = now;
        }
    }

    fn deliver(&mut self, event: Event<'_, T>) -> bool {
        self.handle(event);
        self.follow_requests();
        true
    }

    /// Does what the task has asked for beyond what the connection remembers.
    fn follow_requests(&mut self) {
        while let Some(option) = self.requests.options.pop_front() {
            let result = option.set(self.socket);
            self.handle(Event::Configured(result));
        }
        while let Some((id, job)) = self.requests.jobs.pop_front() {
            self.start_job(id, job);
        }
        if let Some((upstream, stall)) = self.requests.relay.take() {
            let end = relay::relay(self.socket, upstream, stall);
            self.duplex = false;
            self.handle(Event::Relayed(end));
        }
    }

    /// Runs a job: here if that takes no waiting.
    fn start_job(&mut self, id: JobId, job: T::Job) {
        let job = match job.try_run() {
            Ok(done) => return self.done.push_back((id, Ok(done))),
            Err(job) => job,
        };
        let until = self.wants.timer.unwrap_or_else(|| Instant::now() + NEVER);
        self.deaf = false;
        if self.offloads.submit(Offload::Job(id, job), until).is_err() {
            self.done.push_back((id, Err(JobError::Rejected)));
        }
    }

    /// Has what comes next read by a thread that may hang.
    fn start_page_in(&mut self) -> bool {
        let until = self.since + self.wants.send_timeout;
        let part = self.outbox.cold_part().map(|part| Offload::PageIn(None, part));
        self.deaf = false;
        match part.map(|part| self.offloads.submit(part, until)) {
            Some(Ok(())) => self.page_in = true,
            Some(Err(_)) => return self.send_failed(SendError::Failed(Errno::AGAIN.into())),
            None => self.outbox.wait_for_disk(),
        }
        true
    }

    /// Has the pages of units read.
    fn start_unit_page_ins(&mut self) {
        while let Some((tag, part)) = self.outbox.take_page_in() {
            let until = self.since + self.wants.send_timeout;
            if self.offloads.submit(Offload::PageIn(Some(tag), part), until).is_err() {
                self.outbox.wait_for_disk();
                self.outbox.page_in_done(tag);
            }
        }
    }

    /// Takes the results of work that the pool has done.
    fn take_results(&mut self) {
        for notification in self.offloads.drain() {
            match notification {
                Notification::JobDone(_, id, result) => self.done.push_back((id, result)),
                Notification::PageInDone(_, None) => self.page_in = false,
                Notification::PageInDone(_, Some(tag)) => self.outbox.page_in_done(tag),
                Notification::Accepted(..) => {} // of an event loop
            }
        }
    }

    /// Waits for the pool, the peer, and what is armed.
    fn wait_for_offloads(&mut self) -> bool {
        let sends = !self.outbox.is_empty();
        let stall = sends.then(|| self.since + self.wants.send_timeout);
        let deadline = self.wants.deadline().into_iter().chain(stall).min();
        let ready = match self.wait(PollFlags::empty(), deadline) {
            Ok(ready) => ready,
            Err(errno) => return self.deliver(Event::Failed(errno.into())),
        };
        if self.wants.receive.is_some() && !ready.is_empty() {
            return self.receive(RecvFlags::DONTWAIT);
        }
        // An error queue that has something would be reported again and again.
        self.deaf |= !ready.is_empty();
        if ready.contains(PollFlags::HUP) {
            let reset = Errno::CONNRESET.into();
            return if sends {
                self.send_failed(SendError::Failed(reset))
            } else {
                self.deliver(Event::Failed(reset))
            };
        }
        if stall.is_some_and(|stall| stall <= Instant::now()) && self.page_in {
            return self.send_failed(SendError::TimedOut);
        }
        self.receive_timed_out();
        true
    }

    fn fire_timer(&mut self) -> bool {
        if self.wants.timer.is_none_or(|at| at > Instant::now()) {
            return false;
        }
        self.wants.timer = None;
        self.deliver(Event::Timer)
    }

    /// Returns whether the deadline of the receive has passed.
    fn is_late(&self) -> bool {
        self.wants.receive.is_some_and(|receive| receive.deadline <= Instant::now())
    }

    fn receive_timed_out(&mut self) -> bool {
        if !self.is_late() {
            return false;
        }
        self.wants.receive = None;
        self.deliver(Event::ReceiveTimedOut)
    }

    fn send_failed(&mut self, error: SendError) -> bool {
        self.outbox.clear();
        self.page_in = false;
        self.offloads.abandon_page_ins();
        self.deliver(Event::SendFailed(error))
    }

    /// Sends by a call that blocks for a moment, and waits for room if that was not enough.
    fn step_send(&mut self) -> bool {
        if !self.limited {
            if let Err(errno) = send_limit::limit(self.socket.as_fd()) {
                return self.send_failed(SendError::Failed(errno.into()));
            }
            self.limited = true;
        }
        let waits_for = match self.step_outbox() {
            Ok(moved) => return moved,
            Err(flags) => flags,
        };
        // That there is some room, but not enough for poll to say so, is no reason to go on.
        let mut fds = [PollFd::new(self.socket, waits_for)];
        match wait::until_ready(&mut fds, self.since + self.wants.send_timeout) {
            Ok(true) => true,
            Ok(false) => self.send_failed(SendError::TimedOut),
            Err(errno) => self.send_failed(SendError::Failed(errno.into())),
        }
    }

    /// Makes one step of the outbox; the error is what has to be waited for.
    fn step_outbox(&mut self) -> Result<bool, PollFlags> {
        let progress = self.outbox.step(self.socket.as_fd());
        self.start_unit_page_ins();
        Ok(match progress {
            Ok(Progress::Moved(bytes)) => {
                if bytes > 0 {
                    self.since = Instant::now();
                }
                self.fill()
            }
            Ok(Progress::Done) => self.fill(),
            Ok(Progress::NeedsWorker) => self.start_page_in(),
            Ok(Progress::Truncated { missing }) => {
                self.send_failed(SendError::Truncated { missing })
            }
            // That the socket has let go is told on its error queue, which is reported unasked.
            Ok(Progress::NeedsRelease) => return Err(PollFlags::empty()),
            Ok(_) => return Err(PollFlags::OUT),
            Err(error) => self.send_failed(SendError::Failed(error)),
        })
    }

    fn fill(&mut self) -> bool {
        if self.outbox.room() > 0 {
            let now = Instant::now();
            let jobs = self.offloads.jobs();
            let mut io = Io::new(now, &mut self.outbox, &mut self.requests, jobs);
            self.task.fill(&mut io);
            self.wants.take(&mut self.requests);
            self.follow_requests();
        }
        true
    }

    /// Sends what the socket takes, and receives what there is.
    fn step_duplex(&mut self) -> bool {
        if let Err(errno) = self.make_duplex() {
            return self.send_failed(SendError::Failed(errno.into()));
        }
        let interest = match self.step_outbox() {
            Ok(moved) => return moved,
            Err(flags) => flags,
        };
        let stall = self.since + self.wants.send_timeout;
        let deadline = self.wants.deadline().into_iter().chain([stall]).min();
        match self.wait(interest, deadline) {
            Ok(ready) if ready.intersects(PollFlags::IN | PollFlags::HUP) => {
                if self.wants.receive.is_some() { self.receive(RecvFlags::DONTWAIT) } else { true }
            }
            Ok(_) if self.receive_timed_out() => true,
            Ok(ready) if ready.is_empty() && stall <= Instant::now() => {
                self.send_failed(SendError::TimedOut)
            }
            Ok(_) => true,
            Err(errno) => self.deliver(Event::Failed(errno.into())),
        }
    }

    fn make_duplex(&mut self) -> rustix::io::Result<()> {
        if !self.duplex {
            ioctl_fionbio(self.socket, true)?;
            self.duplex = true;
        }
        Ok(())
    }

    /// Receives, or waits for the timer or a message.
    fn step_receive(&mut self) -> bool {
        let idle = self.wants.receive.is_some_and(|receive| receive.idle);
        if !self.guard.set_idle(idle) {
            return self.say_farewell(Reason::Shutdown);
        }
        let simple = self.messages.is_none() && self.wants.timer.is_none() && !self.duplex;
        let more = if simple { self.receive_blocking() } else { self.receive_polling() };
        self.guard.set_idle(false);
        more
    }

    /// Lets the task append a farewell, and sends what leaves at once; false, for that is the end.
    fn say_farewell(&mut self, reason: Reason) -> bool {
        self.handle(Event::Closing(reason));
        if !self.outbox.is_empty() {
            let _best_effort = self.outbox.step(self.socket.as_fd());
        }
        false
    }

    fn receive_blocking(&mut self) -> bool {
        let Some(receive) = self.wants.receive else { return true };
        let left = receive.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // What came in time may not have been looked at: this process was stopped.
            return self.receive(RecvFlags::DONTWAIT);
        }
        if let Err(errno) = self.set_receive_timeout(left) {
            self.wants.receive = None;
            return self.deliver(Event::Failed(errno.into()));
        }
        self.receive(RecvFlags::empty())
    }

    fn receive_polling(&mut self) -> bool {
        let interest =
            if self.wants.receive.is_some() { PollFlags::IN } else { PollFlags::empty() };
        match self.wait(interest, self.wants.deadline()) {
            Ok(ready) if ready.is_empty() => {
                self.receive_timed_out();
                true
            }
            Ok(_) if self.wants.receive.is_some() => self.receive(RecvFlags::DONTWAIT),
            // The peer is gone, and the task waits for its timer alone.
            Ok(_) => self.deliver(Event::PeerClosed),
            Err(errno) => {
                self.wants.receive = None;
                self.deliver(Event::Failed(errno.into()))
            }
        }
    }

    /// Receives once. A receive that would block, or that a signal interrupts, stays armed until its
    /// deadline.
    fn receive(&mut self, flags: RecvFlags) -> bool {
        let at_most = self.wants.receive.and_then(|receive| receive.at_most);
        let room = at_most.map_or(BUFFER, |most| most.get().min(BUFFER));
        let mut buffer = std::mem::take(&mut self.buffer);
        let event = match recv(self.socket, &mut buffer[..room], flags) {
            Ok((0, _)) => match self.guard.ending() {
                Some(reason) => return self.say_farewell(reason),
                None => Some(Event::PeerClosed),
            },
            Ok((count, _)) => Some(Event::Received(&mut buffer[..count], RecordType::Data)),
            Err(Errno::AGAIN) if flags == RecvFlags::DONTWAIT && self.is_late() => {
                Some(Event::ReceiveTimedOut)
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(errno) => Some(Event::Failed(errno.into())),
        };
        if let Some(event) = event {
            self.wants.receive = None;
            self.guard.set_idle(false);
            self.handle(event);
        }
        self.buffer = buffer;
        self.follow_requests();
        true
    }

    /// Sets `SO_RCVTIMEO`, unless what is set is about right: it is the same for every request.
    fn set_receive_timeout(&mut self, left: Duration) -> rustix::io::Result<()> {
        let lax = left + left / 8 + Duration::from_millis(1);
        if self.receive_timeout.is_none_or(|set| set < left || set > lax) {
            sockopt::set_socket_timeout(self.socket, sockopt::Timeout::Recv, Some(lax))?;
            self.receive_timeout = Some(lax);
        }
        Ok(())
    }

    /// Waits for the socket, or a message, until the deadline. Empty: none of the socket's flags is
    /// set, be it that the time is up.
    fn wait(
        &mut self,
        interest: PollFlags,
        deadline: Option<Instant>,
    ) -> rustix::io::Result<PollFlags> {
        let mut interest = interest;
        interest.set(PollFlags::IN, self.wants.receive.is_some());
        let until = deadline.unwrap_or_else(|| Instant::now() + NEVER);
        // One that is not wanted for anything is left out where it would be reported all the time.
        let deaf = self.deaf && interest.is_empty();
        let mut fds = Vec::with_capacity(3);
        if !deaf {
            fds.push(PollFd::new(self.socket, interest));
        }
        let offloads = self.offloads.waker();
        let of_messages = self.messages.as_ref().map(Messages::waker);
        fds.extend(
            offloads.iter().chain(&of_messages).map(|waker| PollFd::new(*waker, PollFlags::IN)),
        );
        wait::until_ready(&mut fds, until)?;
        let mut found = fds.iter().map(PollFd::revents);
        let of_socket = if deaf { None } else { found.next() };
        let of_offloads = offloads.and_then(|_| found.next());
        let of_messages = found.next();
        if of_offloads.is_some_and(|flags| !flags.is_empty()) {
            self.take_results();
        }
        if let Some(messages) = &self.messages
            && of_messages.is_some_and(|flags| !flags.is_empty())
        {
            messages.waker().drain();
        }
        Ok(of_socket.unwrap_or(PollFlags::empty()))
    }
}

fn outbox_event<T: Task>(event: OutboxEvent) -> Event<'static, T> {
    match event {
        OutboxEvent::Sent(mark) => Event::Sent(mark),
        OutboxEvent::Unit(tag, event) => Event::Unit(tag, event),
    }
}
