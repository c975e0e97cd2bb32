//! The deadlines of a connection of HTTP/2.
//!
//! Those of streams share the timer of the connection; those of the connection are the deadline of the
//! receive.

use std::time::{Duration, Instant};

use karez_http::Status;
use karez_http::h2::{ErrorCode, StreamId};
use karez_reactor::Io;

use super::{Http2, Stream, StreamState};
use crate::closing::LINGER;
use crate::job::FileJob;

/// How long a response waits for a larger window than the client has opened: as TCP does (RFC 1122 §4.2.3.4).
const SMALL_WINDOW_WAIT: Duration = Duration::from_millis(200);

/// Deadlines of streams.
impl Http2 {
    pub(super) fn set_timer(&mut self, io: &mut Io<'_, FileJob>) {
        let streams = self.streams.iter().filter_map(|stream| stream.due);
        let earliest = streams.chain(self.small_window_due).min();
        if earliest != self.timer {
            self.timer = earliest;
            io.set_timer(earliest);
        }
    }

    /// Sets and clears deadlines of responses that wait for a window.
    pub(super) fn watch_windows(&mut self, now: Instant) {
        let blocked: Vec<_> = self.protocol.streams_without_window().collect();
        if blocked.is_empty() && !self.watches_windows {
            return;
        }
        self.watches_windows = !blocked.is_empty();
        self.small_window_due = match self.protocol.avoids_small_window() {
            true => self.small_window_due.or(Some(now + SMALL_WINDOW_WAIT)),
            false => None,
        };
        for stream in &mut self.streams {
            if !matches!(stream.state, StreamState::Responding | StreamState::Streaming) {
                continue;
            }
            let sent = self.protocol.sent_bytes(stream.id);
            let latest = now + self.context.timeouts.send;
            stream.due = match stream.due {
                _ if !blocked.contains(&stream.id) => None,
                // Below the minimum rate the deadline does not keep up with the clock.
                Some(due) => Some(
                    latest
                        .min(due + self.context.timeouts.credit(sent.saturating_sub(stream.seen))),
                ),
                None => Some(latest),
            };
            stream.seen = sent;
        }
    }

    pub(super) fn time_out_streams(&mut self, io: &mut Io<'_, FileJob>) {
        self.timer = None;
        let now = io.now();
        if self.small_window_due.take_if(|due| *due <= now).is_some() {
            self.protocol.use_small_windows();
        }
        let late = |stream: &&Stream| stream.due.is_some_and(|due| due <= now);
        let late: Vec<_> = self.streams.iter().filter(late).map(|stream| stream.id).collect();
        for id in late {
            match self.find(id).map(|stream| &stream.state) {
                Some(StreamState::Receiving { .. }) => {
                    let status = Status::RequestTimeout;
                    let reason = "the request did not arrive in time";
                    self.advance(id, io, |exchange, context, cost, _| {
                        exchange.reject(status, reason, context, cost)
                    });
                }
                Some(StreamState::Running) => self.job_timed_out(id, io),
                // The client has not opened its window.
                _ => self.reset(id, ErrorCode::CANCEL),
            }
        }
    }

    /// The job of a stream has not been done within the time allowed.
    pub(super) fn job_timed_out(&mut self, id: StreamId, io: &mut Io<'_, FileJob>) {
        let timeout = self.context.timeouts.lookup;
        let Some(request) = self.request_of(id) else { return };
        let silent = self.find(id).map_or("", |stream| stream.exchange.waits_for());
        self.context
            .log_error(&format!("\"{request}\": {silent} has not answered within {timeout:?}"));
        self.unavailable(id, &format!("{silent} does not answer"), io);
    }
}

/// Deadlines of the connection.
impl Http2 {
    /// Arms the receive until the next deadline of the connection.
    pub(super) fn arm_receive(&mut self, io: &mut Io<'_, FileJob>) {
        if self.peer_closed || self.protocol.is_finished() {
            return;
        }
        let (now, timeouts) = (io.now(), &self.context.timeouts);
        let waiting = self.protocol.waiting();
        self.frame_due = match waiting.preface || waiting.frame {
            true => self.frame_due.or(Some(now + timeouts.head)),
            false => None,
        };
        let settings_due = waiting.settings_ack.then_some(self.settings_due);
        let due = self.frame_due.into_iter().chain(self.record_due).chain(settings_due).min();
        let idle = self.is_idle();
        self.idle_since = if idle { self.idle_since.or(Some(now)) } else { None };
        let wanted = match (due, self.idle_since) {
            (Some(due), _) => (due, false),
            // The client has to acknowledge the first GOAWAY.
            (None, Some(since)) if self.stopping => (since + LINGER, false),
            (None, Some(since)) => (since + timeouts.idle, true),
            // The deadlines are those of the streams.
            (None, None) => match self.armed {
                Some((at, false)) if at > now + timeouts.idle => return,
                _ => (now + 2 * timeouts.idle + LINGER, false),
            },
        };
        if self.armed != Some(wanted) {
            self.armed = Some(wanted);
            io.receive(wanted.0, wanted.1, None);
        }
    }

    pub(super) fn receive_timed_out(&mut self, now: Instant) {
        self.armed = None;
        let waiting = self.protocol.waiting();
        let late = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if late(self.frame_due) || late(self.record_due) {
            self.protocol.abort(ErrorCode::NO_ERROR, "a frame did not arrive in time");
            self.end_all();
        } else if waiting.settings_ack && self.settings_due <= now {
            self.protocol.abort(ErrorCode::SETTINGS_TIMEOUT, "settings are not acknowledged");
            self.end_all();
        } else if self.streams.is_empty() {
            self.refuse_streams();
        }
    }
}
