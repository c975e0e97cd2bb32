//! Files over axum: `cargo run -p karez-hyper --features axum,serve-dir --example axum_files -- 127.0.0.1:8080
//! DIRECTORY`.
//!
//! `/now` is a handler, every other path a file: `ServeDir` and `serve` take the place of those of tower-http
//! and axum.

use axum::Router;
use axum::routing::get;
use karez_hyper::ServeDir;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: axum_files ADDRESS DIRECTORY"));
    };
    serve(TcpListener::bind(address).await?, directory.into()).await
}

/// Serves the application.
pub async fn serve(listener: TcpListener, directory: PathBuf) -> io::Result<()> {
    let app = Router::new()
        .route("/now", get(now))
        .fallback_service(ServeDir::new(directory).precompressed_gzip());
    karez_hyper::axum::serve(listener, app).await
}

async fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or_else(|error| error.to_string(), |since| format!("{}\n", since.as_secs()))
}
