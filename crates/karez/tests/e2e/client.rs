//! A plain HTTP client that shows exactly what came, and can be as rude as a test wants.

use rustix::net::sockopt;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::patience::{PATIENCE, is_readable};

/// How often a tag or a date is asked for; there is one within milliseconds, or two seconds.
const MOST_ASKED: u32 = 1_000_000;

/// One connection.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

/// What came.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Field lines, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends these bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// A GET and its answer; the connection stays.
    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, "")
    }

    /// A GET of whose answer only the head is taken, and nothing of the body.
    pub fn begin(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.head().expect("an answer, not the end of the connection")
    }

    /// The next bytes of a body, so many.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// A request with more field lines (each with its CRLF), and its answer.
    pub fn request(&mut self, method: &str, target: &str, fields: &str) -> Response {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        self.response(method == "HEAD")
    }

    /// The next answer. `bodiless`: it answers a HEAD.
    pub fn response(&mut self, bodiless: bool) -> Response {
        let mut response = self.head().expect("an answer, not the end of the connection");
        if !bodiless && !matches!(response.status, 204 | 304) {
            response.body = self.body(&response);
        }
        response
    }

    /// The head of the next answer alone; `None` if the connection ended instead.
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

    /// All that still comes, until the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }

    /// Keeps the kernel from receiving more than about half a MiB ahead of what the test reads,
    /// so that a server with much to send soon has to wait.
    pub fn narrow(&self) {
        sockopt::set_socket_recv_buffer_size(self.stream.get_ref(), 256 << 10).unwrap();
    }

    /// Asks until the file's time stamps are old enough to tell its versions apart, and gives the
    /// tag that it has from then on.
    pub fn settled_tag(&mut self, target: &str) -> String {
        for _ in 0..MOST_ASKED {
            if let Some(tag) = self.request("HEAD", target, "").field("etag") {
                assert!(tag.starts_with('"'), "a weak tag would match the next version: {tag}");
                return tag.to_owned();
            }
        }
        panic!("{target} has no tag");
    }

    /// Asks until the file's modification date is over, so that no later version can have it.
    pub fn settled_date(&mut self, target: &str) -> String {
        for _ in 0..MOST_ASKED {
            if let Some(date) = self.request("HEAD", target, "").field("last-modified") {
                return date.to_owned();
            }
        }
        panic!("{target} has no date");
    }

    /// How many bytes still come until the end of the connection, be it a reset.
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

    /// Whether nothing comes, no end either, in this time.
    pub fn hears_nothing(&mut self, time: Duration) -> bool {
        self.stream.buffer().is_empty() && !is_readable(self.stream.get_ref(), time)
    }

    /// Whether the server has closed the connection, waiting for it if need be.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Sends a FIN and can still receive.
    pub fn half_close(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }
}

impl Response {
    /// The field lines but for `Date`, which may be that of another second.
    pub fn lasting_fields(&self) -> Vec<(String, String)> {
        self.fields.iter().filter(|(name, _)| name != "date").cloned().collect()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(field, _)| field == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} stands there twice");
        value
    }
}
