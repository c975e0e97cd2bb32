//! Conversations with an independent client, the crate `h2`, over a pipe in memory.
//!
//! The pipe is narrow, so frames are cut anywhere, and the server's queue is sent in odd pieces with
//! units found cold between them.

use crate::peer::ok;
use crate::sink::{File, Queue, content};
use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::{HeaderMap, Method, Request, StatusCode};
use karez_http::Field;
use karez_http::Status;
use karez_http::h2::hpack::BlockEncoder;
use karez_http::h2::{
    Connection, ConnectionLimits, Input, StreamBody, StreamId, StreamPart, UnitEvent,
};
use std::collections::HashMap;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// The server's counts at the end of its connection.
#[derive(Debug, Default)]
struct Report {
    requests: u32,
    resets: u32,
    error: Option<String>,
}

struct Server {
    connection: Connection<File>,
    queue: Queue,
    uploads: HashMap<StreamId, Vec<u8>>,
    report: Report,
    files: u8,
    cold: Vec<StreamId>,
    /// Shuts down after so many requests.
    last: Option<u32>,
}

impl Server {
    fn new(last: Option<u32>) -> Self {
        Self {
            connection: Connection::new(ConnectionLimits::default()),
            queue: Queue::default(),
            uploads: HashMap::new(),
            report: Report::default(),
            files: 0,
            cold: Vec::new(),
            last,
        }
    }

    /// `/file/N/LENGTH`, `/bytes/LENGTH`, `/parts/N/LENGTH`, or an upload.
    fn respond(&mut self, stream: StreamId, path: &str) {
        let mut words = path.split('/').skip(1);
        let kind = words.next().unwrap();
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        match kind {
            "file" => {
                let file = u8::try_from(number()).unwrap();
                let body = StreamBody::File(File(file), 0..number());
                self.files += 1;
                self.connection.respond(stream, ok(), body);
            }
            "bytes" => {
                let body = content(1, 0..number());
                let mut block = Vec::new();
                BlockEncoder::new(&mut block)
                    .status(Status::NotFound)
                    .field("Content-Type", b"text/plain")
                    .number("Content-Length", body.len() as u64)
                    .field("X-Long", &[b'l'; 20_000]);
                self.connection.respond(stream, block, StreamBody::Bytes(body.into()));
            }
            "parts" => {
                let (file, length) = (u8::try_from(number()).unwrap(), number());
                self.connection.respond(stream, ok(), StreamBody::Stream);
                self.files += 2;
                for (file, range) in [(file, 0..length), (file + 1, length..2 * length)] {
                    let head = StreamPart::Bytes(b"head;".as_slice().into());
                    self.connection.append(stream, head, false);
                    self.connection.append(stream, StreamPart::File(File(file), range), false);
                }
                self.connection.append(stream, StreamPart::Bytes(b"end".as_slice().into()), true);
            }
            _ => drop(self.uploads.insert(stream, Vec::new())),
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(input) = self.connection.receive(Instant::now(), &mut bytes) {
            match input {
                Input::Head { stream, request } => {
                    assert!(request.value(Field::Host).is_some());
                    self.report.requests += 1;
                    let path = String::from_utf8(request.target().to_vec()).unwrap();
                    self.respond(stream, &path);
                    if self.last == Some(self.report.requests) {
                        self.connection.shut_down();
                    }
                }
                Input::Body { stream, bytes } => {
                    self.uploads.get_mut(&stream).unwrap().extend(bytes);
                    self.connection.release(stream, bytes.len());
                }
                Input::End { stream } => {
                    if let Some(upload) = self.uploads.remove(&stream) {
                        self.connection.respond(stream, ok(), StreamBody::Bytes(upload.into()));
                    }
                }
                Input::Reset { .. } => self.report.resets += 1,
                Input::Error(error) => self.report.error = Some(error.to_string()),
                other => panic!("{other:?}"),
            }
        }
        assert!(bytes.is_empty());
    }

    /// Appends and sends one odd piece. Returns it.
    fn advance(&mut self, turn: usize) -> Vec<u8> {
        self.connection.fill(&mut self.queue);
        for stream in self.cold.drain(..) {
            self.queue.events.push_back((stream, UnitEvent::Warm));
        }
        if turn.is_multiple_of(5)
            && let Some(stream) = self.queue.units().last()
        {
            self.queue.find_cold(*stream);
            self.cold.push(*stream);
        }
        self.queue.send(1 + turn * 7919 % 30_000);
        while let Some((stream, event)) = self.queue.events.pop_front() {
            self.connection.unit_event(stream, event);
            self.connection.fill(&mut self.queue);
        }
        std::mem::take(&mut self.queue.wire)
    }

    async fn run(mut self, mut pipe: DuplexStream) -> Report {
        let mut buffer = [0; 5000];
        let mut turn = 0;
        loop {
            turn += 1;
            let bytes = self.advance(turn);
            if !bytes.is_empty() {
                if pipe.write_all(&bytes).await.is_err() {
                    break;
                }
                continue;
            }
            if !self.queue.is_empty() || !self.cold.is_empty() {
                continue;
            }
            if self.connection.is_finished() {
                break;
            }
            match pipe.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => self.take(&buffer[..count]),
            }
        }
        assert_eq!(self.queue.closed.len(), usize::from(self.files), "files are closed");
        self.report
    }
}

/// Runs a client against the server. Returns the server's report.
fn converse<C, R>(builder: &client::Builder, last: Option<u32>, talk: C) -> Report
where
    C: FnOnce(SendRequest<Bytes>) -> R,
    R: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (near, far) = duplex(3000);
        let server = tokio::spawn(Server::new(last).run(near));
        let (send, connection) = builder.handshake::<_, Bytes>(far).await.unwrap();
        let connection = tokio::spawn(connection);
        talk(send).await;
        connection.await.unwrap().unwrap();
        server.await.unwrap()
    })
}

fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://a.example{path}");
    Request::builder().method(method).uri(uri).header("user-agent", "h2").body(()).unwrap()
}

async fn receive(response: client::ResponseFuture) -> (StatusCode, HeaderMap, Vec<u8>) {
    let response = response.await.unwrap();
    let (head, mut body) = response.into_parts();
    let mut received = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        received.extend(part);
    }
    (head.status, head.headers, received)
}

async fn get(send: &mut SendRequest<Bytes>, path: &str) -> client::ResponseFuture {
    let mut ready = send.clone().ready().await.unwrap();
    ready.send_request(request(Method::GET, path), true).unwrap().0
}

#[test]
fn many_responses_at_once_arrive_whole() {
    let mut small = client::Builder::new();
    small.initial_window_size(3000).header_table_size(0);
    let mut large = client::Builder::new();
    large
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .max_frame_size(1 << 20);
    for builder in [client::Builder::new(), small, large] {
        let report = converse(&builder, None, |mut send| async move {
            let mut responses = Vec::new();
            for n in 1..=60_u64 {
                let length = n * n * 40;
                let path = match n % 3 {
                    0 => format!("/file/{n}/{length}"),
                    1 => format!("/bytes/{length}"),
                    _ => format!("/parts/{}/{length}", 60 + 2 * n),
                };
                responses.push((n, length, get(&mut send, &path).await));
            }
            drop(send);
            let tasks = responses.into_iter().map(|(n, length, response)| {
                tokio::spawn(async move {
                    let (status, fields, body) = receive(response).await;
                    let file = u8::try_from(n).unwrap();
                    let expected = match n % 3 {
                        0 => content(file, 0..length),
                        1 => content(1, 0..length),
                        _ => {
                            let file = 60 + 2 * file;
                            let parts =
                                [content(file, 0..length), content(file + 1, length..2 * length)];
                            [b"head;", &parts[0][..], b"head;", &parts[1], b"end"].concat()
                        }
                    };
                    assert!(body == expected, "{n}: {} of {} bytes", body.len(), expected.len());
                    if n % 3 == 1 {
                        assert_eq!(status, StatusCode::NOT_FOUND);
                        assert_eq!(fields["content-length"], length.to_string());
                        assert_eq!(fields["x-long"].len(), 20_000);
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
        assert_eq!((report.requests, report.resets, report.error), (60, 0, None));
    }
}

#[test]
fn uploads_arrive_whole_and_with_trailers() {
    let report = converse(&client::Builder::new(), None, |mut send| async move {
        for (length, trailers) in [(0, false), (1, true), (500_000, false), (300_001, true)] {
            let upload = content(3, 0..length);
            let request = request(Method::POST, "/upload");
            send = send.ready().await.unwrap();
            let (response, mut body) = send.send_request(request, false).unwrap();
            body.send_data(upload.clone().into(), !trailers).unwrap();
            if trailers {
                let mut map = HeaderMap::new();
                map.insert("x-checksum", "5".parse().unwrap());
                body.send_trailers(map).unwrap();
            }
            let (status, _, echo) = receive(response).await;
            assert_eq!(status, StatusCode::OK);
            assert!(echo == upload, "{} of {length}", echo.len());
        }
    });
    assert_eq!((report.requests, report.resets, report.error), (4, 0, None));
}

#[test]
fn cancelled_responses_leave_their_window_to_others() {
    let report = converse(&client::Builder::new(), None, |mut send| async move {
        for n in 1..=20_u8 {
            let response = get(&mut send, &format!("/file/{n}/100000")).await;
            let mut body = response.await.unwrap().into_body();
            let part = body.data().await.unwrap().unwrap();
            assert!(content(n, 0..part.len() as u64) == part);
            // Neither the rest is read nor this part released: the reset has to see to both.
            drop(body);
        }
        let response = get(&mut send, "/file/21/300000").await;
        drop(send);
        let (_, _, body) = receive(response).await;
        assert!(body == content(21, 0..300_000));
    });
    assert_eq!((report.requests, report.resets, report.error), (21, 20, None));
}

#[test]
fn a_shutdown_loses_no_request() {
    let report = converse(&client::Builder::new(), Some(3), |mut send| async move {
        let mut responses = Vec::new();
        for n in 1..=3 {
            let response = get(&mut send, &format!("/file/{n}/100000")).await;
            responses.push(tokio::spawn(async move {
                assert!(receive(response).await.2 == content(n, 0..100_000));
            }));
        }
        for response in responses {
            response.await.unwrap();
        }
        // The connection has ended, or takes nothing more.
        if let Ok(mut send) = send.ready().await {
            let (response, _) = send.send_request(request(Method::GET, "/bytes/1"), true).unwrap();
            assert!(response.await.is_err());
        }
    });
    assert_eq!((report.requests, report.error), (3, None));
}
