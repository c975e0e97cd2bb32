//! One non-blocking client connection of the file server, which requests the same file repeatedly
//! (RFC 9112).
//!
//! # Limitations
//! It checks only the status 200 and the length of a response head.

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};
use std::io::Write as _;
use std::net::TcpStream;

use crate::error::{Error, ErrorContext as _, Result};

/// Maximum size of a response head.
const MAX_HEAD: usize = 8 << 10;

pub(super) struct HttpExchange {
    pub(super) stream: TcpStream,
    request: Vec<u8>,
    path: String,
    /// Size of the file.
    bytes: u64,
    head: Vec<u8>,
    /// Remaining bytes of the body; `None` until the head is complete.
    remaining: Option<u64>,
}

/// Result of one receive.
pub(super) struct ReadResult {
    /// Received bytes including the head; 0 if there are none.
    pub(super) bytes: usize,
    /// Whether the response is complete.
    pub(super) complete: bool,
}

impl HttpExchange {
    /// Connects; `receive_buffer` limits the receive buffer of the socket.
    pub(super) fn open(
        to: &str,
        path: &str,
        bytes: u64,
        receive_buffer: Option<usize>,
    ) -> Result<Self> {
        let stream = TcpStream::connect(to).context("connect to", to)?;
        stream.set_nodelay(true).context("connect to", to)?;
        stream.set_nonblocking(true).context("connect to", to)?;
        if let Some(receive_buffer) = receive_buffer {
            sockopt::set_socket_recv_buffer_size(&stream, receive_buffer)
                .context("set the receive buffer of", "a socket")?;
        }
        let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").into_bytes();
        let path = path.to_owned();
        Ok(Self { stream, request, path, bytes, head: Vec::new(), remaining: None })
    }

    pub(super) fn request(&mut self) -> Result<()> {
        self.stream.write_all(&self.request).context("send a request to", &self.path)
    }

    /// Receives available data into `buffer`.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<ReadResult> {
        match recv(&self.stream, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => Err(Error::new("receive from", &self.path, "the server has closed")),
            Ok((bytes, _)) => Ok(ReadResult { bytes, complete: self.consume(&buffer[..bytes])? }),
            Err(Errno::AGAIN | Errno::INTR) => Ok(ReadResult { bytes: 0, complete: false }),
            Err(errno) => Err(Error::new("receive from", &self.path, errno)),
        }
    }

    /// Processes received bytes and returns whether the response is complete.
    fn consume(&mut self, bytes: &[u8]) -> Result<bool> {
        let remaining = match self.remaining {
            Some(remaining) => remaining.checked_sub(bytes.len() as u64),
            None => {
                self.head.extend_from_slice(bytes);
                let Some(length) = end_of_head(&self.head) else {
                    let bad = self.head.len() > MAX_HEAD;
                    return if bad {
                        Err(self.error("the response head does not end"))
                    } else {
                        Ok(false)
                    };
                };
                self.check_head(&self.head[..length])?;
                let body = (self.head.len() - length) as u64;
                self.head.clear();
                self.bytes.checked_sub(body)
            }
        };
        let remaining =
            remaining.ok_or_else(|| self.error("the response is longer than the file"))?;
        self.remaining = (remaining > 0).then_some(remaining);
        Ok(remaining == 0)
    }

    fn check_head(&self, head: &[u8]) -> Result<()> {
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let length = format!("\r\ncontent-length: {}\r\n", self.bytes);
        if head.starts_with("http/1.1 200 ") && head.contains(&length) {
            return Ok(());
        }
        Err(self.error(head.lines().next().unwrap_or_default()))
    }

    fn error(&self, why: &str) -> Error {
        Error::new("receive from", &self.path, why)
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}
