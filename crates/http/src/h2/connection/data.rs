//! Request bodies and their flow control (RFC 9113 §5.2, §6.1, §6.9).

use super::receive::{Handled, Known};
use super::{Connection, Input};
use crate::h2::error::{ConnectionError, ErrorCode};
use crate::h2::frame::{FrameEncoder, StreamId};

impl<F> Connection<F> {
    /// Releases octets of a body that have been processed or dropped, so that the client may send as
    /// many more.
    pub fn release(&mut self, stream: StreamId, octets: usize) {
        let Some(index) = self.find(stream) else {
            // They were released when the stream ended.
            return;
        };
        let held = &mut self.streams[index].unreleased;
        let octets = u32::try_from(octets).unwrap_or(u32::MAX).min(*held);
        *held -= octets;
        self.release_stream(index, octets);
        self.release_connection(octets);
    }

    pub(super) fn begin_data<'i>(
        &mut self,
        stream: StreamId,
        length: u32,
        padding: u32,
    ) -> Handled<'i> {
        self.data = (None, length > padding);
        let left = self.receive_window.checked_sub(length);
        self.receive_window = left.ok_or(ConnectionError::new(
            ErrorCode::FLOW_CONTROL_ERROR,
            "more data than the window of the connection allows",
        ))?;
        let index = match self.known(stream) {
            Known::Idle => return Err(ConnectionError::protocol("DATA of an idle stream")),
            Known::Closed => {
                let code = ErrorCode::STREAM_CLOSED;
                return Err(ConnectionError::new(code, "DATA of a closed stream"));
            }
            Known::Orphan => {
                self.release_connection(length);
                return Ok(None);
            }
            Known::Open(index) => index,
        };
        if let Some(code) = self.take_data(index, length, padding) {
            self.release_connection(length);
            return self.stream_error(stream, code);
        }
        self.data.0 = Some(stream);
        self.release_stream(index, padding);
        self.release_connection(padding);
        Ok(None)
    }

    /// Counts a DATA frame of a stream. Returns the error if the stream does not allow it.
    fn take_data(&mut self, index: usize, length: u32, padding: u32) -> Option<ErrorCode> {
        let open = &mut self.streams[index];
        let body = length - padding;
        if !open.receiving {
            return Some(ErrorCode::STREAM_CLOSED);
        }
        if length > open.receive_window {
            return Some(ErrorCode::FLOW_CONTROL_ERROR);
        }
        if let Some(left) = &mut open.length_left {
            match left.checked_sub(u64::from(body)) {
                Some(rest) => *left = rest,
                None => return Some(ErrorCode::PROTOCOL_ERROR),
            }
        }
        open.receive_window -= length;
        open.unreleased += body;
        None
    }

    pub(super) fn data_part<'i>(&self, stream: StreamId, bytes: &'i [u8]) -> Option<Input<'i>> {
        let wanted = self.data.0 == Some(stream) && self.find(stream).is_some();
        wanted.then_some(Input::Body { stream, bytes })
    }

    pub(super) fn end_data<'i>(&mut self, stream: StreamId, end_stream: bool) -> Handled<'i> {
        let (wanted, has_body) = std::mem::take(&mut self.data);
        if !end_stream {
            if !has_body {
                self.count_control_frame()?;
            }
            return Ok(None);
        }
        if wanted.is_none() || self.find(stream).is_none() {
            self.orphans.retain(|orphan| *orphan != stream);
            return Ok(None);
        }
        self.end_request(stream)
    }

    /// The client ends its side of a stream.
    pub(super) fn end_request<'i>(&mut self, stream: StreamId) -> Handled<'i> {
        let Some(index) = self.find(stream) else {
            return Ok(None);
        };
        let open = &mut self.streams[index];
        open.receiving = false;
        if open.length_left.is_some_and(|left| left > 0) {
            return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR);
        }
        Ok(Some(Input::End { stream }))
    }

    /// Opens the window of a stream again, in steps of half its size.
    fn release_stream(&mut self, index: usize, octets: u32) {
        let size = self.limits.stream_window;
        let stream = &mut self.streams[index];
        stream.released += octets;
        if stream.receiving && stream.released >= (size / 2).max(1) {
            FrameEncoder::new(&mut self.control).window_update(stream.id, stream.released);
            stream.receive_window += std::mem::take(&mut stream.released);
        }
    }

    /// Opens the window of the connection again, in steps of half its size.
    pub(super) fn release_connection(&mut self, octets: u32) {
        let size = self.limits.connection_window;
        self.released += octets;
        if self.released >= size / 2 && self.phase != super::ConnectionPhase::Failed {
            let released = std::mem::take(&mut self.released);
            FrameEncoder::new(&mut self.control).window_update(StreamId::CONNECTION, released);
            self.receive_window += released;
        }
    }
}
