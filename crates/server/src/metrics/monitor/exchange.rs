//! One request and its response on a blocking socket, in bounded time.

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use karez_http::h1::{Event, Session};
use karez_http::{Body, BodyLength, Limits, Request, RequestError, ResponseHead, Sink, Status};

/// The time for a request, and for a response or an event.
const TIME: Duration = Duration::from_secs(5);

/// One request and its response.
pub(super) struct Exchange {
    socket: TcpStream,
    session: Session,
}

/// Bytes to be sent.
#[derive(Default)]
struct Output(Vec<u8>);

impl Sink<Infallible> for Output {
    fn push_bytes(&mut self, bytes: Vec<u8>) {
        self.0.extend_from_slice(&bytes);
    }

    fn push_file(&mut self, file: Infallible) {
        match file {}
    }
}

impl Exchange {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, session: Session::new(Limits::default()) }
    }

    /// Receives a request; `None` if the client sent none, or one that was answered by an error.
    ///
    /// # Errors
    /// The client is too slow, or has reset the connection.
    pub(super) fn receive(&mut self) -> io::Result<Option<Request>> {
        let (until, mut request, mut buffer) = (Instant::now() + TIME, None, [0; 4096]);
        loop {
            match self.session.next() {
                Ok(Some(Event::Head(head))) => {
                    request = Some(head);
                    self.session.discard_body();
                }
                Ok(Some(Event::End { .. })) => break,
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.socket.set_read_timeout(Some(left(until)?))?;
                    match self.socket.read(&mut buffer)? {
                        0 => return Ok(None),
                        count => self.session.receive(&buffer[..count]),
                    }
                }
                Err(RequestError { status, reason, .. }) => {
                    self.respond(status, "text/plain", &[], &format!("{reason}\n"))?;
                    return Ok(None);
                }
            }
        }
        self.session.close_after_response();
        Ok(request)
    }

    /// Sends a response.
    ///
    /// # Errors
    /// The client is too slow, or has closed.
    pub(super) fn respond(
        &mut self,
        status: Status,
        media_type: &'static str,
        fields: &[(&'static str, &'static str)],
        text: &str,
    ) -> io::Result<()> {
        let mut head = head(status, media_type);
        for (name, value) in fields {
            head.field(name, *value);
        }
        head.length(BodyLength::Known(text.len() as u64));
        let mut output = Output::default();
        self.session.respond(&head, Body::Bytes(text.as_bytes().to_vec()), &mut output);
        self.send(&output)
    }

    /// Sends the head of a stream of events (HTML, 9.2 Server-sent events).
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    pub(super) fn start_events(&mut self) -> io::Result<()> {
        let mut head = head(Status::Ok, "text/event-stream");
        head.length(BodyLength::Streamed);
        let mut output = Output::default();
        self.session.respond(&head, Body::Stream, &mut output);
        self.send(&output)
    }

    /// Sends an event. `data` is one line.
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    pub(super) fn send_event(&mut self, data: &str) -> io::Result<()> {
        let mut output = Output::default();
        self.session.append(format!("data: {data}\n\n").into_bytes(), &mut output);
        self.send(&output)
    }

    /// Ends the stream of events.
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    pub(super) fn end_events(&mut self) -> io::Result<()> {
        let mut output = Output::default();
        self.session.finish(&mut output);
        self.send(&output)
    }

    fn send(&mut self, output: &Output) -> io::Result<()> {
        let (until, mut bytes) = (Instant::now() + TIME, &output.0[..]);
        while !bytes.is_empty() {
            self.socket.set_write_timeout(Some(left(until)?))?;
            match self.socket.write(bytes)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }
}

fn head(status: Status, media_type: &'static str) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    head.field("Content-Type", media_type).field("Cache-Control", "no-store");
    head.field("X-Content-Type-Options", "nosniff");
    head
}

/// Returns the time that is left.
///
/// # Errors
/// `TimedOut` if none is.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
