//! A plain HTTP/2 client: it sends any frame, and keeps the responses of its streams.

use karez_http::h2::hpack::{BlockDecoder, BlockEncoder, CompressionError};
use karez_http::h2::{
    ErrorCode, FrameEncoder, FrameHeader, HEADER_LENGTH, PREFACE, StreamId, flag, kind,
};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use crate::server::Server;
use crate::socket::Socket;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub const INITIAL_WINDOW: u16 = 4;

/// One connection.
pub struct Http2Client {
    pub stream: Socket,
    decoder: BlockDecoder,
    pub responses: BTreeMap<u32, Http2Response>,
    /// The last stream that the server serves, and its reason to go away.
    pub goaway: Option<(u32, ErrorCode)>,
    /// The settings of the server have arrived.
    pub has_settings: bool,
    /// Acknowledgements of PING.
    pub pongs: usize,
    /// The streams of which DATA arrived, in order.
    pub order: Vec<u32>,
    /// The windows that the server opens by WINDOW_UPDATE.
    pub windows: BTreeMap<u32, u32>,
    /// Windows are opened again as their bytes arrive.
    pub opens_windows: bool,
    /// SETTINGS and PING are acknowledged.
    pub acknowledges: bool,
    /// The connection may end within a frame.
    pub may_be_cut: bool,
}

/// The response on a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http2Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub ended: bool,
    pub reset: Option<ErrorCode>,
}

impl Http2Response {
    pub fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }
}

impl Http2Client {
    /// Connects, and sends the preface and settings.
    pub fn connect(server: &Server, settings: &[(u16, u32)]) -> Self {
        Self::over(Socket::connect(server.address), settings)
    }

    /// Sends the preface and settings.
    pub fn over(socket: Socket, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(socket);
        let mut bytes = PREFACE.to_vec();
        FrameEncoder::new(&mut bytes).settings(settings);
        client.send(&bytes);
        client
    }

    /// Connects, and sends nothing.
    pub fn connect_silently(address: SocketAddr) -> Self {
        Self::silent(Socket::connect(address))
    }

    /// Sends nothing.
    pub fn silent(stream: Socket) -> Self {
        Self {
            stream,
            decoder: BlockDecoder::new(4096),
            responses: BTreeMap::new(),
            goaway: None,
            has_settings: false,
            pongs: 0,
            order: Vec::new(),
            windows: BTreeMap::new(),
            opens_windows: true,
            acknowledges: true,
            may_be_cut: false,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&frame(kind, flags, stream, payload));
    }

    /// Sends a GET.
    pub fn get(&mut self, stream: u32, path: &str) {
        self.send(&request(stream, "GET", path, &[], true));
    }

    pub fn window(&mut self, stream: u32, increment: u32) {
        self.frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
    }

    pub fn reset(&mut self, stream: u32) {
        self.frame(kind::RST_STREAM, 0, stream, &ErrorCode::CANCEL.0.to_be_bytes());
    }

    /// Returns the response on a stream as far as it has arrived.
    pub fn response(&self, stream: u32) -> Http2Response {
        self.responses.get(&stream).cloned().unwrap_or_default()
    }

    /// Sends a request and reads its response to the end.
    pub fn request(
        &mut self,
        stream: u32,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Http2Response {
        self.send(&request(stream, method, path, fields, true));
        self.finish(stream)
    }

    /// Reads until a response is over.
    pub fn finish(&mut self, stream: u32) -> Http2Response {
        assert!(
            self.read_until(|client| client.response(stream).is_over()),
            "the connection ended"
        );
        self.response(stream)
    }

    /// Reads frames until the condition holds. Returns whether it does at the end of the connection.
    pub fn read_until(&mut self, mut holds: impl FnMut(&Self) -> bool) -> bool {
        while !holds(self) {
            if !self.read_frame() {
                return holds(self);
            }
        }
        true
    }

    /// Reads to the end of the connection.
    pub fn read_to_end(&mut self) {
        self.read_until(|_| false);
    }

    /// Reads one frame and answers it; false at the end of the connection.
    pub fn read_frame(&mut self) -> bool {
        let mut header = [0; HEADER_LENGTH];
        if !self.read_exact(&mut header) {
            return false;
        }
        let header = FrameHeader::decode(header);
        let mut payload = vec![0; header.length as usize];
        let whole = self.read_exact(&mut payload);
        assert!(whole || self.may_be_cut, "the connection ended within a frame");
        if whole {
            self.take(header, &payload);
        }
        whole
    }

    /// Fills the buffer; false if the connection ends before.
    fn read_exact(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read_exact(buffer) {
            Ok(()) => true,
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => false,
                _ => panic!("{error}"),
            },
        }
    }

    fn take(&mut self, header: FrameHeader, payload: &[u8]) {
        let stream = header.stream.0;
        let is = |wanted: u8| header.flags & wanted != 0;
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match header.kind {
            kind::SETTINGS if !is(flag::ACK) && !self.acknowledges => self.has_settings = true,
            kind::SETTINGS if !is(flag::ACK) => {
                self.has_settings = true;
                // The server may have closed the connection.
                let _closed = self.stream.write_all(&frame(kind::SETTINGS, flag::ACK, 0, b""));
            }
            kind::PING if is(flag::ACK) => self.pongs += 1,
            kind::PING if self.acknowledges => {
                let _closed = self.stream.write_all(&frame(kind::PING, flag::ACK, 0, payload));
            }
            kind::HEADERS => {
                assert!(is(flag::END_HEADERS), "heads fit in a frame");
                let response = self.responses.entry(stream).or_default();
                assert_eq!(response.status, 0, "one head");
                response.ended |= is(flag::END_STREAM);
                let (status, fields) = fields(&mut self.decoder, payload);
                (response.status, response.fields) = (status, fields);
            }
            kind::DATA => {
                let response = self.responses.entry(stream).or_default();
                assert!(response.status > 0 && !response.is_over(), "DATA within a response");
                response.body.extend_from_slice(payload);
                response.ended |= is(flag::END_STREAM);
                let open = !response.ended;
                self.order.push(stream);
                if self.opens_windows && !payload.is_empty() {
                    let count = header.length.to_be_bytes();
                    let mut bytes = frame(kind::WINDOW_UPDATE, 0, 0, &count);
                    if open {
                        bytes.extend(frame(kind::WINDOW_UPDATE, 0, stream, &count));
                    }
                    let _closed = self.stream.write_all(&bytes);
                }
            }
            kind::RST_STREAM => {
                let response = self.responses.entry(stream).or_default();
                response.reset = Some(ErrorCode(word(0)));
            }
            kind::WINDOW_UPDATE => *self.windows.entry(stream).or_default() += word(0),
            kind::GOAWAY => self.goaway = Some((word(0), ErrorCode(word(4)))),
            _ => {}
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let header = FrameHeader { length, kind, flags, stream: StreamId(stream) };
    [&header.encode()[..], payload].concat()
}

/// Returns the HEADERS of a request; with `ends` it has no body.
pub fn request(
    stream: u32,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    ends: bool,
) -> Vec<u8> {
    let mut block = Vec::new();
    let mut encoder = BlockEncoder::new(&mut block);
    let pseudo =
        [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)];
    for (name, value) in pseudo.iter().chain(fields) {
        encoder.field(name, value.as_bytes());
    }
    let end = if ends { flag::END_STREAM } else { 0 };
    frame(kind::HEADERS, flag::END_HEADERS | end, stream, &block)
}

fn fields(decoder: &mut BlockDecoder, block: &[u8]) -> (u16, Vec<(String, String)>) {
    let (mut status, mut fields) = (0, Vec::new());
    let decoded = decoder.decode(block, |name, value| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match name {
            b":status" => status = text(value).parse().unwrap(),
            name => fields.push((text(name), text(value))),
        }
        Ok::<_, CompressionError>(())
    });
    decoded.unwrap();
    (status, fields)
}
