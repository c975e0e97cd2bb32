//! One HTTP/2 connection of a server, as a state machine (RFC 9113).
//!
//! [`receive`](Connection::receive) takes bytes of the client and returns their meaning. The caller
//! responds by [`respond`](Connection::respond) and [`append`](Connection::append), and calls
//! [`fill`](Connection::fill) after every event and whenever the sink has room: it appends the frames
//! that may be sent, by priority and as far as the windows of the client allow.
//!
//! # Limitations
//!
//! It reads no clock: the caller has the timeouts, for which [`waiting`](Connection::waiting) returns
//! the state. No server push, no `Upgrade: h2c`, no response trailers. Frames of a stream that the
//! server has reset are dropped; the last 128 of such streams are remembered.

use std::collections::VecDeque;

use super::error::{ConnectionError, ErrorCode};
use super::frame::{FrameEncoder, StreamId};
use super::frame_decoder::FrameDecoder;
use super::hpack::BlockDecoder;
use super::limits::{ConnectionLimits, DEFAULT_WINDOW, TokenBucket};
use super::priority::Priority;
use super::settings::{self, PeerSettings};
use super::sink::StreamPart;
use super::stream::{Sendable, Sending, StreamState};
use crate::error::RequestError;
use crate::request::Request;
use window_use::SmallWindows;

mod data;
mod fill;
mod headers;
mod receive;
mod respond;
mod small_windows;
mod window_use;

/// An event of the client.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'i> {
    /// A request begins.
    Head {
        /// Its stream.
        stream: StreamId,
        /// Its head.
        request: Request,
    },
    /// A request begins that is to be answered with an error.
    Rejected {
        /// Its stream.
        stream: StreamId,
        /// The status, and the request line as far as it is known.
        error: RequestError,
    },
    /// A request was malformed, for the log: its stream has been reset and needs no answer.
    Malformed {
        /// Its stream.
        stream: StreamId,
        /// Status 400, and the request line as far as it is known.
        error: RequestError,
    },
    /// A part of the body. The caller [releases](Connection::release) it when it is processed.
    Body {
        /// Its stream.
        stream: StreamId,
        /// The octets, at least one.
        bytes: &'i [u8],
    },
    /// The request is complete. It is not reported of a stream that is closed by then.
    End {
        /// Its stream.
        stream: StreamId,
    },
    /// The stream is closed, and a response to it is not needed: the client has reset it, or has made an
    /// error.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: ErrorCode,
    },
    /// The connection ends: all streams are closed. After one more [`fill`](Connection::fill), which
    /// sends GOAWAY, it is to be closed.
    Error(ConnectionError),
}

/// The causes of waiting, for the caller's timeouts. All are false on an idle connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is independent of the others")]
pub struct Waiting {
    /// The preface of the client, with its first SETTINGS.
    pub preface: bool,
    /// The acknowledgement of the server's SETTINGS (`SETTINGS_TIMEOUT`).
    pub settings_ack: bool,
    /// The rest of a frame or of a field block.
    pub frame: bool,
    /// The rest of a request body.
    pub body: bool,
    /// A window of the client: a response is ready, and none of it may be sent.
    pub window: bool,
    /// The caller: a response, parts of one, a page-in, or a sink with room.
    pub response: bool,
}

/// The state of one connection. `F` is a file of which responses are sent, such as its index in an
/// outbox.
#[derive(Debug)]
pub struct Connection<F> {
    limits: ConnectionLimits,
    frames: FrameDecoder,
    decoder: BlockDecoder,
    /// Octets of the preface that have arrived.
    preface: u8,
    /// The first SETTINGS of the client have arrived.
    greeted: bool,
    phase: ConnectionPhase,
    /// The client has acknowledged the server's settings.
    settings_acked: bool,
    peer: PeerSettings,
    /// The field block that is being received.
    block: Option<Box<Block>>,
    /// The stream to which the rest of a DATA frame belongs, and whether that has a body.
    data: (Option<StreamId>, bool),
    /// To be returned by the next call of `receive`.
    pending: Option<Pending>,

    /// Sorted by their identifiers.
    streams: Vec<StreamState<F>>,
    /// The highest stream that the client has opened.
    last: StreamId,
    /// Which of the 64 identifiers up to `last` were opened; bit 0 is `last`.
    opened: u64,
    /// Streams of which the client may still send frames that are to be dropped.
    orphans: VecDeque<StreamId>,
    /// Priorities of streams that are not open yet.
    early_priorities: Vec<(StreamId, Priority)>,
    /// The client has given a priority, so a missing one means the default of RFC 9218.
    signals_priorities: bool,

    /// Octets that the client may still send on all streams.
    receive_window: u32,
    /// Octets that were released and not announced yet.
    released: u32,
    /// Octets that may be sent on all streams.
    send_window: i64,
    small_windows: SmallWindows,
    /// Control frames that are to be sent.
    control: Vec<u8>,
    /// A field block has been sent, so the size of the encoder's table is announced.
    encodes: bool,
    turn: u64,
    /// Streams that are closed, of which units may be left.
    closing: Vec<Closing<F>>,
    /// Files that no unit needs.
    closed: Vec<F>,

    resets: TokenBucket,
    control_frames: TokenBucket,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionPhase {
    Open,
    /// A GOAWAY that refuses no stream has been sent (RFC 9113 §6.8).
    Draining,
    /// A GOAWAY has been sent; streams above this one are ignored.
    Drained(StreamId),
    Failed,
}

/// A field block whose end has not arrived.
#[derive(Debug)]
struct Block {
    stream: StreamId,
    end_stream: bool,
    /// The stream depends on itself.
    loops: bool,
    continuations: u32,
    fragments: Vec<u8>,
}

#[derive(Debug)]
enum Pending {
    End(StreamId),
    Error(ConnectionError),
}

/// A file of a stream that is closed.
#[derive(Debug)]
struct Closing<F> {
    stream: StreamId,
    file: F,
    /// As in [`StreamState`].
    notifies: u32,
    /// The units that had not begun were taken back.
    cancelled: bool,
}

impl<F> Connection<F> {
    /// Creates the state of a new connection. The preface of the server is ready to be sent.
    pub fn new(limits: ConnectionLimits) -> Self {
        let limits = limits.clamped();
        let connection_window = limits.connection_window;
        let mut control = Vec::new();
        let mut encoder = FrameEncoder::new(&mut control);
        encoder.settings(&settings::own(&limits));
        if connection_window > DEFAULT_WINDOW {
            encoder.window_update(StreamId::CONNECTION, connection_window - DEFAULT_WINDOW);
        }
        Self {
            limits,
            frames: FrameDecoder::default(),
            decoder: BlockDecoder::new(settings::TABLE_SIZE),
            preface: 0,
            greeted: false,
            phase: ConnectionPhase::Open,
            settings_acked: false,
            peer: PeerSettings::default(),
            block: None,
            data: (None, false),
            pending: None,
            streams: Vec::new(),
            last: StreamId::CONNECTION,
            opened: 0,
            orphans: VecDeque::new(),
            early_priorities: Vec::new(),
            signals_priorities: false,
            receive_window: connection_window,
            released: 0,
            send_window: i64::from(DEFAULT_WINDOW),
            small_windows: SmallWindows::default(),
            control,
            encodes: false,
            turn: 0,
            closing: Vec::new(),
            closed: Vec::new(),
            resets: TokenBucket::new(limits.resets),
            control_frames: TokenBucket::new(limits.control_frames),
        }
    }

    /// Returns whether no request is under way, nothing of one has arrived, and nothing is to be sent.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
            && self.closing.is_empty()
            && self.control.is_empty()
            && self.waiting() == Waiting::default()
    }

    /// Returns whether the connection is to be closed as soon as the sink is empty: after an error, or
    /// when the last response after a GOAWAY has been sent.
    pub fn is_finished(&self) -> bool {
        let drained = matches!(self.phase, ConnectionPhase::Drained(_)) && self.streams.is_empty();
        (drained || self.phase == ConnectionPhase::Failed) && self.control.is_empty()
    }

    /// Returns the causes for which the connection waits.
    pub fn waiting(&self) -> Waiting {
        if self.phase == ConnectionPhase::Failed {
            return Waiting::default();
        }
        let mut sendable = false;
        let mut waiting = Waiting {
            preface: !self.greeted,
            settings_ack: !self.settings_acked,
            frame: !self.frames.is_empty(),
            ..Waiting::default()
        };
        for stream in &self.streams {
            waiting.body |= stream.receiving && stream.is_active();
            match stream.next() {
                Sendable::Data(_) if self.window_of(stream) == 0 => waiting.window = true,
                Sendable::Nothing => waiting.response |= stream.is_active(),
                _ => sendable = true,
            }
        }
        waiting.window &= !sendable;
        waiting.response |= sendable;
        waiting
    }

    /// Returns the streams whose responses wait for a window of the client, for timeouts of their own.
    pub fn streams_without_window(&self) -> impl Iterator<Item = StreamId> {
        let blocked = |stream: &&StreamState<F>| {
            matches!(stream.next(), Sendable::Data(_)) && self.window_of(stream) == 0
        };
        self.streams.iter().filter(blocked).map(|stream| stream.id)
    }

    /// Returns how many octets of parts in memory of a stream have not been sent. The caller of
    /// [`append`](Self::append) keeps this bounded.
    pub fn buffered(&self, stream: StreamId) -> u64 {
        self.find(stream).map_or(0, |index| self.streams[index].buffered())
    }

    /// Begins to end the connection, without an error and without the loss of a request: GOAWAY first
    /// refuses no stream, and those that are opened until the client has received it are served. A
    /// second call refuses new streams at once (RFC 9113 §6.8).
    pub fn shut_down(&mut self) {
        match self.phase {
            ConnectionPhase::Open => {
                self.phase = ConnectionPhase::Draining;
                FrameEncoder::new(&mut self.control)
                    .goaway(StreamId::MAX, ErrorCode::NO_ERROR, b"")
                    .ping(SHUTDOWN_PING, false);
            }
            ConnectionPhase::Draining => self.drain(),
            ConnectionPhase::Drained(_) | ConnectionPhase::Failed => {}
        }
    }

    /// Ends the connection with an error that the caller has found, such as a timeout: all streams are
    /// closed. After one more [`fill`](Self::fill), which sends GOAWAY, it is to be closed.
    pub fn abort(&mut self, code: ErrorCode, reason: &'static str) {
        if self.phase != ConnectionPhase::Failed {
            self.fail(ConnectionError::new(code, reason));
        }
    }

    /// Refuses all streams that are not open yet.
    fn drain(&mut self) {
        self.phase = ConnectionPhase::Drained(self.last);
        FrameEncoder::new(&mut self.control).goaway(self.last, ErrorCode::NO_ERROR, b"");
    }

    /// Ends the connection.
    fn fail(&mut self, error: ConnectionError) -> Input<'static> {
        let last = match self.phase {
            ConnectionPhase::Drained(last) => last,
            _ => self.last,
        };
        self.phase = ConnectionPhase::Failed;
        self.block = None;
        while let Some(index) = self.streams.len().checked_sub(1) {
            self.remove(index);
        }
        let reason = error.reason.as_bytes();
        FrameEncoder::new(&mut self.control).goaway(last, error.code, reason);
        Input::Error(error)
    }

    fn find(&self, stream: StreamId) -> Option<usize> {
        self.streams.binary_search_by_key(&stream, |stream| stream.id).ok()
    }

    /// Remembers a stream of which the client may still send frames.
    fn push_orphan(&mut self, stream: StreamId) {
        self.orphans.push_back(stream);
        if self.orphans.len() > MAX_ORPHANS {
            self.orphans.pop_front();
        }
    }

    /// Removes a stream. Its units are cancelled by the next `fill`, and its files closed when none of
    /// them needs these.
    fn remove(&mut self, index: usize) {
        let mut stream = self.streams.remove(index);
        self.release_connection(stream.unreleased);
        if stream.receiving {
            self.push_orphan(stream.id);
        }
        let (notifies, cancelled) = (stream.notifies, false);
        let current = stream.current.take();
        if let Some(Sending::File { file, .. }) = current {
            if stream.has_units || notifies > 0 {
                self.closing.push(Closing { stream: stream.id, file, notifies, cancelled });
            } else {
                self.closed.push(file);
            }
        }
        self.closed.extend(stream.parts.into_iter().filter_map(StreamPart::into_file));
    }
}

/// Streams that are closed and still remembered.
const MAX_ORPHANS: usize = 128;
/// The payload of the PING behind the first GOAWAY: its acknowledgement shows that the client has
/// received both.
const SHUTDOWN_PING: [u8; 8] = *b"shutdown";

#[cfg(test)]
mod tests {
    use super::Connection;
    use crate::h2::stream::StreamState;

    #[test]
    fn idle_connections_are_small() {
        // Without the dynamic table of requests, which has at most 8 KiB of memory.
        let size = size_of::<Connection<usize>>();
        assert!(size <= 640, "{size} bytes");
        let size = size_of::<StreamState<usize>>();
        assert!(size <= 192, "{size} bytes");
    }
}
