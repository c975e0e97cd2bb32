//! One connection: the task that connects the protocol, the exchange and the jobs.
//!
//! It passes received bytes to the [`Protocol`], which returns requests; an [`Exchange`] turns a request
//! into jobs and a response; the protocol frames the response into the outbox. The task makes no system
//! call itself, so it is the same on every model.
//!
//! # Limitations
//!
//! With HTTP/1.1 nothing is received while a response is sent, so that model blocking never has to wait
//! for two things at a time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use karez_http::RequestError;
use karez_reactor::{Event, Io, JobError, JobId, Mark, Peer, Reason, RecordType, Task};

use crate::address_limits::connections::Verdict;
use crate::closing::CloseReason;
use crate::context::ServerContext;
use crate::cost::{JobCost, RequestCost};
use crate::exchange::{Action, Exchange, Hot};
use crate::job::{FileJob, FileWork, JobResult};
use crate::live::Live;
use crate::metrics::CountedConnection;
use crate::protocol::{ExchangeId, Input, Protocol};
use crate::transport::{Received, Transport};
use active::{Active, PooledActive};
use admission::{Admission, ProxyHeader};
use http2::{Carrier, Http2};
use preface::Preface;

mod active;
mod admission;
mod counted;
mod end;
mod ending;
mod http2;
mod http2_events;
mod preface;
mod proxied;
mod records;
#[cfg(test)]
mod tests;

/// The mark behind records of a handshake. No exchange has this id.
const HANDSHAKE: Mark = Mark(u64::MAX);

/// A connection.
pub(crate) struct Connection {
    live: Arc<Live>,
    context: Arc<ServerContext>,
    /// The peer, in fewer bytes than a [`Peer`] has.
    address: Option<SocketAddr>,
    listener: u16,
    /// The header of a proxy, and the place among the connections of the address.
    admission: Admission,
    /// What the client may still choose HTTP/2 by.
    preface: Preface,
    counted: CountedConnection,
    /// The id of the last job. Results of earlier jobs are dropped.
    job: u32,
    transport: Transport,
    /// The state of a request, which an idle connection lacks.
    active: PooledActive,
    /// Present if the connection speaks HTTP/2.
    http2: Option<Box<Http2>>,
    /// The cost of the next response, with `--explain`.
    cost: Option<Box<RequestCost>>,
}

impl Connection {
    pub(crate) fn new(live: Arc<Live>, peer: Peer, now: Instant) -> Self {
        let context = live.current();
        let cost = context.explain.map(|model| Box::new(RequestCost::new(model)));
        let transport = Transport::new(&context, peer, now);
        let may_choose = context.http2 && transport.is_plain();
        let preface = if may_choose { Preface::EXPECTED } else { Preface::OVER };
        let counted = CountedConnection::new(context.metrics.as_ref());
        let listener = u16::try_from(peer.listener).unwrap_or(u16::MAX);
        let (address, active) = (peer.address, PooledActive::default());
        let (job, http2) = (0, None);
        let (due, admission) = (now + context.timeouts.head, Admission::default());
        let proxied = context.proxies.expect_header(address.map(|address| address.ip()));
        #[rustfmt::skip]
        let mut connection = Self {
            live, context, address, listener, admission, preface, counted, job, transport, active, http2, cost,
        };
        match proxied {
            true => connection.admission.set_header(ProxyHeader::new(due)),
            false => connection.count(),
        }
        connection
    }

    fn peer(&self) -> Peer {
        Peer::new(self.address, usize::from(self.listener))
    }

    /// Makes the connection speak HTTP/2 from its first byte on: the client has begun with the preface, or
    /// chosen it in the handshake.
    fn start_http2(&mut self, now: Instant) {
        let (live, context, cost) =
            (Arc::clone(&self.live), Arc::clone(&self.context), self.cost.take());
        let excess = self.verdict() != Verdict::Within;
        let carrier = Carrier { peer: self.peer(), tls: self.transport.describe(), excess };
        let server_name = self.transport.server_name().map(Box::from);
        self.http2 = Some(Box::new(Http2::new(live, context, carrier, server_name, cost, now)));
        self.active.discard();
        self.preface = Preface::OVER;
    }

    fn cost(&mut self) -> Option<&mut RequestCost> {
        match &mut self.http2 {
            Some(http2) => http2.cost.as_deref_mut(),
            None => self.cost.as_deref_mut(),
        }
    }
}

impl Task for Connection {
    type Job = FileJob;
    type Message = Infallible;

    fn on_resume(&mut self) {
        if let Some(cost) = self.cost() {
            cost.resume();
        }
    }

    fn on_yield(&mut self) {
        if let Some(cost) = self.cost() {
            cost.pause();
        }
    }

    fn fill(&mut self, io: &mut Io<'_, FileJob>) {
        if self.http2.is_some() {
            self.fill_http2(io);
        }
    }

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, FileJob>) {
        self.note_end(&event);
        if self.http2.is_some() {
            return self.handle_http2(event, io);
        }
        match event {
            Event::Opened(_) if self.verdict() == Verdict::FarAbove => {
                self.counted.set(CloseReason::Limit);
                io.close();
            }
            Event::Opened(_) => self.open(io),
            Event::Received(bytes, kind) => self.received(bytes, kind, io),
            Event::Configured(result) => self.configured(&result, io),
            Event::Deferred => self.deferred(io),
            Event::ReceiveTimedOut => self.receive_timed_out(io),
            Event::Sent(HANDSHAKE) => self.handshake_sent(io),
            Event::Sent(Mark(id)) => self.sent(ExchangeId(id), io),
            Event::SendFailed(error) => self.send_failed(&error, io),
            Event::JobDone(job, _) if job != self.last_job() => {} // it timed out
            Event::JobDone(_, Ok(result)) => self.job_done(result, io),
            Event::JobDone(_, Err(JobError::Rejected)) => self.job_rejected(io),
            Event::JobDone(_, Err(_)) => self.abort(io),
            Event::Timer => self.timed_out(io),
            Event::Failed(error) => self.receive_failed(&error, io),
            Event::PeerClosed => io.close(),
            // The next response announces the end.
            Event::Closing(Reason::Draining) => {}
            Event::Closing(_) => self.farewell(io),
            _ => {}
        }
    }
}

/// Receiving.
impl Connection {
    fn received(&mut self, bytes: &mut [u8], kind: RecordType, io: &mut Io<'_, FileJob>) {
        if self.active.lingers_until().is_some() {
            return self.linger(io);
        }
        if let Some(cost) = &mut self.cost {
            cost.received();
        }
        if let Some(header) = self.admission.take_header() {
            return self.receive_header(header, bytes, kind, io);
        }
        if let Some(before) = self.preface.receive(bytes) {
            self.start_http2(io.now());
            return self.receive_first(before, bytes, io);
        }
        let protocol = &mut self.active.get().protocol;
        match self.transport.receive(bytes, kind, io, |bytes, _| protocol.receive(bytes)) {
            Received::Stream => self.next_input(io),
            received => self.received_records(received, io),
        }
    }

    /// Takes inputs from the protocol up to a request that is complete, or receives more.
    fn next_input(&mut self, io: &mut Io<'_, FileJob>) {
        loop {
            let active = self.active.get();
            match active.protocol.next() {
                Ok(Some(Input::Head(id, request))) => {
                    active.exchange = Some(Exchange::new(id, request, io.now()));
                }
                Ok(Some(Input::End(id))) => return self.start(id, io),
                Ok(None) => {
                    let deadline = active.protocol.deadline(io.now(), &self.context.timeouts);
                    return self.wait(deadline, io);
                }
                Err(error) => return self.reject(error, io),
            }
        }
    }

    fn receive_timed_out(&mut self, io: &mut Io<'_, FileJob>) {
        if self.active.lingers_until().is_some() || self.transport.handshake_deadline().is_some() {
            return self.timed_out(io);
        }
        if self.active.is_idle() {
            return self.close_idle(io);
        }
        let error = self.active.get().protocol.time_out();
        self.reject(error, io);
    }
}

/// Exchanges and their jobs.
impl Connection {
    fn start(&mut self, id: ExchangeId, io: &mut Io<'_, FileJob>) {
        let excess = self.verdict() != Verdict::Within;
        if excess || self.context.stop.is_triggered() || self.transport.should_close() {
            self.active.get().protocol.close_after_response(id);
        }
        if !self.live.is_current(&self.context) {
            self.context = self.live.current();
        }
        let peer = self.peer();
        if let Some(exchange) = self.active.exchange() {
            exchange.choose_site(&self.context, peer, self.transport.server_name());
        }
        if let Some(cost) = &mut self.cost {
            cost.sealed = self.transport.seals();
        }
        let now = io.now();
        let redirect = self.context.https_port.filter(|_| self.transport.is_plain());
        self.advance(io, |exchange, context, cost, hot| match redirect {
            _ if excess => exchange.too_many_connections(context, cost),
            Some(port) => exchange.redirect(port, context, cost, now),
            None => exchange.start(context, cost, hot, now),
        });
    }

    fn deferred(&mut self, io: &mut Io<'_, FileJob>) {
        if self.transport.handshake_deadline().is_some() {
            return self.received(&mut [], RecordType::Data, io);
        }
        let now = io.now();
        self.advance(io, |exchange, context, cost, hot| exchange.deferred(context, cost, hot, now));
    }

    /// Responds to a request that cannot be served.
    fn reject(&mut self, error: RequestError, io: &mut Io<'_, FileJob>) {
        let RequestError { status, reason, .. } = error;
        self.log_debug(|| format!("request rejected: {} {reason}", status.code()));
        let now = io.now();
        self.active
            .get()
            .exchange
            .get_or_insert_with(|| Exchange::of_error(ExchangeId(0), error, now));
        self.advance(io, |exchange, context, cost, _| {
            exchange.reject(status, reason, context, cost)
        });
    }

    /// Advances the exchange by a step, and carries out the action that it returns.
    fn advance(
        &mut self,
        io: &mut Io<'_, FileJob>,
        step: impl FnOnce(&mut Exchange, &ServerContext, Option<&mut RequestCost>, Hot<'_>) -> Action,
    ) {
        let Some(exchange) = self.active.exchange() else { return };
        let hot = Hot { epoch: io.epoch(), may_defer: io.may_defer(), files: io.local() };
        match step(exchange, &self.context, self.cost.as_deref_mut(), hot) {
            Action::Defer => io.defer(),
            Action::Run(work) => self.run(work, io),
            Action::Respond(response) => self.append(io, |exchange, protocol, io| {
                let status = response.head.status();
                let (head, body) = (&response.head, response.body);
                let length = protocol.respond(exchange.id, head, body, io.outbox());
                exchange.responded(status, length, io.now());
                true
            }),
            Action::Append(parts) => self.append(io, |exchange, protocol, io| {
                protocol.append(exchange.id, parts, io.outbox());
                true
            }),
            Action::Finish => {
                self.append(io, |exchange, protocol, io| protocol.finish(exchange.id, io.outbox()));
            }
            Action::Complete => self.complete(io),
            Action::Abort => self.abort(io),
            Action::Reset => self.reset(io),
        }
    }

    /// Has the protocol append to the outbox. `append` returns whether it did: then the exchange goes on
    /// when everything has been sent.
    fn append(
        &mut self,
        io: &mut Io<'_, FileJob>,
        append: impl FnOnce(&mut Exchange, &mut Protocol, &mut Io<'_, FileJob>) -> bool,
    ) {
        let Active { exchange: Some(exchange), protocol, .. } = self.active.get() else { return };
        if self.cost.is_some() {
            io.outbox().enable_stats();
        }
        self.transport.before_append(io.outbox());
        exchange.start_counting(io.outbox());
        if append(exchange, protocol, io) {
            io.notify_sent(Mark(exchange.id.0));
        } else {
            self.complete(io);
        }
    }

    fn run(&mut self, work: FileWork, io: &mut Io<'_, FileJob>) {
        let cost = self.cost.is_some().then(JobCost::new);
        self.job = self.job.wrapping_add(1);
        io.set_timer(Some(io.now() + self.context.timeouts.lookup));
        if io.run(self.last_job(), FileJob::new(work, cost)).is_err() {
            self.job_rejected(io); // too many earlier jobs have timed out and still run
        }
    }

    fn last_job(&self) -> JobId {
        JobId(u64::from(self.job))
    }

    fn job_done(&mut self, done: JobResult, io: &mut Io<'_, FileJob>) {
        io.set_timer(None);
        if let Some(cost) = &mut self.cost {
            cost.job_done(done.cost);
        }
        let now = io.now();
        self.advance(io, |exchange, context, cost, hot| {
            exchange.job_done(done.result, context, cost, hot, now)
        });
    }

    /// The job has not been done within the time allowed.
    fn job_timed_out(&mut self, io: &mut Io<'_, FileJob>) {
        self.job = self.job.wrapping_add(1);
        let Some(exchange) = self.active.exchange() else { return };
        let request = exchange.request_line().escape_ascii();
        let (silent, timeout) = (exchange.waits_for(), self.context.timeouts.lookup);
        self.context
            .log_error(&format!("\"{request}\": {silent} has not answered within {timeout:?}"));
        self.unavailable(&format!("{silent} does not answer"), io);
    }

    /// The device has as many jobs as may wait for it.
    fn job_rejected(&mut self, io: &mut Io<'_, FileJob>) {
        io.set_timer(None);
        let silent = self.active.exchange().map_or("", |exchange| exchange.waits_for());
        self.unavailable(
            &format!("{silent} does not answer, or too many requests wait for it"),
            io,
        );
    }

    fn unavailable(&mut self, reason: &str, io: &mut Io<'_, FileJob>) {
        let Active { exchange: Some(exchange), protocol, .. } = self.active.get() else { return };
        protocol.close_after_response(exchange.id);
        let retry_after = self.context.timeouts.lookup;
        self.advance(io, |exchange, context, cost, _| {
            exchange.unavailable(reason, retry_after, context, cost)
        });
    }

    fn sent(&mut self, id: ExchangeId, io: &mut Io<'_, FileJob>) {
        self.count_sent(io);
        if self.active.exchange().is_some_and(|exchange| exchange.id == id) {
            self.advance(io, |exchange, _, _, _| exchange.sent());
        }
    }

    fn count_sent(&mut self, io: &mut Io<'_, FileJob>) {
        if let Some(exchange) = self.active.exchange() {
            exchange.count_sent(io.outbox());
        }
        if let Some(cost) = &mut self.cost {
            cost.sent(io.outbox());
        }
    }
}
