//! Attaching a response to the connection that sends it.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Request, Response, Version};
use karez_transfer::Reason;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tower_service::Service;

use crate::queue::Queue;

/// Attaches responses to one connection, so that the [`Io`](crate::Io) below it sends the bytes of
/// their files. A body that is not attached is read.
#[derive(Clone, Debug)]
pub struct Handle {
    queue: Arc<Queue>,
}

impl Handle {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// Attaches a response to a request of this HTTP version, and returns it. A response without a file,
    /// or whose `Content-Length`, `Content-Encoding` or length of the body has changed since it was made,
    /// stays as it is, and so does one over HTTP/2.
    ///
    /// Call it outside of all layers that may replace or read bodies: directly in the service that
    /// hyper gets.
    pub fn attach<B: http_body::Body>(
        &self,
        version: Version,
        mut response: Response<B>,
    ) -> Response<B> {
        if let Some(Attachable(route)) = response.extensions_mut().remove() {
            let length = response.body().size_hint().exact();
            let decided = if version > Version::HTTP_11 {
                Decision::Read(Reason::Framed)
            } else if !route.is_unchanged(response.headers(), length) {
                Decision::Read(Reason::Transformed)
            } else {
                Decision::Attached(Arc::clone(&self.queue))
            };
            route.decide(decided);
        }
        response
    }

    /// Wraps a tower service, so that each of its responses is attached.
    pub fn wrap<S>(&self, service: S) -> Attach<S> {
        Attach { handle: self.clone(), service }
    }
}

/// The extension of a response by which its body is attached.
#[derive(Clone, Debug)]
pub(crate) struct Attachable(pub(crate) Arc<Route>);

/// How the bytes of a body leave, decided between its response and its first byte.
#[derive(Debug)]
pub(crate) struct Route {
    length: u64,
    encoding: Option<HeaderValue>,
    decision: Mutex<Decision>,
}

#[derive(Clone, Debug, Default)]
pub(crate) enum Decision {
    #[default]
    Undecided,
    /// By reference, by the socket of this queue.
    Attached(Arc<Queue>),
    /// By reading, for this reason.
    Read(Reason),
}

impl Route {
    pub(crate) fn new(length: u64, encoding: Option<HeaderValue>) -> Self {
        Self { length, encoding, decision: Mutex::default() }
    }

    /// Returns how the bytes leave. A body that is read before it was attached stays unattached.
    pub(crate) fn decision(&self) -> Decision {
        let mut decision = self.decision.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*decision, Decision::Undecided) {
            *decision = Decision::Read(Reason::Detached);
        }
        decision.clone()
    }

    fn decide(&self, decided: Decision) {
        let mut decision = self.decision.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*decision, Decision::Undecided) {
            *decision = decided;
        }
    }

    fn is_unchanged(&self, headers: &HeaderMap, length: Option<u64>) -> bool {
        let announced = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
        length == Some(self.length)
            && announced.is_none_or(|text| text == self.length.to_string().as_bytes())
            && headers.get(CONTENT_ENCODING) == self.encoding.as_ref()
    }
}

/// A tower service whose responses are [attached](Handle::attach) to a connection. The extensions of each
/// request have the [`Handle`].
#[derive(Clone, Debug)]
pub struct Attach<S> {
    handle: Handle,
    service: S,
}

impl<S, B, R> Service<Request<B>> for Attach<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: http_body::Body,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Attaching<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.handle.clone());
        let version = request.version();
        Attaching { response: self.service.call(request), handle: self.handle.clone(), version }
    }
}

pin_project! {
    /// The future of [`Attach`].
    #[derive(Debug)]
    pub struct Attaching<F> {
        #[pin]
        response: F,
        handle: Handle,
        version: Version,
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B: http_body::Body, E> Future for Attaching<F> {
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(context));
        Poll::Ready(response.map(|response| this.handle.attach(*this.version, response)))
    }
}
