//! Frames of the client other than HEADERS and DATA (RFC 9113 §6, §10.5).

use std::time::Instant;

use super::window_use::SMALL;
use super::{Connection, ConnectionPhase, Input, Pending, SHUTDOWN_PING};
use crate::h2::error::{ConnectionError, ErrorCode};
use crate::h2::frame::{FrameEncoder, PREFACE, StreamId};
use crate::h2::frame_decoder::{Frame, FrameDecoder};
use crate::h2::limits::DEFAULT_WINDOW;
use crate::h2::priority::Priority;
use crate::h2::settings::MAX_WINDOW;

/// The state of a stream (RFC 9113 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The client has not opened it.
    Idle,
    /// Its place among the streams.
    Open(usize),
    /// The server has ended it, and the client may not know that.
    Orphan,
    Closed,
}

/// The result of a frame.
pub(super) type Handled<'i> = Result<Option<Input<'i>>, ConnectionError>;

impl<F> Connection<F> {
    /// Takes bytes of the client off the front of `input`, up to the next thing that the caller has to
    /// know; `None` when the input is used up. `now` is for limits on rates only.
    ///
    /// The split of the bytes never changes the result, except that a body may be returned in other
    /// parts.
    pub fn receive<'i>(&mut self, now: Instant, input: &mut &'i [u8]) -> Option<Input<'i>> {
        match self.pending.take() {
            Some(Pending::End(stream)) if self.find(stream).is_some() => {
                return Some(Input::End { stream });
            }
            Some(Pending::Error(error)) => return Some(self.fail(error)),
            _ => {}
        }
        if self.phase == ConnectionPhase::Failed {
            *input = &[];
            return None;
        }
        self.resets.refill(now);
        self.control_frames.refill(now);
        // The decoder lends its buffer to the frames, so it is not borrowed together with the rest.
        let mut frames = std::mem::take(&mut self.frames);
        let received = self.receive_frames(&mut frames, input);
        self.frames = frames;
        match received {
            Ok(input) => input,
            Err(error) => {
                *input = &[];
                Some(self.fail(error))
            }
        }
    }

    fn receive_frames<'i>(
        &mut self,
        frames: &mut FrameDecoder,
        input: &mut &'i [u8],
    ) -> Handled<'i> {
        if !self.take_preface(input)? {
            return Ok(None);
        }
        while let Some(frame) = frames.next(input)? {
            let handled = self.handle(frame)?;
            if self.control.len() > self.limits.control_queue {
                return Err(ConnectionError::calm("too many control frames are not read"));
            }
            if handled.is_some() {
                return Ok(handled);
            }
        }
        Ok(None)
    }

    /// Takes the preface (§3.4). Returns whether it is complete.
    fn take_preface(&mut self, input: &mut &[u8]) -> Result<bool, ConnectionError> {
        let wanted = &PREFACE[usize::from(self.preface)..];
        let count = wanted.len().min(input.len());
        if input[..count] != wanted[..count] {
            return Err(ConnectionError::protocol("no preface of HTTP/2"));
        }
        *input = &input[count..];
        self.preface += u8::try_from(count).unwrap_or(0);
        Ok(count == wanted.len())
    }

    fn handle<'i>(&mut self, frame: Frame<'_, 'i>) -> Handled<'i> {
        let greets = matches!(frame, Frame::Settings { .. });
        if !self.greeted && !greets {
            return Err(ConnectionError::protocol("SETTINGS do not come first"));
        }
        self.greeted = true;
        match frame {
            Frame::DataBegin { stream, length, padding } => {
                self.begin_data(stream, length, padding)
            }
            Frame::DataPart { stream, bytes } => Ok(self.data_part(stream, bytes)),
            Frame::DataEnd { stream, end_stream } => self.end_data(stream, end_stream),
            Frame::Headers { stream, fragment, end_stream, end_headers, dependency } => {
                let loops = dependency == Some(stream);
                self.begin_block((stream, end_stream, loops), fragment, end_headers)
            }
            Frame::Continuation { fragment, end_headers, .. } => {
                self.continue_block(fragment, end_headers)
            }
            Frame::Reset { stream, code } => self.reset_by_client(stream, code),
            Frame::WindowUpdate { stream, increment } => self.window_update(stream, increment),
            other => self.control_frame(other),
        }
    }

    /// Handles a frame that costs its sender less than the server.
    fn control_frame<'i>(&mut self, frame: Frame<'_, 'i>) -> Handled<'i> {
        self.count_control_frame()?;
        match frame {
            Frame::Settings { parameters } => self.settings(parameters)?,
            Frame::SettingsAck => self.settings_acked = true,
            Frame::Ping { payload: SHUTDOWN_PING, ack: true }
                if self.phase == ConnectionPhase::Draining =>
            {
                self.drain();
            }
            Frame::Ping { payload, ack: false } => {
                FrameEncoder::new(&mut self.control).ping(payload, true);
            }
            // The client opens no more streams; those that are open are served.
            Frame::GoAway { .. }
                if matches!(self.phase, ConnectionPhase::Open | ConnectionPhase::Draining) =>
            {
                self.drain();
            }
            Frame::Priority { stream, dependency } => return self.priority(stream, dependency),
            Frame::PriorityUpdate { stream, value } => self.priority_update(stream, value)?,
            _ => {}
        }
        Ok(None)
    }

    fn settings(&mut self, parameters: &[u8]) -> Result<(), ConnectionError> {
        if parameters.len() > self.limits.settings.saturating_mul(6) {
            return Err(ConnectionError::calm("too many settings"));
        }
        let before = self.peer.initial_window;
        self.peer.apply(parameters)?;
        FrameEncoder::new(&mut self.control).settings_ack();
        // §6.9.2: the windows of all streams change, possibly below 0.
        let change = i64::from(self.peer.initial_window) - i64::from(before);
        for stream in &mut self.streams {
            stream.send_window += change;
            if stream.send_window > MAX_WINDOW {
                return Err(WINDOW_OVERFLOW);
            }
        }
        Ok(())
    }

    fn window_update<'i>(&mut self, stream: StreamId, increment: u32) -> Handled<'i> {
        if increment < SMALL {
            self.count_control_frame()?;
        }
        let initial =
            if stream == StreamId::CONNECTION { DEFAULT_WINDOW } else { self.peer.initial_window };
        self.small_windows.opened(increment, initial);
        if stream == StreamId::CONNECTION {
            if increment == 0 {
                return Err(ConnectionError::protocol("a window update of nothing"));
            }
            self.send_window += i64::from(increment);
            let fits = self.send_window <= MAX_WINDOW;
            return if fits { Ok(None) } else { Err(WINDOW_OVERFLOW) };
        }
        match self.known(stream) {
            Known::Idle => Err(ConnectionError::protocol("a window update of an idle stream")),
            Known::Open(_) if increment == 0 => {
                self.stream_error(stream, ErrorCode::PROTOCOL_ERROR)
            }
            Known::Open(index) => {
                let window = &mut self.streams[index].send_window;
                *window += i64::from(increment);
                if *window > MAX_WINDOW {
                    return self.stream_error(stream, ErrorCode::FLOW_CONTROL_ERROR);
                }
                Ok(None)
            }
            Known::Orphan | Known::Closed => self.count_control_frame().map(|()| None),
        }
    }

    fn reset_by_client<'i>(&mut self, stream: StreamId, code: ErrorCode) -> Handled<'i> {
        match self.known(stream) {
            Known::Idle => Err(ConnectionError::protocol("a reset of an idle stream")),
            Known::Open(index) => {
                if self.streams[index].is_active() {
                    self.count_reset()?;
                }
                self.streams[index].receiving = false;
                self.remove(index);
                Ok(Some(Input::Reset { stream, code }))
            }
            Known::Orphan | Known::Closed => {
                self.orphans.retain(|orphan| *orphan != stream);
                self.count_control_frame().map(|()| None)
            }
        }
    }

    /// Checks PRIORITY, whose contents are deprecated (§5.3.2, §6.3).
    fn priority<'i>(&mut self, stream: StreamId, dependency: Option<StreamId>) -> Handled<'i> {
        let code = match dependency {
            None => ErrorCode::FRAME_SIZE_ERROR,
            Some(dependency) if dependency == stream => ErrorCode::PROTOCOL_ERROR,
            Some(_) => return Ok(None),
        };
        match self.known(stream) {
            Known::Open(_) => self.stream_error(stream, code),
            // There is no stream to be reset.
            _ => Err(ConnectionError::new(code, "a malformed PRIORITY")),
        }
    }

    fn priority_update(&mut self, stream: StreamId, value: &[u8]) -> Result<(), ConnectionError> {
        if !stream.is_of_client() {
            return Err(ConnectionError::protocol("a priority of a stream that cannot be"));
        }
        self.signals_priorities = true;
        let priority = Priority::parse(value);
        match self.known(stream) {
            Known::Open(index) => self.streams[index].priority = Some(priority),
            Known::Idle => {
                self.early_priorities.retain(|(early, _)| *early != stream);
                if self.early_priorities.len() < MAX_EARLY_PRIORITIES {
                    self.early_priorities.push((stream, priority));
                }
            }
            Known::Orphan | Known::Closed => {}
        }
        Ok(())
    }

    pub(super) fn known(&self, stream: StreamId) -> Known {
        if !stream.is_of_client() || stream > self.last {
            return Known::Idle;
        }
        match self.find(stream) {
            Some(index) => Known::Open(index),
            None if self.orphans.contains(&stream) => Known::Orphan,
            None => Known::Closed,
        }
    }

    /// Resets a stream because of an error of the client (§5.4.2). It counts as a reset: the client
    /// can make the server reset as many streams as it could reset itself.
    pub(super) fn stream_error<'i>(&mut self, stream: StreamId, code: ErrorCode) -> Handled<'i> {
        self.count_reset()?;
        FrameEncoder::new(&mut self.control).reset(stream, code);
        let Some(index) = self.find(stream) else {
            return Ok(None);
        };
        self.remove(index);
        Ok(Some(Input::Reset { stream, code }))
    }

    fn count_reset(&mut self) -> Result<(), ConnectionError> {
        let allowed = self.resets.take();
        if allowed { Ok(()) } else { Err(ConnectionError::calm("too many resets")) }
    }

    pub(super) fn count_control_frame(&mut self) -> Result<(), ConnectionError> {
        let allowed = self.control_frames.take();
        if allowed { Ok(()) } else { Err(ConnectionError::calm("too many control frames")) }
    }
}

const WINDOW_OVERFLOW: ConnectionError =
    ConnectionError::new(ErrorCode::FLOW_CONTROL_ERROR, "a window that is too large");
/// Priorities that are kept for streams that are not open yet.
const MAX_EARLY_PRIORITIES: usize = 8;
