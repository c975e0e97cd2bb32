//! A client of HTTP/1.1 that reports each end of a connection.

use std::thread;
use std::time::{Duration, Instant};

use crate::response::{Head, Response};
use crate::socket::{End, PART, Socket};

/// Reads a body in parts with pauses.
#[derive(Clone, Copy)]
pub struct Pace {
    pub part: usize,
    pub pause: Duration,
}

pub struct Http1 {
    pub socket: Socket,
    /// Received bytes; those before `at` are used.
    buffer: Vec<u8>,
    at: usize,
}

impl Http1 {
    pub fn over(socket: Socket) -> Self {
        Self { socket, buffer: Vec::new(), at: 0 }
    }

    fn receive(&mut self) -> Result<(), End> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        self.socket.receive(&mut self.buffer, PART)
    }

    /// Reads to this byte sequence, and returns the bytes with it.
    fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, End> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(place) = rest.windows(end.len()).position(|window| window == end) {
                let bytes = rest[..place + end.len()].to_vec();
                self.at += bytes.len();
                return Ok(bytes);
            }
            self.receive()?;
        }
    }

    pub fn head(&mut self) -> Result<Head, End> {
        let bytes = self.until(b"\r\n\r\n")?;
        let odd =
            || End::Broken(format!("no head: {}", bytes[..bytes.len().min(200)].escape_ascii()));
        let text = std::str::from_utf8(&bytes).map_err(|_| odd())?;
        let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
        let status =
            lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or_else(odd)?;
        let status = status.get(..3).and_then(|status| status.parse().ok()).ok_or_else(odd)?;
        let field = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        };
        let fields = lines.map(field).collect::<Option<_>>().ok_or_else(odd)?;
        Ok(Head { status, fields })
    }

    /// Reads a response. If the connection ends first, returns the part that has arrived, too.
    pub fn response(
        &mut self,
        is_head: bool,
        pace: Option<Pace>,
    ) -> Result<Response, Box<(Option<Response>, End)>> {
        let head = self.head().map_err(|end| Box::new((None, end)))?;
        let mut response = Response { headed: Instant::now(), head, body: Vec::new() };
        if is_head || matches!(response.head.status, 204 | 304) {
            return Ok(response);
        }
        let read = if let Some(length) = response.head.length() {
            self.counted(length as usize, pace, &mut response.body)
        } else if response.head.field("transfer-encoding") == Some("chunked") {
            self.chunked(&mut response.body)
        } else {
            Err(End::Broken("a body without a length".to_owned()))
        };
        match read {
            Ok(()) => Ok(response),
            Err(end) => Err(Box::new((Some(response), end))),
        }
    }

    /// Reads a head and at most so many bytes of the body.
    pub fn part(&mut self, most: usize) -> Option<Response> {
        let head = self.head().ok()?;
        let mut response = Response { headed: Instant::now(), head, body: Vec::new() };
        let length = response.head.length()? as usize;
        let _ended = self.counted(length.min(most), None, &mut response.body);
        Some(response)
    }

    fn counted(
        &mut self,
        length: usize,
        pace: Option<Pace>,
        into: &mut Vec<u8>,
    ) -> Result<(), End> {
        let mut paused = 0;
        while into.len() < length {
            let wanted = length - into.len();
            if self.at == self.buffer.len() && wanted >= PART {
                self.socket.receive(into, wanted)?;
            } else {
                if self.at == self.buffer.len() {
                    self.receive()?;
                }
                let rest = &self.buffer[self.at..];
                let part = &rest[..rest.len().min(wanted)];
                into.extend_from_slice(part);
                self.at += part.len();
            }
            if let Some(pace) = pace.filter(|pace| into.len() - paused >= pace.part) {
                paused = into.len();
                thread::sleep(pace.pause);
            }
        }
        Ok(())
    }

    fn chunked(&mut self, into: &mut Vec<u8>) -> Result<(), End> {
        loop {
            let line = self.until(b"\r\n")?;
            let size = std::str::from_utf8(&line).ok();
            let size = size.and_then(|size| usize::from_str_radix(size.trim_end(), 16).ok());
            let Some(size) = size else {
                return Err(End::Broken(format!("no chunk: {}", line.escape_ascii())));
            };
            let end = into.len() + size;
            self.counted(end, None, into)?;
            let line = self.until(b"\r\n")?;
            if line.len() > 2 {
                return Err(End::Broken("a chunk is longer than its size".to_owned()));
            }
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Expects the end of the connection.
    pub fn end(&mut self) -> End {
        if self.at < self.buffer.len() {
            let rest = &self.buffer[self.at..self.buffer.len().min(self.at + 100)];
            return End::Broken(format!("bytes behind the last response: {}", rest.escape_ascii()));
        }
        match self.receive() {
            Ok(()) => End::Broken("bytes behind the last response".to_owned()),
            Err(end) => end,
        }
    }
}
