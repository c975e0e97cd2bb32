//! Field blocks: requests and trailers (RFC 9113 §5.1, §6.2, §6.10, §8.1).

use super::receive::{Handled, Known};
use super::{Block, Connection, ConnectionPhase, Input, Pending};
use crate::error::ParseError;
use crate::h2::error::{ConnectionError, ErrorCode};
use crate::h2::frame::StreamId;
use crate::h2::priority::Priority;
use crate::h2::request_builder::{Built, RequestBuilder, TrailerCheck};
use crate::h2::stream::StreamState;

impl<F> Connection<F> {
    /// Handles HEADERS: the stream, whether the block ends it, and whether it depends on itself.
    pub(super) fn begin_block<'i>(
        &mut self,
        (stream, end_stream, loops): (StreamId, bool, bool),
        fragment: &[u8],
        end_headers: bool,
    ) -> Handled<'i> {
        if !stream.is_of_client() {
            return Err(ConnectionError::protocol("a stream that only a server opens"));
        }
        let continuations = 0;
        let mut block = Block { stream, end_stream, loops, continuations, fragments: Vec::new() };
        if end_headers {
            return self.complete_block(&block, fragment);
        }
        block.fragments.extend_from_slice(fragment);
        self.block = Some(Box::new(block));
        Ok(None)
    }

    pub(super) fn continue_block<'i>(&mut self, fragment: &[u8], end_headers: bool) -> Handled<'i> {
        let Some(mut block) = self.block.take() else {
            return Err(ConnectionError::protocol("CONTINUATION without a field block"));
        };
        block.continuations += 1;
        let length = block.fragments.len() + fragment.len();
        if block.continuations > self.limits.continuations || length > self.limits.field_block {
            return Err(ConnectionError::calm("a field block without an end"));
        }
        block.fragments.extend_from_slice(fragment);
        if end_headers {
            return self.complete_block(&block, &block.fragments);
        }
        self.block = Some(block);
        Ok(None)
    }

    fn complete_block<'i>(&mut self, block: &Block, fields: &[u8]) -> Handled<'i> {
        let Block { stream, end_stream, .. } = *block;
        match self.known(stream) {
            Known::Idle => self.request(block, fields),
            Known::Open(index) => {
                let mut check = TrailerCheck::new(&self.limits);
                self.decoder.decode(fields, |name, value| check.push(name, value))?;
                if !self.streams[index].receiving && !self.streams[index].is_active() {
                    // The client may know that it is closed: its end has been sent.
                    return Err(CLOSED_STREAM);
                }
                if !self.streams[index].receiving {
                    return self.stream_error(stream, ErrorCode::STREAM_CLOSED);
                }
                if !end_stream || block.loops || check.finish().is_some() {
                    return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR);
                }
                self.end_request(stream)
            }
            Known::Orphan => {
                self.count_control_frame()?;
                self.skip(fields)?;
                if end_stream {
                    self.orphans.retain(|orphan| *orphan != stream);
                }
                Ok(None)
            }
            Known::Closed if self.was_skipped(stream) => {
                Err(ConnectionError::protocol("a stream below one that was opened before"))
            }
            Known::Closed => Err(CLOSED_STREAM),
        }
    }

    /// Opens a stream.
    fn request<'i>(&mut self, block: &Block, fields: &[u8]) -> Handled<'i> {
        let Block { stream, end_stream, .. } = *block;
        let early = self.count_opened(stream);
        // Of a stream that is not served, frames may follow.
        let ends = |connection: &mut Self| {
            if !end_stream {
                connection.push_orphan(stream);
            }
        };
        if matches!(self.phase, ConnectionPhase::Drained(_)) {
            ends(self);
            self.count_control_frame()?;
            return self.skip(fields).map(|()| None);
        }
        let active = self.streams.iter().filter(|stream| stream.is_active()).count();
        if active >= self.limits.streams as usize {
            ends(self);
            self.skip(fields)?;
            return self.stream_error(stream, ErrorCode::REFUSED_STREAM);
        }
        let mut builder = RequestBuilder::new(&self.limits);
        self.decoder.decode(fields, |name, value| builder.push(name, value))?;
        let malformed = |reason, line: &[u8]| ParseError::bad(reason).in_head(line);
        let error = match builder.finish() {
            Built::Malformed(error) => error,
            Built::Request { head, content_length, .. }
                if end_stream && content_length > Some(0) =>
            {
                malformed("no body in spite of its content-length", head.request_line())
            }
            Built::Request { head, .. } if block.loops => {
                malformed(DEPENDS_ON_ITSELF, head.request_line())
            }
            Built::Rejected(error) if block.loops => {
                malformed(DEPENDS_ON_ITSELF, &error.request_line)
            }
            Built::Rejected(error) => {
                self.open(block, early);
                return Ok(Some(Input::Rejected { stream, error }));
            }
            Built::Request { head: request, content_length, priority } => {
                self.signals_priorities |= priority.is_some();
                let open = self.open(block, early.or(priority));
                open.length_left = content_length;
                return Ok(Some(Input::Head { stream, request }));
            }
        };
        ends(self);
        self.stream_error(stream, ErrorCode::PROTOCOL_ERROR)?;
        Ok(Some(Input::Malformed { stream, error }))
    }

    /// Makes a stream the last that was opened. Returns its priority, if the client has sent one.
    fn count_opened(&mut self, stream: StreamId) -> Option<Priority> {
        let skipped = (stream.0 - self.last.0).div_ceil(2);
        self.opened = self.opened.checked_shl(skipped).unwrap_or(0) | 1;
        self.last = stream;
        let mut early = None;
        self.early_priorities.retain(|(idle, priority)| {
            early = early.or((*idle == stream).then_some(*priority));
            *idle > stream
        });
        early
    }

    fn open(&mut self, block: &Block, priority: Option<Priority>) -> &mut StreamState<F> {
        let id = block.stream;
        let send_window = i64::from(self.peer.initial_window);
        let mut stream = StreamState::new(id, self.limits.stream_window, send_window);
        stream.receiving = !block.end_stream;
        stream.priority = priority;
        if block.end_stream {
            self.pending = Some(Pending::End(id));
        }
        // Identifiers only grow, so the streams stay sorted.
        let place = self.streams.len();
        self.streams.push(stream);
        &mut self.streams[place]
    }

    /// Decodes a block for the sake of the table.
    fn skip(&mut self, fields: &[u8]) -> Result<(), ConnectionError> {
        let mut check = TrailerCheck::new(&self.limits);
        self.decoder.decode(fields, |name, value| check.push(name, value))
    }

    /// Returns whether the client opened a higher stream before it ever used this one.
    fn was_skipped(&self, stream: StreamId) -> bool {
        let behind = (self.last.0 - stream.0) / 2;
        self.opened.checked_shr(behind).is_some_and(|opened| opened & 1 == 0)
    }
}

const DEPENDS_ON_ITSELF: &str = "a stream that depends on itself";
const CLOSED_STREAM: ConnectionError =
    ConnectionError::new(ErrorCode::STREAM_CLOSED, "HEADERS of a closed stream");
