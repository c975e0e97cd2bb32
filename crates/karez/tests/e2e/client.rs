//! A plain HTTP/1.1 client that sends arbitrary bytes and returns responses unchanged.

use rustix::io::ioctl_fionread;
use rustix::net::sockopt;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use crate::socket::Socket;
use crate::timeouts::is_readable;

/// The maximum number of requests for a tag or a date. Either appears within milliseconds or within
/// two seconds.
const MAX_REQUESTS: u32 = 1_000_000;

/// One connection.
pub struct Client {
    pub stream: BufReader<Socket>,
}

/// A response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Field lines; the names are in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(Socket::connect(address))
    }

    pub fn over(socket: Socket) -> Self {
        Self { stream: BufReader::new(socket) }
    }

    /// Sends these bytes unchanged.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a GET and reads the response. The connection stays open.
    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, "")
    }

    /// Sends a GET and reads the response head, but no byte of the body.
    pub fn start_get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.head().expect("an answer, not the end of the connection")
    }

    /// Reads exactly this number of body bytes.
    pub fn read_body(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends a request with additional field lines (each ends with CRLF) and reads the response.
    pub fn request(&mut self, method: &str, target: &str, fields: &str) -> Response {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        self.response(method == "HEAD")
    }

    /// Reads the next response. Set `bodiless` for the response to a HEAD.
    pub fn response(&mut self, bodiless: bool) -> Response {
        let mut response = self.head().expect("an answer, not the end of the connection");
        if !bodiless && !matches!(response.status, 204 | 304) {
            response.body = self.body(&response);
        }
        response
    }

    /// Reads the head of the next response. Returns `None` if the connection ends first.
    pub fn head(&mut self) -> Option<Response> {
        let status_line = self.line()?;
        let status = status_line.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let mut fields = Vec::new();
        loop {
            let line = self.line().expect("a whole head");
            if line.is_empty() {
                return Some(Response { status, fields, body: Vec::new() });
            }
            let (name, value) = line.split_once(": ").expect("a field line");
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        if line.is_empty() {
            return None;
        }
        let line = line.strip_suffix(b"\r\n").expect("CRLF");
        Some(String::from_utf8(line.to_vec()).unwrap())
    }

    fn body(&mut self, response: &Response) -> Vec<u8> {
        let mut body = Vec::new();
        if let Some(length) = response.field("content-length") {
            body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).unwrap();
        } else if response.field("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                body.extend(chunk);
            }
        } else {
            self.stream.read_to_end(&mut body).unwrap();
        }
        body
    }

    fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line().unwrap(), 16).unwrap();
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk).unwrap();
        assert_eq!(self.line().as_deref(), Some(""), "CRLF behind a chunk");
        (size > 0).then_some(chunk)
    }

    /// Reads until the end of the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }

    /// Limits the receive buffer to about half a MiB, so that a server with a large response soon
    /// blocks.
    pub fn limit_receive_buffer(&self) {
        sockopt::set_socket_recv_buffer_size(self.stream.get_ref(), 256 << 10).unwrap();
    }

    /// Sends requests until the file's time stamps are old enough to distinguish its versions, and
    /// returns the strong tag it has from then on.
    pub fn wait_for_etag(&mut self, target: &str) -> String {
        for _ in 0..MAX_REQUESTS {
            if let Some(tag) = self.request("HEAD", target, "").field("etag") {
                assert!(tag.starts_with('"'), "a weak tag would match the next version: {tag}");
                return tag.to_owned();
            }
        }
        panic!("{target} has no tag");
    }

    /// Sends requests until the second of the file's modification has passed, so that no later
    /// version can have the same date.
    pub fn wait_for_last_modified(&mut self, target: &str) -> String {
        for _ in 0..MAX_REQUESTS {
            if let Some(date) = self.request("HEAD", target, "").field("last-modified") {
                return date.to_owned();
            }
        }
        panic!("{target} has no date");
    }

    /// Reads to the end of the connection. Returns the number of bytes; an error if it was reset.
    pub fn read_all(&mut self) -> Result<u64, ErrorKind> {
        let (mut count, mut part) = (0, vec![0; 1 << 20]);
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return Ok(count),
                Ok(length) => count += length as u64,
                Err(error) => return Err(error.kind()),
            }
        }
    }

    /// Reads until the end of the connection or a reset, and returns the number of bytes.
    pub fn drain(&mut self) -> usize {
        let mut count = 0;
        let mut part = vec![0; 1 << 20];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return count,
                Ok(length) => count += length,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return count,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Returns how many bytes have arrived that no one has read.
    pub fn unread(&self) -> usize {
        let in_kernel = ioctl_fionread(self.stream.get_ref()).unwrap();
        self.stream.buffer().len() + usize::try_from(in_kernel).unwrap()
    }

    /// Returns whether neither data nor the end of the connection arrives within this time.
    pub fn receives_nothing(&mut self, time: Duration) -> bool {
        self.stream.buffer().is_empty() && !is_readable(self.stream.get_ref(), time)
    }

    /// Waits for data or the end, and returns whether the server has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Sends a FIN. The client can still receive.
    pub fn half_close(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }
}

impl Response {
    /// Returns the field lines without `Date`, which may differ by a second.
    pub fn fields_without_date(&self) -> Vec<(String, String)> {
        self.fields.iter().filter(|(name, _)| name != "date").cloned().collect()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(field, _)| field == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} stands there twice");
        value
    }
}
