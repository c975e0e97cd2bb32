//! A server of one connection, and a client that speaks HTTP/1.1 by hand.

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use karez_hyper::{Body, Handle, Io};
use karez_transfer::Report;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Seeded bytes.
pub(crate) fn content(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes()[..5]);
    }
    bytes.truncate(count);
    bytes
}

/// A file on a disk, most likely: a temporary directory may be in memory.
pub(crate) fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

/// The reports of the files that were sent.
#[derive(Clone, Default)]
pub(crate) struct Reports(Arc<Mutex<Vec<Report>>>);

impl Reports {
    pub(crate) fn observe(&self) -> impl Fn(&Report) + Send + Sync + 'static {
        let reports = Arc::clone(&self.0);
        move |report| reports.lock().unwrap().push(report.clone())
    }

    pub(crate) fn take(&self) -> Vec<Report> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A connected client, and the server's end of the connection.
pub(crate) async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// Serves one connection over HTTP/1.1 or HTTP/2; each response is attached.
pub(crate) fn serve<F>(socket: TcpStream, respond: F) -> JoinHandle<Result<(), String>>
where
    F: Fn(&Request<Incoming>, &Handle) -> Response<Body> + Clone + Send + 'static,
{
    let socket = Io::new(socket);
    let handle = socket.handle();
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let response = handle.attach(request.version(), respond(&request, &handle));
            async move { Ok::<_, io::Error>(response) }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let served = builder.serve_connection(TokioIo::new(socket), service).await;
        served.map_err(|error| format!("{error:?}"))
    })
}

/// Reads a response: its head, and a body of `Content-Length`.
pub(crate) async fn response(client: &mut TcpStream) -> (String, Vec<u8>) {
    let head = head(client).await;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    client.read_exact(&mut body).await.unwrap();
    (head, body)
}

pub(crate) async fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

pub(crate) async fn get(client: &mut TcpStream, path: &str) {
    client.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
}
