//! Responses, and the sink's reports of them (RFC 9113 §8.1).

use std::borrow::Cow;

use super::Connection;
use crate::h2::error::ErrorCode;
use crate::h2::frame::{FrameEncoder, StreamId};
use crate::h2::sink::{StreamBody, StreamPart, UnitEvent};
use crate::h2::stream::Response;

impl<F> Connection<F> {
    /// Answers a request: `block` is a field block of [`BlockEncoder`](crate::h2::hpack::BlockEncoder).
    /// Returns false if the stream is closed or has a response; then the file of the body is closed.
    pub fn respond(&mut self, stream: StreamId, block: Vec<u8>, body: StreamBody<F>) -> bool {
        let (part, complete) = match body {
            StreamBody::Empty => (None, true),
            StreamBody::Bytes(bytes) => (Some(StreamPart::Bytes(bytes)), true),
            StreamBody::File(file, range) => (Some(StreamPart::File(file, range)), true),
            StreamBody::Stream => (None, false),
        };
        let expected = |index: &usize| matches!(self.streams[*index].response, Response::Expected);
        let Some(index) = self.find(stream).filter(expected) else {
            self.closed.extend(part.and_then(StreamPart::into_file));
            return false;
        };
        self.push_part(index, part);
        let open = &mut self.streams[index];
        self.closed.extend(open.advance());
        open.response = Response::Head { block, complete };
        true
    }

    /// Sends an informational response, such as 100, before the final one.
    pub fn inform(&mut self, stream: StreamId, block: &[u8]) {
        let expected = |index: usize| matches!(self.streams[index].response, Response::Expected);
        if self.find(stream).is_some_and(expected) {
            let mut control = std::mem::take(&mut self.control);
            self.encode_head(&mut control, stream, block, false);
            self.control = control;
        }
    }

    /// Appends a part to a [`StreamBody::Stream`]; with `end`, it is the last one. Returns false if the stream
    /// is closed; then the file of the part is closed.
    pub fn append(&mut self, stream: StreamId, part: StreamPart<F>, end: bool) -> bool {
        let unended = |index: &usize| !self.streams[*index].is_complete();
        let Some(index) = self.find(stream).filter(unended) else {
            self.closed.extend(part.into_file());
            return false;
        };
        self.push_part(index, Some(part));
        let open = &mut self.streams[index];
        match &mut open.response {
            Response::Head { complete, .. } | Response::Body { complete } => *complete = end,
            Response::Expected | Response::Ended => {}
        }
        self.closed.extend(open.advance());
        true
    }

    /// Resets a stream, for a reason of the server.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        if let Some(index) = self.find(stream) {
            FrameEncoder::new(&mut self.control).reset(stream, code);
            self.remove(index);
        }
    }

    /// Handles a report of the sink about a stream's units. Returns whether the stream has ended by it:
    /// its response has been sent, or it was reset because its file has become shorter.
    pub fn unit_event(&mut self, stream: StreamId, event: UnitEvent) -> bool {
        if let UnitEvent::Cold { returned } | UnitEvent::Short { returned } = event {
            self.send_window += i64::try_from(returned).unwrap_or(0);
        }
        let Some(index) = self.find(stream) else {
            return event == UnitEvent::Sent && self.sent_of_closed(stream);
        };
        let open = &mut self.streams[index];
        match event {
            UnitEvent::Cold { returned } => {
                open.take_back(returned);
                open.cold = true;
                false
            }
            UnitEvent::Warm => {
                open.cold = false;
                false
            }
            UnitEvent::Short { .. } => {
                FrameEncoder::new(&mut self.control).reset(stream, ErrorCode::INTERNAL_ERROR);
                self.remove(index);
                true
            }
            UnitEvent::Sent => self.sent(index),
        }
    }

    /// Everything appended to the sink before one call of `notify_sent` has been sent or given back.
    fn sent(&mut self, index: usize) -> bool {
        let open = &mut self.streams[index];
        open.notifies = open.notifies.saturating_sub(1);
        // Units that were given back have been appended again, behind this call: another one follows.
        if open.notifies > 0 || !open.notified {
            return false;
        }
        open.has_units = false;
        if !open.is_active() {
            self.finish(index);
            return true;
        }
        self.closed.extend(self.streams[index].advance());
        false
    }

    /// Removes a stream whose response has been sent. If the client has not ended its side, it need
    /// not go on (§8.1).
    pub(super) fn finish(&mut self, index: usize) {
        if self.streams[index].receiving {
            let id = self.streams[index].id;
            FrameEncoder::new(&mut self.control).reset(id, ErrorCode::NO_ERROR);
        }
        self.control_frames.add(TOKENS_PER_RESPONSE);
        self.remove(index);
    }

    /// Returns whether a stream that is closed had ended by its response.
    fn sent_of_closed(&mut self, stream: StreamId) -> bool {
        let Some(at) = self.closing.iter().position(|closing| closing.stream == stream) else {
            return true;
        };
        let closing = &mut self.closing[at];
        closing.notifies = closing.notifies.saturating_sub(1);
        if closing.cancelled && closing.notifies == 0 {
            self.closed.push(self.closing.swap_remove(at).file);
        }
        false
    }

    fn push_part(&mut self, index: usize, part: Option<StreamPart<F>>) {
        match part {
            Some(part) if part.is_empty() => self.closed.extend(part.into_file()),
            Some(part) => self.streams[index].parts.push_back(part),
            None => {}
        }
    }

    /// Appends a field block as frames. The first one of a connection says that no dynamic table is
    /// used (RFC 7541 §4.2), which a client that has made its table smaller waits for.
    pub(super) fn encode_head(
        &mut self,
        out: &mut Vec<u8>,
        stream: StreamId,
        block: &[u8],
        end_stream: bool,
    ) {
        let mut block = Cow::Borrowed(block);
        if !self.encodes {
            self.encodes = true;
            block.to_mut().insert(0, TABLE_SIZE_0);
        }
        let size = self.peer.max_frame_size;
        FrameEncoder::new(out).headers(stream, &block, end_stream, size);
    }
}

/// A dynamic table size update to 0 (RFC 7541 §6.3).
const TABLE_SIZE_0: u8 = 0x20;
/// Control frames that each response allows.
const TOKENS_PER_RESPONSE: u32 = 4;
