//! The ends of streams: by a response, a reset, or the end of the connection. Each is logged.

use std::time::Instant;

use karez_http::h2::{ErrorCode, StreamId};
use karez_reactor::Io;
use karez_transfer::UnitEvent;

use super::{Carrier, Http2, Stream, StreamState};
use crate::job::FileJob;

/// The ends of streams.
impl Http2 {
    pub(super) fn unit_event(&mut self, id: StreamId, event: UnitEvent) {
        if !self.protocol.unit_event(id, event) {
            return;
        }
        match (event, self.find(id).map(|stream| stream.exchange.request_line().to_vec())) {
            (UnitEvent::Short { .. }, Some(line)) => self.context.log_error(&format!(
                "\"{}\": the file became shorter while it was sent, stream reset",
                line.escape_ascii()
            )),
            (UnitEvent::Changed { .. }, Some(line)) => self.context.log_torn(&line, "stream"),
            _ => {}
        }
        self.end(id);
    }

    pub(super) fn request_of(&mut self, id: StreamId) -> Option<String> {
        self.find(id).map(|stream| stream.exchange.request_line().escape_ascii().to_string())
    }

    pub(super) fn reset(&mut self, id: StreamId, code: ErrorCode) {
        self.protocol.reset(id, code);
        self.end(id);
    }

    pub(super) fn reset_by_client(&mut self, id: StreamId) {
        if let Some(stream) = self.find(id) {
            stream.exchange.client_reset();
        }
        self.end(id);
    }

    pub(super) fn end(&mut self, id: StreamId) {
        if let Some(stream) = self.find(id) {
            (stream.state, stream.due) = (StreamState::Ended, None);
        }
    }

    /// Ends all streams: the client, or the network, has ended the connection.
    pub(super) fn end_all(&mut self) {
        for stream in &mut self.streams {
            stream.exchange.client_reset();
            (stream.state, stream.due) = (StreamState::Ended, None);
        }
    }

    /// Returns whether the client has closed its side, and each stream waits for the rest of a request or for a
    /// window. The client may have closed the connection, which no send finds out.
    pub(super) fn waits_in_vain(&self, io: &mut Io<'_, FileJob>) -> bool {
        if !self.peer_closed || self.streams.is_empty() || !io.outbox().is_empty() {
            return false;
        }
        let blocked: Vec<_> = self.protocol.streams_without_window().collect();
        let waits = |stream: &Stream| match stream.state {
            StreamState::Receiving { .. } => true,
            _ => blocked.contains(&stream.id),
        };
        !self.protocol.avoids_small_window() && self.streams.iter().all(waits)
    }

    /// Removes the streams that have ended, and logs them.
    pub(super) fn close_ended(&mut self, io: &mut Io<'_, FileJob>) {
        let ended = |stream: &Stream| matches!(stream.state, StreamState::Ended);
        while let Some(place) = self.streams.iter().position(ended) {
            if let Some(cost) = &mut self.cost {
                cost.sent(io.outbox());
                io.outbox().enable_stats();
            }
            let stream = self.streams.swap_remove(place);
            self.log(stream, io.now());
        }
        if self.streams.is_empty() {
            self.streams = Vec::new(); // an idle connection keeps no memory
            self.active.set(false);
        }
    }

    pub(super) fn log(&mut self, mut stream: Stream, now: Instant) {
        let (sent, via, reports) = self.protocol.end(stream.id);
        stream.exchange.set_sent(sent, via);
        let cost = self.cost.as_mut().map(|cost| {
            let mut cost = cost.take();
            (cost.reports, cost.body_plan) = (reports, stream.plan);
            cost
        });
        let Carrier { peer, tls, .. } = self.carrier;
        let context = stream.context.as_ref().unwrap_or(&self.context);
        stream.exchange.record(context, peer, tls, cost.as_ref(), now);
    }
}
