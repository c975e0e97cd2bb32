//! Response bodies for hyper 1, axum and tower on Linux whose files are sent by `sendfile`, `splice` or
//! another via of [`karez_transfer`] instead of being read into memory.
//!
//! A *via* is how bytes are moved (transfer method).
//!
//! ```
//! use hyper::{server::conn::http1, service::service_fn};
//! use hyper_util::rt::TokioIo;
//! use karez_hyper::{Io, SendFile};
//! use tokio::net::TcpListener;
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! # let film = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! # let mut client = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
//! # client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//! let (socket, _) = listener.accept().await?;
//!
//! let socket = Io::new(socket);
//! let handle = socket.handle();
//! let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
//!     let handle = handle.clone();
//!     async move {
//!         let file = SendFile::open(film).await?;
//!         let file = file.on_report(|report| println!("{report}"));
//!         Ok::<_, std::io::Error>(handle.attach(request.version(), file.response()))
//!     }
//! });
//! http1::Builder::new()
//!     .serve_connection(TokioIo::new(socket), service)
//!     .await
//!     .map_err(std::io::Error::other)?;
//! # let mut response = String::new();
//! # client.read_to_string(&mut response).await?;
//! # assert!(response.ends_with(&std::fs::read_to_string(film)?));
//! # Ok(())
//! # }
//! ```
//!
//! With axum (feature `axum`) `karez_hyper::axum::serve` replaces `axum::serve`, and `SendFile` is a
//! response; with tower, [`Handle::wrap`] wraps the service of a connection. The feature `serve-dir` has
//! `ServeDir` and `ServeFile`, which replace those of tower-http.
//!
//! # How it works
//!
//! An attached [`Body`] promises bytes of its file to the queue of its connection, and passes slices of a
//! static placeholder to hyper, which frames and counts them as any others. The [`Io`] below hyper
//! recognises the slices by their address and steps the transfer instead, until the socket is full.
//! Keep-alive, pipelining, `Content-Length`, chunked encoding, trailers and cancellation therefore are hyper's.
//!
//! # Without `Content-Length`
//!
//! The length of a [`Body`] is known, so hyper adds `Content-Length` where a response lacks it. With
//! `Transfer-Encoding: chunked` in the response hyper frames it, one chunk for each slice, of up to 1 MiB, and the file
//! is still sent by reference between the frames. A client of HTTP/1.0 gets `Content-Length` in any case.
//!
//! # Where a file is read instead
//!
//! | case | reason in the report |
//! |---|---|
//! | HTTP/2, whose frames and flow control are hyper's | [`Framed`](karez_transfer::Reason::Framed) |
//! | TLS in user space, another socket, a test without one | [`Detached`](karez_transfer::Reason::Detached) |
//! | `Content-Length`, `Content-Encoding` or the length of the body was changed by a layer | [`Transformed`](karez_transfer::Reason::Transformed) |
//! | up to 16 KiB with `auto` | none: the report says `copy` |
//!
//! The bytes are then read from the page cache if they are there, else by the blocking pool.
//!
//! # Limitations
//!
//! - A layer between the file and [`Handle::attach`] that keeps length and headers but looks at the
//!   bytes of the body as they pass (a checksum in trailers) sees zeros. One that replaces or copies them
//!   makes the connection fail before a wrong byte is sent.
//! - Zero copy is [by reference](karez_transfer#zero-copy-is-by-reference).
//! - `sendfile` and `splice` raise [SIGPIPE](karez_transfer#sigpipe), which Rust programs ignore.
//! - `http1::Builder::writev(false)` makes attached responses fail, and so does `pipeline_flush(true)` for
//!   files above 60 MiB, because hyper then passes only a part of its slices.

#[cfg(feature = "axum")]
pub mod axum;
mod body;
mod handle;
mod io;
mod open;
mod placeholder;
mod queue;
mod read;
mod report;
mod send_file;
#[cfg(feature = "serve-dir")]
mod serve_dir;

pub use body::Body;
pub use handle::{Attach, Attaching, Handle};
pub use io::Io;
pub use send_file::SendFile;
#[cfg(feature = "serve-dir")]
pub use serve_dir::{Answering, NotFound, ServeDir, ServeFile};

/// Runs the example of the README as a test.
#[cfg(all(doctest, feature = "axum", feature = "serve-dir"))]
#[doc = include_str!("../README.md")]
struct ReadmeExample;

/// Builds the examples of docs/MIGRATING.md.
#[cfg(all(doctest, feature = "axum", feature = "serve-dir"))]
#[doc = include_str!("../MIGRATING.md")]
struct MigratingExamples;
