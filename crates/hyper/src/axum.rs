//! `SendFile` as a response of axum 0.8, and its server.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use karez_hyper::SendFile;
//!
//! # async fn run() -> std::io::Result<()> {
//! let app = Router::new().route("/film", get(|| async {
//!     SendFile::open("film.mp4").await.map_err(|error| error.to_string())
//! }));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! karez_hyper::axum::serve(listener, app).await // instead of axum::serve
//! # }
//! ```
//!
//! # Limitations
//!
//! `axum::extract::ConnectInfo<SocketAddr>` is implemented for axum's own listeners only; here it is
//! `ConnectInfo<`[`RemoteAddress`]`>`.

use ::axum::extract::connect_info::Connected;
use ::axum::response::{IntoResponse, Response};
use ::axum::serve::{IncomingStream, Listener, Serve};
use karez_transfer::tokio::Socket;
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower_service::Service;

use crate::handle::{Attach, Handle};
use crate::io::Io;
use crate::send_file::SendFile;

impl IntoResponse for SendFile {
    fn into_response(self) -> Response {
        self.response().map(::axum::body::Body::new)
    }
}

/// Serves as `axum::serve` does, and attaches each response to its connection.
///
/// `make_service` is a `Router`, or what `into_make_service` returns.
pub fn serve<L, M, S>(
    listener: L,
    make_service: M,
) -> Serve<AttachingListener<L>, MakeAttach<M>, Attach<S>>
where
    L: Listener,
    L::Io: Socket,
    M: for<'a> Service<IncomingStream<'a, AttachingListener<L>>, Error = Infallible, Response = S>,
    S: Service<::axum::extract::Request, Response = Response, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    ::axum::serve(AttachingListener(listener), MakeAttach(make_service))
}

/// A listener whose sockets send files by reference. Made by [`serve`].
#[derive(Debug)]
pub struct AttachingListener<L>(L);

impl<L: Listener> Listener for AttachingListener<L>
where
    L::Io: Socket,
{
    type Io = Io<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (socket, address) = self.0.accept().await;
        (Io::new(socket), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// Makes services whose responses are attached. Made by [`serve`].
#[derive(Clone, Debug)]
pub struct MakeAttach<M>(M);

impl<'a, L, M> Service<IncomingStream<'a, AttachingListener<L>>> for MakeAttach<M>
where
    L: Listener,
    L::Io: Socket,
    M: Service<IncomingStream<'a, AttachingListener<L>>, Error = Infallible>,
{
    type Response = Attach<M::Response>;
    type Error = Infallible;
    type Future = MakingAttach<M::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, stream: IncomingStream<'a, AttachingListener<L>>) -> Self::Future {
        let handle = stream.io().handle();
        MakingAttach { service: self.0.call(stream), handle }
    }
}

pin_project! {
    /// The future of [`MakeAttach`].
    #[derive(Debug)]
    pub struct MakingAttach<F> {
        #[pin]
        service: F,
        handle: Handle,
    }
}

impl<F: Future<Output = Result<S, E>>, S, E> Future for MakingAttach<F> {
    type Output = Result<Attach<S>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let service = ready!(this.service.poll(context));
        Poll::Ready(service.map(|service| this.handle.wrap(service)))
    }
}

/// The address of the client, for `Router::into_make_service_with_connect_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddress(pub SocketAddr);

impl<L> Connected<IncomingStream<'_, AttachingListener<L>>> for RemoteAddress
where
    L: Listener<Addr = SocketAddr>,
    L::Io: Socket,
{
    fn connect_info(stream: IncomingStream<'_, AttachingListener<L>>) -> Self {
        Self(*stream.remote_addr())
    }
}
