//! The exchanges of a connection of HTTP/2: their steps and their jobs.
//!
//! The identifier of a job is that of its stream, which has one job at a time.

use std::sync::Arc;

use karez_http::Body;
use karez_http::h2::{ErrorCode, StreamId};
use karez_reactor::{Io, JobError, JobId};

use super::{Http2, Stream, StreamState};
use crate::context::ServerContext;
use crate::cost::{JobCost, RequestCost};
use crate::exchange::{Action, Exchange, Hot};
use crate::job::{FileJob, FileWork, JobResult};

/// Exchanges and their jobs.
impl Http2 {
    /// Starts on a request that is complete, or whose rest is not wanted.
    pub(super) fn start(&mut self, id: StreamId, io: &mut Io<'_, FileJob>) {
        self.renew_context();
        let Self { streams, context, server_name, carrier, .. } = self;
        let Some(stream) = streams.iter_mut().find(|stream| stream.id == id) else { return };
        let StreamState::Receiving { error, .. } = stream.state else { return };
        stream.exchange.choose_site(context, carrier.peer, server_name.as_deref());
        let now = io.now();
        let redirect = self.context.https_port.filter(|_| self.carrier.tls.is_none());
        let excess = self.carrier.excess;
        self.advance(id, io, |exchange, context, cost, hot| match (error, redirect) {
            (Some((status, reason)), _) => exchange.reject(status, reason, context, cost),
            (None, _) if excess => exchange.too_many_connections(context, cost),
            (None, Some(port)) => exchange.redirect(port, context, cost, now),
            (None, None) => exchange.start(context, cost, hot, now),
        });
        if excess {
            self.begin_stop();
        }
    }

    /// Takes the context in use. The streams that have begun keep theirs.
    fn renew_context(&mut self) {
        if self.live.is_current(&self.context) {
            return;
        }
        let before = std::mem::replace(&mut self.context, self.live.current());
        for stream in &mut self.streams {
            if !matches!(stream.state, StreamState::Receiving { .. }) {
                stream.context.get_or_insert_with(|| Arc::clone(&before));
            }
        }
    }

    /// Advances an exchange by a step, and carries out the action that it returns.
    pub(super) fn advance(
        &mut self,
        id: StreamId,
        io: &mut Io<'_, FileJob>,
        step: impl FnOnce(&mut Exchange, &ServerContext, Option<&mut RequestCost>, Hot<'_>) -> Action,
    ) {
        let Self { streams, protocol, context, cost, .. } = self;
        let Some(stream) = streams.iter_mut().find(|stream| stream.id == id) else { return };
        stream.due = None;
        let context = stream.context.as_ref().unwrap_or(context);
        if cost.is_some() {
            io.outbox().enable_stats();
        }
        // The streams of a receive share a poll without waiting for other connections.
        let hot = Hot { epoch: io.epoch(), may_defer: false, files: io.local() };
        match step(&mut stream.exchange, context, cost.as_deref_mut(), hot) {
            Action::Run(work) => self.run(id, work, io),
            Action::Respond(response) => {
                let bodiless = stream.exchange.is_head();
                let appended = matches!(response.body, Body::Stream | Body::Sized);
                let streams_body = appended && !bodiless;
                let body = (response.body, bodiless);
                let length = protocol.respond(id, &response.head, body, io.outbox());
                stream.exchange.responded(response.head.status(), length, io.now());
                stream.plan = cost.as_mut().and_then(|cost| cost.body_plan.take());
                stream.state =
                    if streams_body { StreamState::Streaming } else { StreamState::Responding };
            }
            Action::Append(parts) => {
                protocol.append(id, parts, false, io.outbox());
                stream.state = StreamState::Streaming;
            }
            Action::Finish => {
                protocol.finish(id);
                stream.state = StreamState::Responding;
            }
            Action::Complete => stream.state = StreamState::Ended,
            Action::Abort | Action::Reset | Action::Defer => {
                protocol.reset(id, ErrorCode::INTERNAL_ERROR);
                stream.state = StreamState::Ended;
            }
        }
    }

    pub(super) fn run(&mut self, id: StreamId, work: FileWork, io: &mut Io<'_, FileJob>) {
        let cost = self.cost.is_some().then(JobCost::new);
        let due = io.now() + self.context.timeouts.lookup;
        if let Some(stream) = self.find(id) {
            (stream.state, stream.due) = (StreamState::Running, Some(due));
        }
        if io.run(JobId(id.0.into()), FileJob::new(work, cost)).is_err() {
            self.job_rejected(id, io); // jobs of streams that are closed still run
        }
    }

    pub(super) fn job_done(
        &mut self,
        id: StreamId,
        result: Result<JobResult, JobError>,
        io: &mut Io<'_, FileJob>,
    ) {
        // It timed out, or the stream is closed.
        let running = |stream: &mut Stream| matches!(stream.state, StreamState::Running);
        if !self.find(id).is_some_and(running) {
            return;
        }
        match result {
            Ok(done) => {
                if let Some(cost) = &mut self.cost {
                    cost.job_done(done.cost);
                }
                let now = io.now();
                self.advance(id, io, |exchange, context, cost, hot| {
                    exchange.job_done(done.result, context, cost, hot, now)
                });
            }
            Err(JobError::Rejected) => self.job_rejected(id, io),
            Err(_) => self.reset(id, ErrorCode::INTERNAL_ERROR),
        }
    }

    /// The device has as many jobs as may wait for it.
    pub(super) fn job_rejected(&mut self, id: StreamId, io: &mut Io<'_, FileJob>) {
        let silent = self.find(id).map_or("", |stream| stream.exchange.waits_for());
        let reason = format!("{silent} does not answer, or too many requests wait for it");
        self.unavailable(id, &reason, io);
    }

    pub(super) fn unavailable(&mut self, id: StreamId, reason: &str, io: &mut Io<'_, FileJob>) {
        let retry_after = self.context.timeouts.lookup;
        self.advance(id, io, |exchange, context, cost, _| {
            exchange.unavailable(reason, retry_after, context, cost)
        });
    }

    /// Makes the next pieces of streamed bodies. Returns whether there may be something to append.
    pub(super) fn continue_streams(&mut self, io: &mut Io<'_, FileJob>) -> bool {
        let mut changed = false;
        for place in 0..self.streams.len() {
            let Some(stream) = self.streams.get(place) else { break };
            let (id, state) = (stream.id, &stream.state);
            if matches!(state, StreamState::Streaming) && self.protocol.is_framed(id) {
                self.advance(id, io, |exchange, _, _, _| exchange.sent());
                let running = |stream: &mut Stream| matches!(stream.state, StreamState::Running);
                changed |= !self.find(id).is_some_and(running);
            }
        }
        changed
    }
}
