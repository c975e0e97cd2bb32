//! Output: priorities and windows (RFC 9113 §5.2, RFC 9218 §10).
//!
//! The order is control frames, heads, and bodies by urgency. Among streams of one urgency, service
//! alternates between the incremental streams and the oldest of the others.
//!
//! # Limitations
//!
//! Streams share by turns of up to 64 KiB, not by octets. A client that never gives a priority has
//! all its streams treated as incremental, so that a long download does not hold up all later ones.

use super::window_use::SMALL;
use super::{Connection, Pending};
use crate::h2::error::ConnectionError;
use crate::h2::frame::{FrameEncoder, FrameHeader};
use crate::h2::priority::Priority;
use crate::h2::sink::UnitSink;
use crate::h2::stream::{Response, Sendable, Sending};

/// A sink, and bytes that have not been appended to it.
struct Output<'s, S> {
    sink: &'s mut S,
    memory: Vec<u8>,
}

impl<S> Output<'_, S> {
    fn has_room<F>(&self) -> bool
    where
        S: UnitSink<F>,
    {
        self.sink.room() > self.memory.len() as u64
    }

    fn flush<F>(&mut self)
    where
        S: UnitSink<F>,
    {
        if !self.memory.is_empty() {
            self.sink.bytes(std::mem::take(&mut self.memory));
        }
    }
}

impl<F> Connection<F> {
    /// Appends the frames that may be sent to the sink, as long as it has room. To be called after every
    /// event of the client and of the sink, after responses, and when the sink has room again.
    pub fn fill(&mut self, sink: &mut impl UnitSink<F>) {
        self.cancel_units(sink);
        let mut output = Output { sink, memory: Vec::new() };
        loop {
            if !output.has_room() {
                break;
            }
            output.memory.append(&mut self.control);
            let Some(index) = self.pick() else {
                break;
            };
            self.serve(index, &mut output);
        }
        output.flush();
        if self.control.is_empty() {
            self.control = Vec::new();
        }
        for file in self.closed.drain(..) {
            output.sink.close(file);
        }
        if self.streams.is_empty() {
            self.release_memory();
        }
    }

    /// Takes back the units of streams that are closed.
    fn cancel_units(&mut self, sink: &mut impl UnitSink<F>) {
        for closing in &mut self.closing {
            if !closing.cancelled {
                closing.cancelled = true;
                closing.notifies += 1;
                self.send_window += i64::try_from(sink.cancel(closing.stream)).unwrap_or(0);
                sink.notify_sent(closing.stream);
            }
        }
    }

    /// An idle connection keeps no memory but that of its dynamic table.
    fn release_memory(&mut self) {
        self.streams = Vec::new();
        if self.closing.is_empty() {
            self.closing = Vec::new();
        }
        self.closed = Vec::new();
    }

    /// Returns the stream that is served next.
    fn pick(&self) -> Option<usize> {
        let mut best: Option<(usize, (bool, u8, u64))> = None;
        // Of each urgency, only the oldest stream that is not incremental is served.
        let mut oldest = [false; 8];
        for (index, stream) in self.streams.iter().enumerate() {
            let body = match stream.next() {
                Sendable::Nothing => continue,
                Sendable::Head => false,
                Sendable::Data(_) if self.window_of(stream) == 0 => continue,
                Sendable::Data(_) | Sendable::End => true,
            };
            let unknown = Priority { incremental: !self.signals_priorities, ..Priority::default() };
            let Priority { urgency, incremental } = stream.priority.unwrap_or(unknown);
            if body && !incremental {
                let found = &mut oldest[usize::from(urgency & 7)];
                if std::mem::replace(found, true) {
                    continue;
                }
            }
            let rank = (body, urgency, stream.served);
            if best.is_none_or(|(_, least)| rank < least) {
                best = Some((index, rank));
            }
        }
        best.map(|(index, _)| index)
    }

    /// Serves a stream for one turn.
    fn serve(&mut self, index: usize, output: &mut Output<'_, impl UnitSink<F>>) {
        if self.streams[index].next() == Sendable::Head {
            return self.send_head(index, output);
        }
        self.turn += 1;
        self.streams[index].served = self.turn;
        let mut quantum = QUANTUM;
        while quantum > 0 && output.has_room() {
            match self.streams[index].next() {
                Sendable::Data(left) => {
                    let window = self.window_of(&self.streams[index]);
                    let frame = self.peer.max_frame_size.min(self.limits.data_frame).max(1);
                    let length = left.min(window).min(frame.into());
                    if length == 0 {
                        break;
                    }
                    self.count_small_frame(length, left);
                    quantum = quantum.saturating_sub(length);
                    if self.send_data(index, length, output) {
                        return;
                    }
                }
                Sendable::End => return self.send_end(index, output),
                Sendable::Nothing | Sendable::Head => break,
            }
        }
    }

    /// Counts a DATA frame that is small: as a control frame, if that is due to the window. A small part of
    /// the body may be answered by a small update of both windows.
    fn count_small_frame(&mut self, length: u64, left: u64) {
        if length >= SMALL.into() {
            return;
        }
        if length == left {
            return self.control_frames.add(UPDATES_PER_FRAME);
        }
        self.small_windows.sent();
        if !self.control_frames.take() {
            let error = ConnectionError::calm("windows that are too small");
            self.pending = self.pending.take().or(Some(Pending::Error(error)));
        }
    }

    fn send_head(&mut self, index: usize, output: &mut Output<'_, impl UnitSink<F>>) {
        let stream = &mut self.streams[index];
        let id = stream.id;
        let body = Response::Body { complete: stream.is_complete() };
        let Response::Head { block, complete } = std::mem::replace(&mut stream.response, body)
        else {
            return;
        };
        let ends = complete && stream.left() == 0 && stream.parts.is_empty();
        self.encode_head(&mut output.memory, id, &block, ends);
        if ends {
            self.end(index, output);
        }
    }

    /// Sends a DATA frame. Returns whether the stream is closed.
    fn send_data(
        &mut self,
        index: usize,
        length: u64,
        output: &mut Output<'_, impl UnitSink<F>>,
    ) -> bool {
        let stream = &mut self.streams[index];
        let complete = stream.is_complete();
        let length_i = i64::try_from(length).unwrap_or(0);
        self.send_window -= length_i;
        stream.send_window -= length_i;
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        match &mut stream.current {
            Some(Sending::Bytes { bytes, at }) => {
                let part = &bytes[*at..*at + size];
                *at += size;
                let ends = complete && stream.parts.is_empty() && *at == bytes.len();
                FrameEncoder::new(&mut output.memory).data(stream.id, part, ends);
                if ends {
                    self.end(index, output);
                    return true;
                }
            }
            Some(Sending::File { file, at, end }) => {
                output.flush();
                // The end of the stream is a frame of its own: if the file turns out to be shorter,
                // this one has been sent and must not have ended it.
                let header = FrameHeader::data(stream.id, size, false).encode();
                output.sink.unit(stream.id, header, file, *at..*at + length);
                *at += length;
                (stream.has_units, stream.notified) = (true, false);
                if at == end && !(complete && stream.parts.is_empty()) {
                    // The next part waits until the units can no longer be given back.
                    stream.count_notify();
                    output.sink.notify_sent(stream.id);
                }
            }
            None => {}
        }
        self.closed.extend(self.streams[index].advance());
        false
    }

    /// Sends the empty frame that ends a stream.
    fn send_end(&mut self, index: usize, output: &mut Output<'_, impl UnitSink<F>>) {
        let stream = &mut self.streams[index];
        let header = FrameHeader::data(stream.id, 0, true).encode();
        if let Some(Sending::File { file, at, .. }) = &stream.current
            && stream.has_units
        {
            output.sink.unit(stream.id, header, file, *at..*at);
            stream.response = Response::Ended;
            stream.count_notify();
            output.sink.notify_sent(stream.id);
            return;
        }
        output.memory.extend(header);
        self.end(index, output);
    }

    /// Ends a stream that has no units which may be given back.
    fn end(&mut self, index: usize, output: &mut Output<'_, impl UnitSink<F>>) {
        let id = self.streams[index].id;
        self.streams[index].response = Response::Ended;
        self.finish(index);
        output.flush();
        output.sink.notify_sent(id);
    }
}

/// A stream is served for so many octets before the next one.
const QUANTUM: u64 = 64 << 10;
/// A client may open two windows for each frame.
const UPDATES_PER_FRAME: u32 = 2;
