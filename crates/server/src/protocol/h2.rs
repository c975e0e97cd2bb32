//! HTTP/2 on a connection: the state machine of `karez_http::h2`, whose output are units of the outbox
//! (RFC 9113).
//!
//! It counts the bytes of each response that were sent, and its files; the exchanges, their jobs and
//! deadlines are those of the connection (`connection/http2.rs`).
//!
//! # Limitations
//!
//! Bytes of a response in memory count as sent when their frame is in the outbox.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

use karez_http::h2::{
    self, Connection, ConnectionLimits, ErrorCode, StreamBody, StreamId, StreamPart, UnitSink,
    Waiting,
};
use karez_http::{Body, BodyPart, Limits, ResponseHead};
use karez_transfer::{FileId, FileToSocket, Mark, OnShort, Outbox, Report, Tag, UnitEvent, Via};

use crate::file_part::FilePart;

/// Streams at once: as many as a connection may have jobs.
const MAX_STREAMS: u32 = 64;

/// The first line of the client's preface (RFC 9113 §3.4), which no request of HTTP/1.1 begins with.
pub(crate) const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0";

/// The state of HTTP/2 on one connection.
pub(crate) struct H2 {
    connection: Connection<FileId>,
    responses: Vec<SentResponse>,
    max_discarded_body: u64,
    /// Whether reports of files are kept.
    explains: bool,
}

/// The counters of a response.
struct SentResponse {
    stream: StreamId,
    /// Bytes of its body in memory, and how many of them are in no frame.
    memory: u64,
    unframed: u64,
    /// Bytes of files in units that were appended and not given back.
    units: u64,
    /// Its files that are open.
    files: Vec<FileId>,
    reports: Vec<Report>,
    /// The via of the last of its files of which bytes were sent.
    via: Option<Via>,
    /// Its stream was closed before its end: the rest is not sent.
    cut: bool,
}

/// The outbox of a connection as the sink of its frames.
struct OutboxUnits<'a> {
    outbox: &'a mut Outbox,
    responses: &'a mut [SentResponse],
    explains: bool,
}

impl OutboxUnits<'_> {
    fn response(&mut self, stream: StreamId) -> Option<&mut SentResponse> {
        self.responses.iter_mut().find(|response| response.stream == stream)
    }
}

impl UnitSink<FileId> for OutboxUnits<'_> {
    fn room(&self) -> u64 {
        self.outbox.room()
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        self.outbox.push_bytes(bytes);
    }

    fn unit(&mut self, stream: StreamId, header: [u8; 9], file: &FileId, range: Range<u64>) {
        let length = range.end - range.start;
        self.outbox.push_unit(tag(stream), &header, *file, length, OnShort::ZeroFill);
        if let Some(response) = self.response(stream) {
            response.units += length;
        }
    }

    fn cancel(&mut self, stream: StreamId) -> u64 {
        let returned = self.outbox.cancel(tag(stream));
        if let Some(response) = self.response(stream) {
            response.units -= returned;
        }
        returned
    }

    fn notify_sent(&mut self, stream: StreamId) {
        self.outbox.push_mark(Mark(stream.0.into()));
    }

    fn close(&mut self, file: FileId) {
        let closed = self.outbox.close_file(file);
        let owner = self.responses.iter_mut().find(|response| response.files.contains(&file));
        if let Some(owner) = owner {
            owner.files.retain(|open| *open != file);
            let report = closed.as_ref().map(FileToSocket::report).filter(|it| it.bytes > 0);
            owner.via = report.map(|report| report.effective).or(owner.via);
            owner
                .reports
                .extend(closed.filter(|_| self.explains).map(|transfer| transfer.report().clone()));
        }
    }
}

fn tag(stream: StreamId) -> Tag {
    Tag(stream.0.into())
}

impl H2 {
    pub(crate) fn new(explains: bool) -> Self {
        let mut limits = ConnectionLimits::default();
        limits.streams = MAX_STREAMS;
        let max_discarded_body = Limits::default().max_discarded_body;
        let connection = Connection::new(limits);
        Self { connection, responses: Vec::new(), max_discarded_body, explains }
    }

    /// Takes bytes of the client off the front of `input`, up to the next input; `None` at the end.
    pub(crate) fn receive<'i>(
        &mut self,
        now: Instant,
        input: &mut &'i [u8],
    ) -> Option<h2::Input<'i>> {
        let input = self.connection.receive(now, input);
        match &input {
            Some(h2::Input::Reset { stream, .. }) => self.cut(*stream),
            Some(h2::Input::Error(_)) => self.cut_all(),
            _ => {}
        }
        input
    }

    /// Discards a part of a request's body, of which so many bytes were discarded before. Returns false
    /// if that is too much: then the client may send no more of it.
    pub(crate) fn discard(&mut self, stream: StreamId, length: usize, before: u64) -> bool {
        let goes_on = before + length as u64 <= self.max_discarded_body;
        if goes_on {
            self.connection.release(stream, length);
        }
        goes_on
    }

    /// Sends a response head, and a body or the part of it that is known. Returns the length of the head
    /// in bytes. `bodiless`: the request was HEAD.
    pub(crate) fn respond(
        &mut self,
        stream: StreamId,
        head: &ResponseHead,
        (body, bodiless): (Body<FilePart>, bool),
        outbox: &mut Outbox,
    ) -> u64 {
        let mut block = Vec::new();
        h2::encode(head, &mut block);
        let length = block.len() as u64;
        let (memory, unframed, units) = (0, 0, 0);
        let (files, reports, via, cut) = (Vec::new(), Vec::new(), None, false);
        #[rustfmt::skip]
        self.responses.push(SentResponse { stream, memory, unframed, units, files, reports, via, cut });
        match body {
            _ if bodiless => {
                self.connection.respond(stream, block, StreamBody::Empty);
            }
            Body::Bytes(bytes) => {
                self.count_memory(stream, bytes.len());
                self.connection.respond(stream, block, StreamBody::Bytes(Cow::Owned(bytes)));
            }
            Body::File(file) => {
                let range = 0..file.length;
                let file = self.open_file(stream, file, outbox);
                self.connection.respond(stream, block, StreamBody::File(file, range));
            }
            Body::Parts(parts) => {
                self.connection.respond(stream, block, StreamBody::Stream);
                self.append(stream, parts, true, outbox);
            }
            Body::Stream | Body::Sized => {
                self.connection.respond(stream, block, StreamBody::Stream);
            }
            _ => {
                self.connection.respond(stream, block, StreamBody::Empty);
            }
        }
        length
    }

    /// Appends pieces of a body; with `end` the last of them is the last of the body.
    pub(crate) fn append(
        &mut self,
        stream: StreamId,
        parts: Vec<BodyPart<FilePart>>,
        end: bool,
        outbox: &mut Outbox,
    ) {
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            let part = match part {
                BodyPart::Bytes(bytes) => {
                    self.count_memory(stream, bytes.len());
                    StreamPart::Bytes(Cow::Owned(bytes))
                }
                BodyPart::File(file) => {
                    let range = 0..file.length;
                    StreamPart::File(self.open_file(stream, file, outbox), range)
                }
            };
            self.connection.append(stream, part, end && parts.peek().is_none());
        }
    }

    /// Ends a body that was appended.
    pub(crate) fn finish(&mut self, stream: StreamId) {
        self.connection.append(stream, StreamPart::Bytes(Cow::Owned(Vec::new())), true);
    }

    /// Resets a stream, for a reason of the server.
    pub(crate) fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.cut(stream);
        self.connection.reset(stream, code);
    }

    /// Handles a report of the outbox. Returns whether the response of the stream has ended by it. To be
    /// followed by [`fill`](Self::fill).
    pub(crate) fn unit_event(&mut self, stream: StreamId, event: UnitEvent) -> bool {
        let event = match event {
            UnitEvent::Cold { returned } => {
                self.count_returned(stream, returned);
                h2::UnitEvent::Cold { returned }
            }
            UnitEvent::Short { returned } | UnitEvent::Changed { returned } => {
                self.count_returned(stream, returned);
                self.cut(stream);
                h2::UnitEvent::Short { returned }
            }
            _ => h2::UnitEvent::Warm,
        };
        self.connection.unit_event(stream, event)
    }

    /// Handles a mark that the outbox has passed. Returns whether the response of the stream has ended.
    pub(crate) fn sent(&mut self, stream: StreamId) -> bool {
        self.connection.unit_event(stream, h2::UnitEvent::Sent)
    }

    /// Appends the frames that may be sent to the outbox, as long as it has room.
    pub(crate) fn fill(&mut self, outbox: &mut Outbox) {
        let Self { connection, responses, explains, .. } = self;
        connection.fill(&mut OutboxUnits { outbox, responses, explains: *explains });
        for response in responses.iter_mut().filter(|it| it.unframed > 0 && !it.cut) {
            response.unframed = connection.buffered(response.stream);
        }
    }

    /// Returns whether all bytes in memory of a response have been framed, and its files sent.
    pub(crate) fn is_framed(&self, stream: StreamId) -> bool {
        let is_done = |response: &SentResponse| response.unframed == 0 && response.files.is_empty();
        self.responses.iter().all(|response| response.stream != stream || is_done(response))
    }

    /// Returns how many bytes of a body were sent.
    pub(crate) fn sent_bytes(&self, stream: StreamId) -> u64 {
        let response = self.responses.iter().find(|response| response.stream == stream);
        response.map_or(0, |response| response.memory - response.unframed + response.units)
    }

    /// Forgets a response that has ended. Returns how many bytes of its body were sent, the via of its last
    /// file, and the reports of its files.
    pub(crate) fn end(&mut self, stream: StreamId) -> (u64, Option<Via>, Vec<Report>) {
        let sent = self.sent_bytes(stream);
        let place = self.responses.iter().position(|response| response.stream == stream);
        let ended = place.map(|place| self.responses.swap_remove(place));
        if self.responses.is_empty() {
            self.responses = Vec::new(); // an idle connection keeps no memory
        }
        let (via, reports) = ended.map(|it| (it.via, it.reports)).unwrap_or_default();
        (sent, via, reports)
    }

    /// Begins to end the connection by GOAWAY. The first call refuses no stream, the second all that are
    /// not open.
    pub(crate) fn shut_down(&mut self) {
        self.connection.shut_down();
    }

    /// Ends the connection by GOAWAY with an error, and closes all streams.
    pub(crate) fn abort(&mut self, code: ErrorCode, reason: &'static str) {
        self.cut_all();
        self.connection.abort(code, reason);
    }

    /// Returns whether no request is under way and nothing is to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.connection.is_idle()
    }

    /// Returns whether the connection is to be closed behind the outbox.
    pub(crate) fn is_finished(&self) -> bool {
        self.connection.is_finished()
    }

    /// Returns the causes for which the connection waits.
    pub(crate) fn waiting(&self) -> Waiting {
        self.connection.waiting()
    }

    /// Returns the streams whose responses wait for a window of the client.
    pub(crate) fn streams_without_window(&self) -> impl Iterator<Item = StreamId> {
        self.connection.streams_without_window()
    }

    /// Returns whether a response waits for a larger window than the client has opened.
    pub(crate) fn avoids_small_window(&self) -> bool {
        self.connection.avoids_small_window()
    }

    /// Lets the next [`fill`](Self::fill) use a window that is small.
    pub(crate) fn use_small_windows(&mut self) {
        self.connection.use_small_windows();
    }

    /// Ends the count of bytes in memory, of which the connection knows none from here on.
    fn cut(&mut self, stream: StreamId) {
        let response = self.responses.iter_mut().find(|response| response.stream == stream);
        response.into_iter().for_each(|response| response.cut = true);
    }

    fn cut_all(&mut self) {
        self.responses.iter_mut().for_each(|response| response.cut = true);
    }

    fn open_file(&mut self, stream: StreamId, part: FilePart, outbox: &mut Outbox) -> FileId {
        let file = outbox.open_file(part.into_transfer());
        if let Some(response) = self.responses.iter_mut().find(|it| it.stream == stream) {
            response.files.push(file);
        }
        file
    }

    fn count_memory(&mut self, stream: StreamId, length: usize) {
        if let Some(response) = self.responses.iter_mut().find(|it| it.stream == stream) {
            response.memory += length as u64;
            response.unframed += length as u64;
        }
    }

    fn count_returned(&mut self, stream: StreamId, returned: u64) {
        if let Some(response) = self.responses.iter_mut().find(|it| it.stream == stream) {
            response.units -= returned;
        }
    }
}
