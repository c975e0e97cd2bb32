//! A response body of memory and parts of files.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use karez_transfer::{FileToSocket, OnMiss, Settings, SharedFile, Via};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::handle::{Decision, Route};
use crate::placeholder;
use crate::queue::Queue;
use crate::read::Reader;
use crate::report::Observer;

/// The largest part of a file that is always read: below some KiB copying costs less than passing pages.
const READ_MAX: u64 = 16 << 10;

type Boxed = Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error> + Send>>;

/// A body of memory and parts of files. It is made by [`SendFile`](crate::SendFile) and `ServeDir`.
#[derive(Debug)]
pub struct Body {
    parts: VecDeque<Part>,
    remaining: u64,
    route: Option<Arc<Route>>,
}

pub(crate) enum Part {
    Memory(Bytes),
    File(FilePart),
    Read(Box<Reader>),
    Promised(Promise),
    /// A body of another type, behind which there is no other part.
    Other(Boxed),
}

/// A part of a file of which no byte has been asked for.
#[derive(Debug)]
pub(crate) struct FilePart {
    pub(crate) file: SharedFile,
    pub(crate) range: Range<u64>,
    pub(crate) settings: Settings,
    pub(crate) observer: Observer,
}

/// A part of a file that the socket sends.
#[derive(Debug)]
pub(crate) struct Promise {
    queue: Arc<Queue>,
    number: u64,
    remaining: u64,
}

impl Body {
    /// Returns a body without bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(VecDeque::new(), None)
    }

    pub(crate) fn of(parts: VecDeque<Part>, route: Option<Arc<Route>>) -> Self {
        let remaining = parts.iter().map(Part::remaining).sum();
        Self { parts, remaining, route }
    }

    /// Returns a body with the frames of another one, for a service whose other responses are no files.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let boxed: Boxed = Box::pin(IoErrors(Box::pin(body)));
        Self::of(VecDeque::from([Part::Other(boxed)]), None)
    }

    /// Turns a part of a file into one that is read or sent.
    fn begin(&self, part: FilePart) -> io::Result<Part> {
        let FilePart { file, range, settings, observer } = part;
        let length = range.end.saturating_sub(range.start);
        let small = settings.via == Via::Auto && length <= READ_MAX;
        let decision = self.route.as_ref().map_or(Decision::Undecided, |route| route.decision());
        let reason = match decision {
            Decision::Attached(queue) if !small => {
                let settings = settings.on_miss(OnMiss::Report);
                let transfer = FileToSocket::new(file, range, settings);
                let number = queue.push(transfer, observer)?;
                return Ok(Part::Promised(Promise { queue, number, remaining: length }));
            }
            Decision::Read(reason) => Some(reason),
            Decision::Attached(_) | Decision::Undecided => None,
        };
        Ok(Part::Read(Box::new(Reader::new(file, range, (settings.via, reason), observer))))
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let Some(mut part) = self.parts.pop_front() else {
                return Poll::Ready(None);
            };
            if let Part::File(file) = part {
                part = self.begin(file)?;
            }
            let polled = part.poll_frame(context);
            let ended = matches!(polled, Poll::Ready(None | Some(Err(_)))) || part.remaining() == 0;
            if !ended || matches!(part, Part::Other(_)) {
                self.parts.push_front(part);
            }
            match ready!(polled) {
                None if self.parts.is_empty() => return Poll::Ready(None),
                None if matches!(self.parts.front(), Some(Part::Other(_))) => {
                    return Poll::Ready(None);
                }
                None => {}
                Some(frame) => return Poll::Ready(Some(frame)),
            }
        }
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::of(VecDeque::from([Part::Memory(bytes.into())]), None)
    }
}

impl Part {
    fn remaining(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(part) => part.range.end.saturating_sub(part.range.start),
            Self::Read(reader) => reader.remaining(),
            Self::Promised(promise) => promise.remaining,
            Self::Other(_) => 0,
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Self::Other(body) = self {
            return body.as_mut().poll_frame(context);
        }
        if self.remaining() == 0 {
            return Poll::Ready(None);
        }
        let bytes = match self {
            Self::Memory(bytes) => Ok(std::mem::take(bytes)),
            Self::Read(reader) => ready!(reader.poll_read(context)),
            Self::Promised(promise) => promise.next(),
            Self::File(_) | Self::Other(_) => return Poll::Ready(None),
        };
        Poll::Ready(Some(bytes.map(Frame::data)))
    }
}

impl Promise {
    /// Promises bytes, and returns a placeholder for them.
    fn next(&mut self) -> io::Result<Bytes> {
        let count = usize::try_from(self.remaining).unwrap_or(placeholder::MAX);
        let bytes = placeholder::standing_for(count);
        self.queue.promise(self.number, bytes.len() as u64)?;
        self.remaining -= bytes.len() as u64;
        Ok(bytes)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.queue.complete(self.number);
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let polled = this.poll_next(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let count = frame.data_ref().map_or(0, Bytes::len);
            this.remaining = this.remaining.saturating_sub(count as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self.parts.front() {
            Some(Part::Other(body)) => body.is_end_stream(),
            _ => self.remaining == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.parts.front() {
            Some(Part::Other(body)) => body.size_hint(),
            _ => SizeHint::with_exact(self.remaining),
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
            Self::File(part) => part.fmt(f),
            Self::Read(reader) => reader.fmt(f),
            Self::Promised(promise) => promise.fmt(f),
            Self::Other(_) => f.write_str("Other"),
        }
    }
}

/// A body whose errors are those of I/O.
struct IoErrors<B>(Pin<Box<B>>);

impl<B> http_body::Body for IoErrors<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = self.get_mut().0.as_mut().poll_frame(context);
        polled.map(|frame| frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
