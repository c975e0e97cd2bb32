//! One connection on a completion model: a socket, a task, and the operations in flight for it.

use karez_sys::{Completion, Key, Outcome, Received};
use rustix::io::{self, Errno, ioctl_fionread};
use rustix::net::{RecvFlags, Shutdown, shutdown};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::receive::{ReceiveState, StreamEnd};
use super::relay::BufferedRelay;
use super::send::{SendContext, SendProgress, Sender};
use crate::connection::{Connection, ContextOf, EventLoopConnection, Step};
use crate::driver::{Driver, DriverSocket as _};
use crate::io::{Close, JobId, Receive};
use crate::records;
use crate::sync::offload::{run_inline, try_inline};
use crate::task::{Event, Job, Reason, RecordType, RelayEnd, SendError, Task};
use crate::task_state::{TaskState, Turn};
use karez_transfer::Outbox;

/// The most bytes of a control record that are received at once.
const CONTROL: usize = 256;

/// A connection of a [`Proactor`](super::event_loop::Proactor).
pub(crate) struct CompletionConnection<T: Task, C: Driver> {
    /// The tag of its operations: its token.
    tag: u64,
    socket: C::Socket,
    pub(super) state: TaskState<T>,
    send: Sender,
    receive: ReceiveState,
    /// Jobs for which a file is being opened.
    pub(super) opening: Vec<Opening<T::Job>>,
    relay: Option<Box<BufferedRelay<C>>>,
}

/// A job for which a file is being opened.
pub(super) struct Opening<J> {
    pub(super) id: JobId,
    pub(super) key: Key,
    pub(super) job: J,
}

impl<T: Task, C: Driver> CompletionConnection<T, C> {
    pub(crate) fn new(socket: C::Socket, task: T, now: Instant) -> Self {
        Self {
            tag: 0,
            socket,
            state: TaskState::new(task, Outbox::new(), now),
            send: Sender::default(),
            receive: ReceiveState::default(),
            opening: Vec::new(),
            relay: None,
        }
    }

    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    pub(super) fn set_tag(&mut self, tag: u64) {
        self.tag = tag;
    }

    /// Takes the result of an operation.
    pub(crate) fn complete(&mut self, completion: Completion, cx: &mut ContextOf<'_, Self>) {
        self.state.task.on_resume();
        if let Some(relay) = &mut self.relay {
            if let Err(errno) = relay.complete(completion, cx.now, cx.resources) {
                self.end_relay(Some(errno.into()), cx);
            }
            return;
        }
        match completion.outcome {
            Outcome::Received(received) => {
                // Any other is of a relay that is over.
                if self.receive.completes(completion.key, completion.last) {
                    self.received(received, cx);
                }
            }
            Outcome::Opened(opened) => self.name_opened(completion.key, opened, cx),
            _ => self.sent(completion, cx),
        }
    }

    fn sent(&mut self, completion: Completion, cx: &mut ContextOf<'_, Self>) {
        self.state.unchanged = false;
        let (send, mut context) = self.send_context(cx);
        match send.complete(completion, &mut context) {
            Ok(()) => self.fill(cx),
            Err(error) => self.fail_send(error, cx),
        }
    }

    fn send_context<'c>(
        &'c mut self,
        cx: &'c mut ContextOf<'_, Self>,
    ) -> (&'c mut Sender, SendContext<'c, C>) {
        let context = SendContext {
            outbox: &mut self.state.outbox,
            progressed_at: &mut self.state.progressed_at,
            stall: self.state.wants.stall,
            backend: cx.resources,
            tag: self.tag,
            socket: &mut self.socket,
            now: cx.now,
        };
        (&mut self.send, context)
    }

    /// Starts the next send, unless one is in flight.
    ///
    /// # Errors
    /// The reason why sending ends early.
    fn start_send(&mut self, cx: &mut ContextOf<'_, Self>) -> Result<(), SendError> {
        if self.state.outbox.is_empty() || self.send.is_in_flight() {
            return Ok(());
        }
        let (send, mut context) = self.send_context(cx);
        match send.start_next(&mut context) {
            SendProgress::InFlight | SendProgress::Empty => Ok(()),
            SendProgress::Failed(error) => Err(error),
        }
    }

    /// Returns whether bytes are in flight to the peer.
    pub(crate) fn is_sending(&self) -> bool {
        self.send.is_in_flight()
    }

    /// Cancels everything in flight: the connection is closed.
    pub(crate) fn abort(&mut self, backend: &mut Backend<C>) {
        for opening in self.opening.drain(..) {
            backend.driver.cancel(opening.key);
        }
        if let Some(relay) = &mut self.relay {
            relay.abort(&self.socket, backend);
        }
        let receives = self.receive.abort(&mut backend.driver);
        if self.send.abort(backend) || receives {
            self.socket.abort(self.state.wants.close == Some(Close::Reset));
        }
    }

    fn end_relay(&mut self, error: Option<std::io::Error>, cx: &mut ContextOf<'_, Self>) {
        let Some(mut relay) = self.relay.take() else { return };
        relay.abort(&self.socket, cx.resources);
        self.deliver(Event::Relayed(relay.end(error)), cx);
    }

    fn received(&mut self, received: io::Result<Received>, cx: &mut ContextOf<'_, Self>) {
        match received {
            Ok(bytes) if bytes.is_empty() => self.receive.set_end(StreamEnd::Closed),
            Ok(mut bytes) => self.deliver_or_buffer(&mut bytes, RecordType::Data, cx),
            Err(Errno::IO) if self.state.records => self.receive_record(cx),
            // It ended early, and is started again when the task wants to receive. NOBUFS: all buffers
            // were in use, and are back when the completions of this turn have been handled.
            Err(Errno::NOBUFS | Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => {
                if self.state.records {
                    records::clear_error(self.socket(), errno);
                }
                let wants = &self.state.wants;
                if wants.jobs > 0 && wants.receive.is_none() {
                    // The peer has reset the connection, so the job is in vain.
                    self.deliver(Event::Failed(errno.into()), cx);
                } else {
                    self.receive.set_end(StreamEnd::Failed(errno));
                }
            }
        }
    }

    fn deliver_or_buffer(
        &mut self,
        bytes: &mut [u8],
        kind: RecordType,
        cx: &mut ContextOf<'_, Self>,
    ) {
        let fits =
            self.state.wants.receive.is_some_and(|receive| {
                receive.at_most().is_none_or(|most| bytes.len() <= most.get())
            });
        if fits && !self.receive.has_buffered() {
            self.state.wants.receive = None;
            self.deliver(Event::Received(bytes, kind), cx);
        } else {
            self.receive.buffer(bytes.to_vec(), kind, &mut cx.resources.driver);
        }
    }

    /// Receives the control record that the last receive has found, which had no room for its type. That
    /// receive is over, also a multishot one.
    fn receive_record(&mut self, cx: &mut ContextOf<'_, Self>) {
        let mut buffer = [0; CONTROL];
        let socket = (**self.socket.receiver()).as_fd();
        match records::receive(socket, &mut buffer, RecvFlags::DONTWAIT, true) {
            Ok((0, RecordType::Data)) => self.receive.set_end(StreamEnd::Closed),
            Ok((count, kind)) => self.deliver_or_buffer(&mut buffer[..count], kind, cx),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => self.receive.set_end(StreamEnd::Failed(errno)),
        }
    }

    /// Delivers buffered bytes, or the end of the stream; false if there is neither.
    fn deliver_buffered(&mut self, receive: Receive, cx: &mut ContextOf<'_, Self>) -> bool {
        if let Some((mut bytes, kind)) = self.receive.take(receive.at_most()) {
            self.state.wants.receive = None;
            self.deliver(Event::Received(&mut bytes, kind), cx);
            return true;
        }
        let event = match self.receive.take_end() {
            // The event loop has ended the receiving side.
            Some(StreamEnd::Closed) if self.state.evicting => Event::Closing(Reason::Evicted),
            Some(StreamEnd::Closed) => Event::PeerClosed,
            Some(StreamEnd::Failed(errno)) => Event::Failed(errno.into()),
            None => return false,
        };
        self.state.wants.receive = None;
        self.deliver(event, cx);
        true
    }
}

#[cfg(feature = "simulation")]
impl<T: Task, C: Driver> CompletionConnection<T, C> {
    /// Returns what the connection waits for although no operation is in flight for it.
    pub(crate) fn lost_wakeup(&self) -> Option<&'static str> {
        let wants = &self.state.wants;
        if wants.receive.is_some() && !self.receive.is_in_flight() {
            return Some("it waits to receive, and no receive is in flight");
        }
        if !self.state.outbox.is_empty() && !self.send.is_in_flight() {
            return Some("it waits to send, and no send is in flight");
        }
        let waits = wants.jobs > 0 && self.opening.is_empty() && self.state.tickets.is_empty();
        waits.then_some("it waits for a job that nothing runs")
    }
}

impl<T: Task, C: Driver> Connection for CompletionConnection<T, C> {
    type Task = T;
    type Resources = Backend<C>;

    fn state(&mut self) -> &mut TaskState<T> {
        &mut self.state
    }

    fn socket(&self) -> BorrowedFd<'_> {
        (**self.socket.sender()).as_fd()
    }

    /// Runs a job that does not block, and starts one that may where that is asynchronous.
    fn start_job(&mut self, id: JobId, job: T::Job, cx: &mut ContextOf<'_, Self>) {
        if !cx.pool && !job.device().remote && !C::ASYNC_OPEN {
            return self.state.push_result(id, run_inline(job));
        }
        match try_inline(job) {
            Ok(done) => self.state.push_result(id, done),
            Err(job) => {
                self.state.wants.jobs += 1;
                self.open_or_run(id, job, cx);
                if self.state.wants.jobs > 0 {
                    let driver = &mut cx.resources.driver;
                    self.receive.watch_peer(self.socket.receiver(), self.tag, driver);
                }
            }
        }
    }

    fn start_relay(
        &mut self,
        upstream: OwnedFd,
        stall: Duration,
        cx: &mut ContextOf<'_, Self>,
    ) -> Option<RelayEnd> {
        let relay = match self.receive.end() {
            Some(StreamEnd::Failed(errno)) => Err(errno),
            _ => BufferedRelay::new(upstream, stall, cx.now),
        };
        match relay {
            Ok(mut relay) => {
                let (bytes, receive) = self.receive.hand_over();
                relay.start_with(bytes, self.receive.end().is_some(), receive);
                self.relay = Some(Box::new(relay));
                None
            }
            Err(errno) => Some(RelayEnd::failed(errno)),
        }
    }

    fn discard_send(&mut self) {
        self.send.reset();
    }
}

impl<T: Task, C: Driver> EventLoopConnection for CompletionConnection<T, C> {
    fn step(&mut self, cx: &mut ContextOf<'_, Self>) -> Step {
        if self.state.wants.postponed {
            return Step::Pause;
        }
        if let Some(event) = self.state.next_event() {
            self.deliver(event, cx);
            return Step::Moved(0);
        }
        if let Some(relay) = &mut self.relay {
            if !relay.advance(self.tag, &self.socket, cx.resources) {
                return Step::Blocked;
            }
            self.receive.set_end(StreamEnd::Closed);
            self.end_relay(None, cx);
            return Step::Moved(0);
        }
        if let Err(error) = self.start_send(cx) {
            self.fail_send(error, cx);
            return Step::Moved(0);
        }
        if self.state.outbox.has_events() {
            return Step::Moved(0); // a mark behind a switch or a record, which take no operation
        }
        if !self.send.is_in_flight() {
            self.shut_down_write();
        }
        if let Some(receive) = self.state.wants.receive {
            if self.deliver_buffered(receive, cx) {
                return Step::Moved(0);
            }
            let driver = &mut cx.resources.driver;
            self.receive.arm(self.socket.receiver(), receive.at_most(), self.tag, driver);
        }
        Step::Blocked
    }

    fn block(&mut self, _cx: &mut ContextOf<'_, Self>) -> Turn {
        let sends = !self.state.outbox.is_empty() || self.send.is_in_flight();
        let stall = if sends { self.send.deadline(self.state.stall_deadline()) } else { None };
        let stall = stall.or(self.relay.as_ref().map(|relay| relay.deadline()));
        self.state.block(sends || self.relay.is_some(), stall)
    }

    fn flush(&mut self, cx: &mut ContextOf<'_, Self>) {
        let _best_effort = self.start_send(cx);
    }

    fn time_out_send(&mut self, cx: &mut ContextOf<'_, Self>) {
        if self.relay.as_ref().is_some_and(|relay| relay.deadline() <= cx.now) {
            self.end_relay(Some(std::io::ErrorKind::TimedOut.into()), cx);
        }
        let sends = !self.state.outbox.is_empty() || self.send.is_in_flight();
        let deadline = self.send.deadline(self.state.stall_deadline());
        if sends
            && deadline.is_some_and(|deadline| deadline <= cx.now)
            && let Err(error) = self.send.cancel(cx.now, cx.resources)
        {
            // A read that is linked to a send holds the socket until the file system answers.
            let _closed = shutdown(self.socket(), Shutdown::Both);
            self.fail_send(error, cx);
        }
    }

    fn has_unread(&self) -> bool {
        let socket = (**self.socket.receiver()).as_fd();
        self.receive.has_buffered() || ioctl_fionread(socket).is_ok_and(|count| count > 0)
    }

    fn end_receiving(&mut self) -> bool {
        self.socket.end_receiving()
    }
}
