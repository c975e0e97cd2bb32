//! One stream: its two directions and their windows (RFC 9113 §5.1, §5.2).

use std::borrow::Cow;
use std::collections::VecDeque;

use super::frame::StreamId;
use super::priority::Priority;
use super::sink::StreamPart;

/// A request and its response.
#[derive(Debug)]
pub(super) struct StreamState<F> {
    pub(super) id: StreamId,
    /// The client has not ended its side.
    pub(super) receiving: bool,
    /// Octets that the client may still send.
    pub(super) receive_window: u32,
    /// Octets of the body that the caller has not released.
    pub(super) unreleased: u32,
    /// Octets that were released and not announced yet.
    pub(super) released: u32,
    /// Octets of the body that `content-length` still promises.
    pub(super) length_left: Option<u64>,

    /// Octets that may be sent; below 0 after the client shrank all windows (§6.9.2).
    pub(super) send_window: i64,
    pub(super) response: Response,
    /// The part that is being sent.
    pub(super) current: Option<Sending<F>>,
    pub(super) parts: VecDeque<StreamPart<F>>,
    /// Units of the current file were appended, and are not known to be sent.
    pub(super) has_units: bool,
    /// `notify_sent` was called behind the last of them.
    pub(super) notified: bool,
    /// The pages of its next unit are not in memory.
    pub(super) cold: bool,
    /// How many calls of `notify_sent` have no answer.
    pub(super) notifies: u32,
    /// `None`: the client has not given one.
    pub(super) priority: Option<Priority>,
    /// When it was served last, in turns of the connection.
    pub(super) served: u64,
}

/// The progress of a response.
#[derive(Debug)]
pub(super) enum Response {
    /// The caller has none yet.
    Expected,
    /// Its field block waits; with `complete`, no part is to be appended.
    Head { block: Vec<u8>, complete: bool },
    /// Parts of the body are sent.
    Body { complete: bool },
    /// Everything has been appended to the sink.
    Ended,
}

/// A part that is being sent, and how far.
#[derive(Debug)]
pub(super) enum Sending<F> {
    Bytes { bytes: Cow<'static, [u8]>, at: usize },
    File { file: F, at: u64, end: u64 },
}

/// The next output of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sendable {
    /// Nothing, before something else happens.
    Nothing,
    /// Its head.
    Head,
    /// Octets of its body, as far as the windows allow: so many are left of the part.
    Data(u64),
    /// An empty frame that ends it.
    End,
}

impl<F> StreamState<F> {
    pub(super) fn new(id: StreamId, receive_window: u32, send_window: i64) -> Self {
        Self {
            id,
            receiving: true,
            receive_window,
            unreleased: 0,
            released: 0,
            length_left: None,
            send_window,
            response: Response::Expected,
            current: None,
            parts: VecDeque::new(),
            has_units: false,
            notified: false,
            cold: false,
            notifies: 0,
            priority: None,
            served: 0,
        }
    }

    /// Returns whether it counts as one of the streams at once.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.response, Response::Ended)
    }

    /// Returns whether all parts have been appended by the caller.
    pub(super) fn is_complete(&self) -> bool {
        match self.response {
            Response::Expected => false,
            Response::Head { complete, .. } | Response::Body { complete } => complete,
            Response::Ended => true,
        }
    }

    /// Returns the next output. Bytes must not overtake units that may be given back, so behind
    /// a file that is not known to be sent only the end follows, as a unit.
    pub(super) fn next(&self) -> Sendable {
        let complete = match self.response {
            Response::Expected | Response::Ended => return Sendable::Nothing,
            Response::Head { .. } => return Sendable::Head,
            Response::Body { complete } => complete,
        };
        let left = self.left();
        if self.cold {
            Sendable::Nothing
        } else if left > 0 {
            Sendable::Data(left)
        } else if self.parts.is_empty() && complete {
            Sendable::End
        } else {
            Sendable::Nothing
        }
    }

    /// Counts a call of `notify_sent` behind all units.
    pub(super) fn count_notify(&mut self) {
        self.notifies += 1;
        self.notified = true;
    }

    /// Returns how many octets are left of the current part.
    pub(super) fn left(&self) -> u64 {
        match &self.current {
            None => 0,
            Some(Sending::Bytes { bytes, at }) => (bytes.len() - at) as u64,
            Some(Sending::File { at, end, .. }) => end - at,
        }
    }

    /// Goes on to the next part, unless the current one is not sent. Returns a file that is done with.
    pub(super) fn advance(&mut self) -> Option<F> {
        if self.left() > 0 || self.has_units {
            return None;
        }
        let done = self.current.take();
        self.current = self.parts.pop_front().map(|part| match part {
            StreamPart::Bytes(bytes) => Sending::Bytes { bytes, at: 0 },
            StreamPart::File(file, range) => {
                Sending::File { file, at: range.start, end: range.end }
            }
        });
        match done {
            Some(Sending::File { file, .. }) => Some(file),
            _ => None,
        }
    }

    /// Takes units back: `returned` octets of the current file are sent again.
    pub(super) fn take_back(&mut self, returned: u64) {
        if let Some(Sending::File { at, .. }) = &mut self.current {
            *at = at.saturating_sub(returned);
        }
        self.send_window += i64::try_from(returned).unwrap_or(0);
        if returned > 0 && matches!(self.response, Response::Ended) {
            self.response = Response::Body { complete: true };
        }
    }

    /// Returns how many octets of parts in memory wait.
    pub(super) fn buffered(&self) -> u64 {
        let current = match self.current {
            Some(Sending::Bytes { .. }) => self.left(),
            _ => 0,
        };
        let parts = self.parts.iter().map(|part| match part {
            StreamPart::Bytes(bytes) => bytes.len() as u64,
            StreamPart::File(..) => 0,
        });
        current + parts.sum::<u64>()
    }
}
