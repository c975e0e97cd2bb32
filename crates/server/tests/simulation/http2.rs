//! A client of HTTP/2 that opens windows slowly, changes their initial size, pings and resets.

use karez_http::h2::hpack::{BlockDecoder, BlockEncoder, CompressionError};
use karez_http::h2::{FrameHeader, HEADER_LENGTH, PREFACE, StreamId, flag, kind};
use karez_sys::simulation::{below, chance};

use crate::client::{Answers, Protocol};
use crate::draws::{length, one_of};
use crate::excuse::Excuse;
use crate::requests::{self, Asked};

const INITIAL_WINDOW_SIZE: u16 = 4;

/// The window of a stream and of the connection when nothing is to wait for it.
const OPEN: i64 = 1 << 20;

/// The size of every window at the start (RFC 9113 §6.9.2).
const DEFAULT_WINDOW: i64 = 65_535;

/// Frames that a client sends for nothing.
const MOST_PINGS: usize = 10;

pub(crate) struct Http2 {
    asked: Vec<Asked>,
    streams: Vec<Stream>,
    greeted: bool,
    received: Vec<u8>,
    /// Acknowledgements that have to be written.
    replies: Vec<u8>,
    decoder: BlockDecoder,
    /// What the server may send at most, by the settings that it may have applied.
    window: i64,
    initial: i64,
    /// The initial windows of settings that are not acknowledged, in order.
    unacknowledged: Vec<i64>,
    pings: usize,
    pongs: usize,
    goaway: bool,
    answers: Answers,
}

struct Stream {
    status: Option<u16>,
    length: Option<usize>,
    body: Vec<u8>,
    window: i64,
    state: State,
    /// A field block whose end has not come.
    block: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    ResetByClient,
    ResetByServer,
}

impl Http2 {
    pub(crate) fn new() -> Self {
        let count = 1 + below(6);
        Self {
            asked: (0..count).map(|_| requests::draw()).collect(),
            streams: Vec::new(),
            greeted: false,
            received: Vec::new(),
            replies: Vec::new(),
            decoder: BlockDecoder::new(4096),
            window: DEFAULT_WINDOW,
            initial: DEFAULT_WINDOW,
            unacknowledged: Vec::new(),
            pings: 0,
            pongs: 0,
            goaway: false,
            answers: Answers::default(),
        }
    }

    fn say_settings(&mut self, initial: i64, out: &mut Vec<u8>) {
        let mut payload = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        payload.extend(u32::try_from(initial).unwrap().to_be_bytes());
        frame(kind::SETTINGS, 0, 0, &payload, out);
        self.unacknowledged.push(initial);
    }

    fn ask(&mut self, out: &mut Vec<u8>) {
        let asked = &self.asked[self.streams.len()];
        let number = u32::try_from(self.streams.len()).unwrap() * 2 + 1;
        let mut block = Vec::new();
        let mut encoder = BlockEncoder::new(&mut block);
        encoder.field(":method", asked.method.as_bytes());
        encoder.field(":scheme", b"http").field(":authority", b"x");
        encoder.field(":path", asked.path.as_bytes());
        for (name, value) in &asked.fields {
            encoder.field(name, value.as_bytes());
        }
        let last = if asked.body.is_empty() { flag::END_STREAM } else { 0 };
        let (first, rest) =
            block.split_at(if chance(30) { below(block.len()) } else { block.len() });
        let whole = if rest.is_empty() { flag::END_HEADERS } else { 0 };
        frame(kind::HEADERS, last | whole, number, first, out);
        if !rest.is_empty() {
            frame(kind::CONTINUATION, flag::END_HEADERS, number, rest, out);
        }
        if !asked.body.is_empty() {
            let (first, rest) = asked.body.split_at(below(asked.body.len()));
            frame(kind::DATA, 0, number, first, out);
            frame(kind::DATA, flag::END_STREAM, number, rest, out);
        }
        // The settings that allow most may be in force already.
        let most = self.unacknowledged.iter().fold(self.initial, |most, size| most.max(*size));
        let (status, length, body, block) = (None, None, Vec::new(), Vec::new());
        self.streams.push(Stream { status, length, body, window: most, state: State::Open, block });
    }

    fn open_stream(&mut self, index: usize, by: i64, out: &mut Vec<u8>) {
        self.streams[index].window += by;
        let number = u32::try_from(index).unwrap() * 2 + 1;
        frame(kind::WINDOW_UPDATE, 0, number, &u32::try_from(by).unwrap().to_be_bytes(), out);
    }

    fn open_connection(&mut self, by: i64, out: &mut Vec<u8>) {
        self.window += by;
        frame(kind::WINDOW_UPDATE, 0, 0, &u32::try_from(by).unwrap().to_be_bytes(), out);
    }

    fn frame(&mut self, header: FrameHeader, payload: &[u8], excuse: Excuse) -> Result<(), String> {
        let acknowledges = header.flags & flag::ACK != 0;
        match header.kind {
            kind::SETTINGS if acknowledges => self.acknowledged()?,
            kind::SETTINGS => frame(kind::SETTINGS, flag::ACK, 0, &[], &mut self.replies),
            kind::PING if acknowledges => self.pongs += 1,
            kind::PING => frame(kind::PING, flag::ACK, 0, payload, &mut self.replies),
            kind::GOAWAY => {
                let code = payload.get(4..8).map(|code| code.to_vec());
                if excuse == Excuse::None {
                    return Err(format!("GOAWAY with the code {code:?}"));
                }
                self.goaway = true;
            }
            kind::WINDOW_UPDATE => {}
            kind::HEADERS | kind::CONTINUATION | kind::DATA | kind::RST_STREAM => {
                self.stream_frame(header, payload, excuse)?;
            }
            other => return Err(format!("a frame of type {other}")),
        }
        Ok(())
    }

    fn acknowledged(&mut self) -> Result<(), String> {
        if self.unacknowledged.is_empty() {
            return Err("settings that were not sent are acknowledged".to_owned());
        }
        let most = |size: i64, rest: &[i64]| rest.iter().fold(size, |most, other| most.max(*other));
        let before = most(self.initial, &self.unacknowledged);
        self.initial = self.unacknowledged.remove(0);
        let change = most(self.initial, &self.unacknowledged) - before;
        self.change_windows(change);
        Ok(())
    }

    fn change_windows(&mut self, change: i64) {
        let open = self.streams.iter_mut().filter(|stream| stream.state == State::Open);
        open.for_each(|stream| stream.window += change);
    }

    fn stream_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        excuse: Excuse,
    ) -> Result<(), String> {
        let number = header.stream.0;
        let index = usize::try_from(number / 2).unwrap();
        if header.kind == kind::DATA {
            self.window -= i64::from(header.length);
            if header.length > 0 && self.window < 0 {
                return Err("more bytes than the window of the connection".to_owned());
            }
        }
        let Self { streams, asked, decoder, answers, .. } = self;
        let stream = streams.get_mut(index).filter(|_| number % 2 == 1);
        let stream = stream.ok_or_else(|| format!("a frame on the stream {number}"))?;
        if matches!(header.kind, kind::HEADERS | kind::CONTINUATION) {
            stream.block.extend_from_slice(payload);
            if header.flags & flag::END_HEADERS != 0 {
                stream.take_head(decoder)?;
            }
        }
        match stream.state {
            State::Open => {}
            State::ResetByClient => return Ok(()),
            // After its response the server may reset a stream whose request it has not taken.
            State::Ended if header.kind == kind::RST_STREAM => return Ok(()),
            state => return Err(format!("a frame of type {} when {state:?}", header.kind)),
        }
        match header.kind {
            kind::RST_STREAM if excuse.is_all() => {
                stream.state = State::ResetByServer;
                answers.cut += 1;
            }
            kind::RST_STREAM => {
                return Err(format!("RST_STREAM {payload:?} for {}", asked[index].line()));
            }
            kind::DATA => {
                stream.window -= i64::from(header.length);
                // An empty frame needs no window (RFC 9113 §6.9), which SETTINGS may have made negative.
                if header.length > 0 && stream.window < 0 || stream.status.is_none() {
                    return Err("more bytes than the window of the stream, or no head".to_owned());
                }
                stream.body.extend_from_slice(payload);
            }
            _ => {}
        }
        let data_or_head = matches!(header.kind, kind::DATA | kind::HEADERS);
        if data_or_head && header.flags & flag::END_STREAM != 0 {
            stream.state = State::Ended;
            let head = asked[index].is_head() || stream.status == Some(304);
            if !head && stream.length.is_some_and(|length| length != stream.body.len()) {
                let (all, length) = (stream.length, stream.body.len());
                return Err(format!("{length} bytes of {all:?} for {}", asked[index].line()));
            }
            let status = stream.status.ok_or("an end without a head")?;
            answers.count(asked[index].check(status, &stream.body, excuse.is_all())?);
            stream.body = Vec::new();
        }
        Ok(())
    }
}

impl Stream {
    fn take_head(&mut self, decoder: &mut BlockDecoder) -> Result<(), String> {
        let (mut status, mut length) = (None, None);
        let block = std::mem::take(&mut self.block);
        let decoded = decoder.decode(&block, |name, value| {
            let number =
                std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok());
            match name {
                b":status" => status = number.and_then(|status| u16::try_from(status).ok()),
                b"content-length" => length = number,
                _ => {}
            }
            Ok::<(), CompressionError>(())
        });
        decoded.map_err(|error| format!("a field block: {error}"))?;
        (self.status, self.length) = (status, length);
        Ok(())
    }
}

impl Protocol for Http2 {
    fn speak(&mut self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        if !self.greeted {
            self.greeted = true;
            out.extend_from_slice(PREFACE);
            let initial = one_of(&[0, 1, 100, 5000, DEFAULT_WINDOW, OPEN]);
            self.say_settings(initial, out);
            // From its first byte on the server knows them.
            self.initial = initial;
            return true;
        }
        out.append(&mut self.replies);
        let open = |stream: &Stream| stream.state == State::Open;
        match below(12) {
            0..4 if self.streams.len() < self.asked.len() => self.ask(out),
            4 | 5 if self.streams.iter().any(open) => {
                let index = below(self.streams.len());
                if self.streams[index].window < OPEN {
                    self.open_stream(index, i64::try_from(length(50_000)).unwrap(), out);
                }
            }
            6 | 7 if self.window < OPEN => {
                self.open_connection(i64::try_from(length(100_000)).unwrap(), out);
            }
            8 if self.pings < MOST_PINGS => {
                self.pings += 1;
                frame(kind::PING, 0, 0, &[7; 8], out);
            }
            9 if self.unacknowledged.is_empty() => {
                let initial = one_of(&[0, 1, 100, 5000, DEFAULT_WINDOW, OPEN]);
                let more = initial - self.initial;
                self.say_settings(initial, out);
                if more > 0 {
                    self.change_windows(more);
                }
            }
            10 if !self.streams.is_empty() && chance(10) => {
                let index = below(self.streams.len());
                if open(&self.streams[index]) {
                    self.streams[index].state = State::ResetByClient;
                    self.answers.cut += 1;
                    let number = u32::try_from(index).unwrap() * 2 + 1;
                    frame(kind::RST_STREAM, 0, number, &8_u32.to_be_bytes(), out);
                }
            }
            _ => {}
        }
        out.len() > before
    }

    fn receive(&mut self, bytes: &[u8], excuse: Excuse) -> Result<(), String> {
        self.received.extend_from_slice(bytes);
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_LENGTH>() {
            let header = FrameHeader::decode(*header);
            let length = usize::try_from(header.length).unwrap();
            let Some((payload, behind)) = behind.split_at_checked(length) else { break };
            self.frame(header, payload, excuse)?;
            rest = behind;
        }
        self.received = rest.to_vec();
        Ok(())
    }

    fn end(&mut self, _regular: bool, excuse: Excuse) -> Result<(), String> {
        let begun = |stream: &Stream| stream.state == State::Open && stream.status.is_some();
        let excused = match excuse {
            Excuse::None => self.is_done(),
            Excuse::Eviction { .. } => !self.streams.iter().any(begun),
            Excuse::All => true,
        };
        if !excused {
            return Err(format!("an end in place of responses: {}", self.describe()));
        }
        let open = self.streams.iter().filter(|stream| stream.state == State::Open).count();
        self.answers.cut += u32::try_from(open + self.asked.len() - self.streams.len()).unwrap();
        Ok(())
    }

    /// Asks for everything, and opens all windows.
    fn settle(&mut self, out: &mut Vec<u8>) {
        if !self.greeted {
            self.speak(out);
        }
        out.append(&mut self.replies);
        while self.streams.len() < self.asked.len() && !self.goaway {
            self.ask(out);
        }
        if self.window < OPEN {
            self.open_connection(2 * OPEN, out);
        }
        for index in 0..self.streams.len() {
            // The server may not have applied a setting that allows more.
            let Stream { state, window, .. } = self.streams[index];
            if state == State::Open && window < 2 * OPEN {
                self.open_stream(index, 4 * OPEN, out);
            }
        }
    }

    fn is_done(&self) -> bool {
        let asked = self.streams.len() == self.asked.len() || self.goaway;
        let ended = self.streams.iter().all(|stream| stream.state != State::Open);
        let settled = self.unacknowledged.is_empty() && self.pings == self.pongs;
        let rest = self.replies.is_empty() && self.received.is_empty();
        self.greeted && asked && ended && rest && (settled || self.goaway)
    }

    fn may_half_close(&self) -> bool {
        false
    }

    fn has_to_end(&self) -> bool {
        false
    }

    fn answers(&self) -> Answers {
        self.answers
    }

    fn describe(&self) -> String {
        let one = |(index, stream): (usize, &Stream)| {
            let Stream { state, window, body, .. } = stream;
            format!("{} {state:?} window {window} body {}", self.asked[index].line(), body.len())
        };
        let streams: Vec<_> = self.streams.iter().enumerate().map(one).collect();
        let (all, window) = (self.asked.len(), self.window);
        let (pings, pongs, waits) = (self.pings, self.pongs, self.unacknowledged.len());
        let rest = self.received.len();
        format!(
            "HTTP/2, window {window}, {all} requests, pings {pings} {pongs}, settings {waits}, \
             {rest} bytes of a frame, {streams:#?}"
        )
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap();
    let header = FrameHeader { length, kind, flags, stream: StreamId(stream) };
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(payload);
}
