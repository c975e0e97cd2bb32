//! HTTP client: sends one request at a time on a persistent connection.

use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::command::text;
use super::sender::now;
use crate::error::{Error, ErrorContext as _, Result};

/// Size of one receive.
const RECEIVE_SIZE: usize = 256 << 10;

/// Maximum size of a response head.
const MAX_HEAD: usize = 8 << 10;

#[derive(Default)]
pub(super) struct HttpClient {
    connection: Option<OwnedFd>,
    buffer: Vec<u8>,
    head: Vec<u8>,
}

impl HttpClient {
    /// Connects and replies with the local port, 0 for a UNIX socket.
    pub(super) fn connect(&mut self, command: &Value) -> Result<Value> {
        let at = text(command, "at")?;
        let (connection, port): (OwnedFd, u16) = if let Some(path) = at.strip_prefix("unix:") {
            (UnixStream::connect(path).context("connect to", at)?.into(), 0)
        } else {
            let stream = TcpStream::connect(at).context("connect to", at)?;
            let port = stream.local_addr().context("get the address of", "a socket")?.port();
            (stream.into(), port)
        };
        self.connection = Some(connection);
        // Touches the pages before data is received into them.
        self.buffer = vec![1; RECEIVE_SIZE];
        self.head = vec![1; 2 * MAX_HEAD];
        Ok(json!(port))
    }

    /// Sends a request and receives its response completely, discarding it.
    pub(super) fn request(&mut self, command: &Value) -> Result<Value> {
        let connection = self.connection.as_ref();
        let connection =
            connection.ok_or_else(|| Error::new("request", "", "no connection arrived"))?;
        let (method, path) = (text(command, "method")?, text(command, "path")?);
        let request = format!("{method} {path} HTTP/1.1\r\nHost: lab\r\n\r\n");
        let started = now();
        send(connection, request.as_bytes(), SendFlags::NOSIGNAL).context("send", "a request")?;
        let (mut received, mut expected) = (0, None);
        self.head.clear();
        while expected.is_none_or(|(head, body)| received < head + body) {
            let (_, count) = rustix::io::retry_on_intr(|| {
                recv(connection, &mut self.buffer[..], RecvFlags::empty())
            })
            .context("receive", "a response")?;
            if count == 0 {
                return Err(Error::new("receive", "a response", "the server has closed"));
            }
            received += count as u64;
            if expected.is_none() {
                self.head.extend_from_slice(&self.buffer[..count.min(MAX_HEAD)]);
                expected = response_lengths(&self.head, method == "HEAD")?;
            }
        }
        let ended = now();
        let (head, body) = expected.unwrap_or_default();
        Ok(json!({ "started": started, "ended": ended, "head": head, "body": body }))
    }
}

/// Returns the lengths of head and body of a response; `None` if the head is incomplete.
fn response_lengths(response: &[u8], without_body: bool) -> Result<Option<(u64, u64)>> {
    let Some(end) = response.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&response[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.contains(" 200") {
        return Err(Error::new("request", "the file", status));
    }
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().context("read", "the length of the response")?;
        }
    }
    Ok(Some((end as u64 + 4, if without_body { 0 } else { length })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_length_comes_from_its_head() {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nbod";
        assert_eq!(response_lengths(response, false).unwrap(), Some((39, 12)));
        assert_eq!(response_lengths(response, true).unwrap(), Some((39, 0)));
        assert_eq!(response_lengths(&response[..30], false).unwrap(), None);
        let refused = response_lengths(b"HTTP/1.1 404 Not Found\r\n\r\n", false);
        assert!(refused.unwrap_err().to_string().contains("404"));
    }
}
