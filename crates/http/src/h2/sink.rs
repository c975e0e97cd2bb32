//! The receiver of a connection's output: bytes in memory, and ranges of files.
//!
//! The connection knows neither sockets nor files. It chooses the next bytes and appends them to a
//! [`UnitSink`]: control frames and heads as bytes, bodies of files as units. A unit is a frame header of
//! nine octets and a range of a file, which the sink sends behind the header.

use std::borrow::Cow;
use std::ops::Range;

use super::frame::{HEADER_LENGTH, StreamId};

/// Queues the output of a connection, in order.
///
/// Units are a queue of their own kind: the sink may give those of a stream back that have not begun,
/// because its pages have to be read first ([`UnitEvent::Cold`]), because the file has become shorter
/// ([`UnitEvent::Short`]), or because it is asked to ([`cancel`](Self::cancel)). Each time it gives back
/// all of the stream's that have not begun, and the order of everything else stays.
pub trait UnitSink<F> {
    /// Returns how many bytes may be appended now. The last frame may exceed it.
    fn room(&self) -> u64;

    /// Appends bytes.
    fn bytes(&mut self, bytes: Vec<u8>);

    /// Appends a unit: a frame header and a range of a file. The ranges of a file follow each other,
    /// except that a range that was given back is appended again. An empty range ends a stream.
    fn unit(&mut self, stream: StreamId, header: [u8; HEADER_LENGTH], file: &F, range: Range<u64>);

    /// Takes back the units of a stream that have not begun. Returns how many bytes of files they had.
    fn cancel(&mut self, stream: StreamId) -> u64;

    /// Asks for [`UnitEvent::Sent`] when everything appended so far has been sent or given back.
    /// Called when a response is complete, and within one before bytes follow a file.
    fn notify_sent(&mut self, stream: StreamId);

    /// Closes a file: none of its units is left.
    fn close(&mut self, file: F);
}

/// A change of a stream's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitEvent {
    /// The pages of a unit are not in memory: the units that have not begun were given back, with so
    /// many bytes of the file. [`Warm`](Self::Warm) follows.
    Cold {
        /// Bytes of files in the units given back.
        returned: u64,
    },
    /// The pages have been read.
    Warm,
    /// The file has become shorter: the frame was completed with zeros, and the units behind it were
    /// given back.
    Short {
        /// Bytes of files in the units given back.
        returned: u64,
    },
    /// The answer to [`UnitSink::notify_sent`], once for each call.
    Sent,
}

/// The body of a response.
#[derive(Debug)]
pub enum StreamBody<F> {
    /// None: a response to HEAD, 204, 304.
    Empty,
    /// Bytes in memory.
    Bytes(Cow<'static, [u8]>),
    /// A range of a file.
    File(F, Range<u64>),
    /// Parts that are appended later.
    Stream,
}

/// A part of a body.
#[derive(Debug)]
pub enum StreamPart<F> {
    /// Bytes in memory.
    Bytes(Cow<'static, [u8]>),
    /// A range of a file.
    File(F, Range<u64>),
}

impl<F> StreamPart<F> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File(_, range) => range.is_empty(),
        }
    }

    /// Returns the file, if it is one.
    pub(super) fn into_file(self) -> Option<F> {
        match self {
            Self::Bytes(_) => None,
            Self::File(file, _) => Some(file),
        }
    }
}
