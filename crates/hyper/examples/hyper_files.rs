//! Files over hyper 1: `cargo run -p karez-hyper --example hyper_files -- 127.0.0.1:8080 DIRECTORY`.
//!
//! The report of each file is printed: the via that ran, its calls, and each fallback.
#![allow(clippy::print_stderr, reason = "it is a program")]

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use karez_hyper::{Body, Handle, Io, SendFile};
use std::io;
use std::path::{Component, Path, PathBuf};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: hyper_files ADDRESS DIRECTORY"));
    };
    serve(TcpListener::bind(address).await?, directory.into()).await
}

/// Serves the files below a directory, one task for each connection.
pub async fn serve(listener: TcpListener, directory: PathBuf) -> io::Result<()> {
    loop {
        let (socket, client) = listener.accept().await?;
        let socket = Io::new(socket);
        let (handle, directory) = (socket.handle(), directory.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (handle, directory) = (handle.clone(), directory.clone());
            async move { Ok::<_, io::Error>(respond(&request, &handle, &directory).await) }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            if let Err(error) = connection.await {
                eprintln!("{client}: {error}");
            }
        });
    }
}

async fn respond(request: &Request<Incoming>, handle: &Handle, root: &Path) -> Response<Body> {
    let name = Path::new(request.uri().path().trim_start_matches('/'));
    let below = name.components().all(|part| matches!(part, Component::Normal(_)));
    let response = match SendFile::open(root.join(name)).await {
        Ok(file) if below => file.on_report(|report| eprintln!("{report}")).response(),
        _ => {
            let mut response = Response::new(Body::from("not found\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    handle.attach(request.version(), response)
}
