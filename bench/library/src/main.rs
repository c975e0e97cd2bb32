//! A server of files on one thread, by one way: `library-servers WAY DIRECTORY`. It prints its port.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use karez_hyper::{Io, SendFile, ServeDir};
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::io::ReaderStream;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(way), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: library-servers WAY DIRECTORY"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(way, directory.into()))
}

async fn serve(way: String, directory: PathBuf) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let nodelay = |socket: &TcpStream| socket.set_nodelay(true);
    match &way[..] {
        "axum-tower-http" => {
            let files = tower_http::services::ServeDir::new(directory);
            axum::serve(listener, axum::Router::new().fallback_service(files)).await
        }
        "axum-karez" => {
            let files = ServeDir::new(directory);
            let app = axum::Router::new().fallback_service(files);
            karez_hyper::axum::serve(listener, app).await
        }
        "hyper-reader-stream" | "hyper-karez" => loop {
            let (socket, _) = listener.accept().await?;
            nodelay(&socket)?;
            let directory = directory.clone();
            match &way[..] {
                "hyper-karez" => tokio::spawn(by_karez(socket, directory)),
                _ => tokio::spawn(by_reader_stream(socket, directory)),
            };
        },
        "tcp-proxy" | "tcp-copy-bidirectional" => {
            let to = directory.to_string_lossy().into_owned();
            loop {
                let (mut client, _) = listener.accept().await?;
                nodelay(&client)?;
                let (to, splices) = (to.clone(), way == "tcp-proxy");
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(to).await?;
                    server.set_nodelay(true)?;
                    if splices {
                        let via = karez_transfer::Via::Auto;
                        karez_transfer::tokio::proxy(&client, &server, via).await?;
                    } else {
                        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
                    }
                    Ok::<_, io::Error>(())
                });
            }
        }
        _ => Err(io::Error::other("unknown way")),
    }
}

fn name(request: &Request<Incoming>, directory: &Path) -> PathBuf {
    directory.join(request.uri().path().trim_start_matches('/'))
}

async fn by_karez(socket: TcpStream, directory: PathBuf) {
    let socket = Io::new(socket);
    let handle = socket.handle();
    let service = service_fn(move |request: Request<Incoming>| {
        let (handle, name) = (handle.clone(), name(&request, &directory));
        async move {
            let file = SendFile::open(name).await?;
            Ok::<_, io::Error>(handle.attach(request.version(), file.response()))
        }
    });
    let _closed = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn by_reader_stream(socket: TcpStream, directory: PathBuf) {
    let service = service_fn(move |request: Request<Incoming>| {
        let name = name(&request, &directory);
        async move {
            let file = File::open(name).await?;
            let length = file.metadata().await?.len();
            let frames = ReaderStream::with_capacity(file, 64 << 10).map_ok(Frame::data);
            let body: BoxBody<Bytes, io::Error> = BodyExt::boxed(StreamBody::new(frames));
            let mut response = Response::new(body);
            response.headers_mut().insert("content-length", length.into());
            Ok::<_, io::Error>(response)
        }
    });
    let _closed = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}
