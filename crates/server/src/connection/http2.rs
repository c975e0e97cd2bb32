//! The part of a connection that speaks HTTP/2: several exchanges at once, each with its job and its
//! deadline (RFC 9113).
//!
//! It handles the events of the reactor as the connection does for HTTP/1.1. The one timer of the
//! connection is set to the earliest deadline of its streams, which is, by the state of the stream, for
//! the rest of the request, for the file system, or for a window of the client. Receiving is armed all
//! the time, so that window updates and resets arrive while responses are sent.
//!
//! # Limitations
//!
//! A request that is malformed resets its stream without a response. With `--explain` calls and CPU time
//! for several streams count for the one that ends next.

use std::sync::Arc;
use std::time::Instant;

use karez_http::h2::{Input, StreamId};
use karez_http::{Request, RequestError, Status};
use karez_reactor::{Event, Io, JobId, Mark, Peer, Reason, SendError, Tag, Task};

use crate::closing::is_local;
use crate::context::ServerContext;
use crate::cost::{BodyPlan, RequestCost};
use crate::exchange::Exchange;
use crate::exchange_record::TlsDescription;
use crate::job::FileJob;
use crate::live::Live;
use crate::metrics::ActiveConnection;
use crate::protocol::ExchangeId;
use crate::protocol::h2::H2;

mod deadlines;
mod ends;
mod exchanges;

/// The peer, the TLS through which it is reached, and whether it has too many connections.
#[derive(Clone, Copy)]
pub(super) struct Carrier {
    pub(super) peer: Peer,
    pub(super) tls: Option<TlsDescription>,
    pub(super) excess: bool,
}

/// The state of a connection that speaks HTTP/2.
pub(crate) struct Http2 {
    live: Arc<Live>,
    context: Arc<ServerContext>,
    /// The host that the client named in its handshake.
    server_name: Option<Box<str>>,
    carrier: Carrier,
    protocol: H2,
    streams: Vec<Stream>,
    /// The cost of the next response, with `--explain`.
    pub(super) cost: Option<Box<RequestCost>>,
    /// The receive that is armed: its deadline, and whether the connection is idle.
    armed: Option<(Instant, bool)>,
    timer: Option<Instant>,
    /// When the client must have acknowledged the settings.
    settings_due: Instant,
    /// When the rest of the preface or of a frame must have arrived.
    frame_due: Option<Instant>,
    /// The same of a record of the transport.
    record_due: Option<Instant>,
    idle_since: Option<Instant>,
    /// The first GOAWAY has been sent.
    stopping: bool,
    /// The client sends nothing more.
    peer_closed: bool,
    /// A response waits for a window.
    watches_windows: bool,
    /// When a small window is used, although a larger one may come.
    small_window_due: Option<Instant>,
    /// It has streams.
    active: ActiveConnection,
}

/// A stream and its exchange.
struct Stream {
    id: StreamId,
    exchange: Exchange,
    /// The context that its request began with, if that is not in use any more.
    context: Option<Arc<ServerContext>>,
    state: StreamState,
    /// The deadline of this state.
    due: Option<Instant>,
    /// Bytes of the body that were sent when its window was looked at last.
    seen: u64,
    plan: Option<BodyPlan>,
}

enum StreamState {
    /// The request is not complete: so many bytes of its body were discarded, and there may be an error
    /// to respond with.
    Receiving { discarded: u64, error: Option<(Status, &'static str)> },
    /// A job runs.
    Running,
    /// The next piece of the body is made when the last one is in the outbox.
    Streaming,
    /// The response is complete, and is being sent.
    Responding,
    /// The stream is closed.
    Ended,
}

impl Http2 {
    pub(super) fn new(
        live: Arc<Live>,
        context: Arc<ServerContext>,
        carrier: Carrier,
        server_name: Option<Box<str>>,
        cost: Option<Box<RequestCost>>,
        now: Instant,
    ) -> Self {
        let settings_due = now + context.timeouts.head;
        Self {
            protocol: H2::new(cost.is_some()),
            live,
            context,
            server_name,
            carrier,
            streams: Vec::new(),
            cost,
            armed: None,
            timer: None,
            settings_due,
            frame_due: None,
            record_due: None,
            idle_since: None,
            stopping: false,
            peer_closed: false,
            watches_windows: false,
            small_window_due: None,
            active: ActiveConnection::default(),
        }
    }

    /// Returns whether the client sends nothing more and waits for nothing.
    pub(super) fn is_over(&self) -> bool {
        self.peer_closed && self.streams.is_empty()
    }

    /// Returns whether the last frame has been appended.
    pub(super) fn is_finished(&self) -> bool {
        self.protocol.is_finished()
    }

    pub(super) fn handle<T: Task<Job = FileJob>>(
        &mut self,
        event: Event<'_, T>,
        io: &mut Io<'_, FileJob>,
    ) {
        match event {
            Event::ReceiveTimedOut => self.receive_timed_out(io.now()),
            Event::PeerClosed => {
                self.armed = None;
                self.peer_closed();
            }
            Event::Sent(Mark(id)) => {
                let stream = stream_id(id);
                if self.protocol.sent(stream) {
                    self.end(stream);
                }
            }
            Event::Unit(Tag(id), event) => self.unit_event(stream_id(id), event),
            Event::JobDone(JobId(id), result) => self.job_done(stream_id(id), result, io),
            Event::Timer => self.time_out_streams(io),
            Event::Closing(reason) => self.closing(reason),
            Event::SendFailed(error) => {
                if let SendError::Failed(error) = &error
                    && is_local(error)
                {
                    self.context.log_error(&format!("send: {error}"));
                }
                // A close would leave the unsent frames with the kernel, for as long as the client takes some.
                return if matches!(error, SendError::TimedOut) { io.reset() } else { io.close() };
            }
            Event::Failed(_) => return io.close(),
            _ => {}
        }
        self.update(io);
    }

    /// Follows up on an event: appends frames, closes streams that have ended, makes the next pieces of
    /// streamed bodies, and arms the receive and the timer.
    pub(super) fn update(&mut self, io: &mut Io<'_, FileJob>) {
        if self.context.stop.is_triggered() {
            self.begin_stop();
        }
        loop {
            // Frames, and above all the end of a stream, must not be appended before the protocol knows which
            // units have been taken out of the outbox. Each event is followed by another call.
            if !io.outbox().has_events() {
                self.protocol.fill(io.outbox());
            }
            self.close_ended(io);
            if !self.continue_streams(io) {
                break;
            }
        }
        self.watch_windows(io.now());
        if self.waits_in_vain(io) {
            self.end_all();
            self.close_ended(io);
        }
        if self.is_over() {
            return; // the connection is closed
        }
        self.arm_receive(io);
        self.set_timer(io);
    }

    fn find(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }
}

/// Receiving.
impl Http2 {
    /// Notes the end of the receive that was armed, with bytes.
    pub(super) fn receive_done(&mut self) {
        self.armed = None;
        if let Some(cost) = &mut self.cost {
            cost.received();
        }
    }

    /// Notes that the client sends nothing more.
    pub(super) fn peer_closed(&mut self) {
        self.peer_closed = true;
    }

    pub(super) fn set_record_due(&mut self, due: Option<Instant>) {
        self.record_due = due;
    }

    pub(super) fn received(&mut self, mut bytes: &[u8], io: &mut Io<'_, FileJob>) {
        while let Some(input) = self.protocol.receive(io.now(), &mut bytes) {
            self.frame_due = None;
            match input {
                Input::Head { stream, request } => self.begin(stream, request, io),
                Input::Rejected { stream, error } => self.begin_rejected(stream, error, io.now()),
                Input::Body { stream, bytes } => self.discard(stream, bytes.len(), io),
                Input::End { stream } => self.start(stream, io),
                Input::Reset { stream, .. } => self.reset_by_client(stream),
                Input::Error(error) => {
                    let peer = self.carrier.peer.address;
                    self.context.log_debug(peer, || format!("HTTP/2: {error:?}"));
                    self.end_all();
                }
                Input::Malformed { stream, error } => self.malformed(stream, error, io.now()),
                _ => {}
            }
        }
    }

    fn begin(&mut self, id: StreamId, request: Request, io: &mut Io<'_, FileJob>) {
        let waits = request.expects_continue();
        let exchange = Exchange::new(exchange_id(id), request, io.now());
        self.push(id, exchange, None, io.now());
        if waits {
            self.start(id, io); // the body is not wanted
        }
    }

    fn log_rejected(&self, error: &RequestError) {
        let peer = self.carrier.peer.address;
        let RequestError { status, reason, .. } = error;
        self.context.log_debug(peer, || format!("request rejected: {} {reason}", status.code()));
    }

    fn begin_rejected(&mut self, id: StreamId, error: RequestError, now: Instant) {
        self.log_rejected(&error);
        let answer = (error.status, error.reason);
        let exchange = Exchange::of_error(exchange_id(id), error, now);
        self.push(id, exchange, Some(answer), now);
    }

    /// Logs a malformed request, whose stream has been reset.
    fn malformed(&mut self, id: StreamId, error: RequestError, now: Instant) {
        self.log_rejected(&error);
        let status = error.status;
        let mut exchange = Exchange::of_error(exchange_id(id), error, now);
        exchange.responded(status, 0, now);
        let state = StreamState::Ended;
        self.log(
            Stream { id, exchange, context: None, state, due: None, seen: 0, plan: None },
            now,
        );
    }

    fn push(
        &mut self,
        id: StreamId,
        exchange: Exchange,
        error: Option<(Status, &'static str)>,
        now: Instant,
    ) {
        let state = StreamState::Receiving { discarded: 0, error };
        self.active.set(true);
        let due = Some(now + self.context.timeouts.head);
        let (context, seen, plan) = (None, 0, None);
        self.streams.push(Stream { id, exchange, context, state, due, seen, plan });
    }

    /// Discards a part of a request's body. A body that is too large is not received to its end.
    fn discard(&mut self, id: StreamId, length: usize, io: &mut Io<'_, FileJob>) {
        let place = self.streams.iter().position(|stream| stream.id == id);
        let Some(stream) = place.and_then(|place| self.streams.get_mut(place)) else { return };
        let StreamState::Receiving { discarded, .. } = &mut stream.state else { return };
        let before = *discarded;
        *discarded += length as u64;
        if !self.protocol.discard(id, length, before) {
            self.start(id, io);
        }
    }

    fn closing(&mut self, reason: Reason) {
        let stays = reason == Reason::Draining;
        if reason == Reason::Evicted || (self.is_idle() && !stays) {
            return self.refuse_streams(); // the connection is closed at once
        }
        self.begin_stop();
    }

    /// Ends the connection behind the streams that are open.
    pub(super) fn stop(&mut self, io: &mut Io<'_, FileJob>) {
        if !self.stopping {
            self.begin_stop();
            self.update(io);
        }
    }

    pub(super) fn begin_stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.protocol.shut_down();
        }
    }

    /// Sends GOAWAY, and refuses all streams that are not open.
    fn refuse_streams(&mut self) {
        self.stopping = true;
        self.protocol.shut_down();
        self.protocol.shut_down();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.protocol.is_idle()
    }
}

/// The responses that are open when the connection ends are logged.
impl Drop for Http2 {
    fn drop(&mut self) {
        self.end_all();
        let now = Instant::now();
        for stream in std::mem::take(&mut self.streams) {
            self.log(stream, now);
        }
    }
}

fn exchange_id(stream: StreamId) -> ExchangeId {
    ExchangeId(stream.0.into())
}

/// Returns the stream that a mark, a tag or a job belongs to.
fn stream_id(id: u64) -> StreamId {
    StreamId(u32::try_from(id).unwrap_or(0))
}
