//! `ServeDir` and `ServeFile`: tower services for directories and files, with the methods of those of
//! tower-http.
//!
//! # Limitations
//!
//! As tower-http's they follow symbolic links, also out of the directory, and know neither deflate nor
//! listings. A name on a FUSE or network file system is always opened by the blocking pool; whether it is
//! one is asked once, of the directory itself.

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use karez_http::Coding;
use karez_transfer::{Report, Settings, Via};
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use tower_service::Service;

use crate::body::Body;
use crate::report::Observer;
use crate::send_file::status;

mod answer;
mod lookup;
mod options;

use answer::Query;
use options::Options;

/// Serves the files below a directory, as `tower_http::services::ServeDir` does, by any via.
///
/// GET and HEAD, `index.html`, conditional requests (dates and entity tags), ranges, precompressed files,
/// a redirect to a directory's slash, and a fallback. Several ranges are answered by
/// `multipart/byteranges`, and a malformed `Range` is ignored, where tower-http answers 416.
///
/// ```
/// use http::Request;
/// use karez_hyper::ServeDir;
/// use tower_service::Service;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), std::convert::Infallible> {
/// let mut service = ServeDir::new(env!("CARGO_MANIFEST_DIR")).precompressed_gzip();
/// let request = Request::get("/Cargo.toml").header("range", "bytes=0-8").body(()).unwrap();
/// let response = service.call(request).await?;
/// assert_eq!(response.status(), 206);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ServeDir<F = NotFound> {
    options: Arc<Options>,
    fallback: Option<F>,
    /// A response of the fallback gets status 404.
    not_found: bool,
    fallback_on_method: bool,
}

impl ServeDir {
    /// Serves the files below this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self::with(directory.into(), None)
    }

    fn with(base: PathBuf, file: Option<Option<HeaderValue>>) -> Self {
        let options = Options {
            base,
            file,
            index: true,
            codings: Vec::new(),
            settings: Settings::default(),
            observer: Observer::default(),
            remote: OnceLock::new(),
        };
        let options = Arc::new(options);
        Self { options, fallback: None, not_found: false, fallback_on_method: false }
    }
}

impl<F> ServeDir<F> {
    /// Sets whether a directory's `index.html` is served, and a name of a directory without a slash is
    /// redirected; default true.
    #[must_use]
    pub fn append_index_html_on_directories(mut self, append: bool) -> Self {
        self.options_mut().index = append;
        self
    }

    /// Serves `NAME.gz` instead of `NAME` to clients that accept gzip.
    #[must_use]
    pub fn precompressed_gzip(self) -> Self {
        self.precompressed(Coding::Gzip)
    }

    /// Serves `NAME.br` instead of `NAME` to clients that accept Brotli.
    #[must_use]
    pub fn precompressed_br(self) -> Self {
        self.precompressed(Coding::Brotli)
    }

    /// Serves `NAME.zst` instead of `NAME` to clients that accept Zstandard.
    #[must_use]
    pub fn precompressed_zstd(self) -> Self {
        self.precompressed(Coding::Zstd)
    }

    fn precompressed(mut self, coding: Coding) -> Self {
        self.options_mut().codings.push(coding);
        self
    }

    /// Sets the via and the other settings of the transfers; default `auto`. [`Via::Zerocopy`] is `auto`
    /// here, as in [`SendFile::settings`](crate::SendFile::settings).
    #[must_use]
    pub fn settings(mut self, settings: impl Into<Settings>) -> Self {
        let settings = settings.into();
        let via = if settings.via == Via::Zerocopy { Via::Auto } else { settings.via };
        self.options_mut().settings = settings.via(via);
        self
    }

    /// Calls `observe` with the report of each part of a file that has been sent.
    #[must_use]
    pub fn on_report(mut self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.options_mut().observer = Observer::new(observe);
        self
    }

    /// Calls this service for a name that does not exist.
    #[must_use]
    pub fn fallback<G>(self, fallback: G) -> ServeDir<G> {
        let Self { options, fallback_on_method, .. } = self;
        ServeDir { options, fallback: Some(fallback), not_found: false, fallback_on_method }
    }

    /// Calls this service for a name that does not exist, and sets the status 404.
    #[must_use]
    pub fn not_found_service<G>(self, fallback: G) -> ServeDir<G> {
        ServeDir { not_found: true, ..self.fallback(fallback) }
    }

    /// Sets whether the fallback, if there is one, answers methods other than GET and HEAD instead of a
    /// 405; default false.
    #[must_use]
    pub fn call_fallback_on_method_not_allowed(mut self, call: bool) -> Self {
        self.fallback_on_method = call;
        self
    }

    fn options_mut(&mut self) -> &mut Options {
        Arc::make_mut(&mut self.options)
    }
}

/// The future of [`ServeDir`].
pub struct Answering(Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>);

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answering")
    }
}

impl<B, F, R> Service<Request<B>> for ServeDir<F>
where
    B: Send + 'static,
    F: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    F::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match &mut self.fallback {
            Some(fallback) => fallback.poll_ready(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        // The clone that is left behind has not been polled for readiness.
        let fallback = self.fallback.clone();
        let fallback = std::mem::replace(&mut self.fallback, fallback);
        let (options, not_found) = (Arc::clone(&self.options), self.not_found);
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let answers = reads || (self.fallback_on_method && fallback.is_some());
        if !answers {
            return Answering(Box::pin(async { Ok(method_not_allowed()) }));
        }
        let query = reads.then(|| Query::of(&request));
        Answering(Box::pin(async move {
            if let Some(query) = query
                && let Some(response) = query.answer(options).await
            {
                return Ok(response);
            }
            let Some(mut fallback) = fallback else {
                return Ok(status(StatusCode::NOT_FOUND));
            };
            let mut response = fallback.call(request).await?.map(Body::new);
            if not_found {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            Ok(response)
        }))
    }
}

fn method_not_allowed() -> Response<Body> {
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
    response
}

/// Serves one file, whatever the path of the request, as `tower_http::services::ServeFile` does.
#[derive(Clone, Debug)]
pub struct ServeFile(ServeDir);

impl ServeFile {
    /// Serves this file, whose media type follows from its name.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self(ServeDir::with(file.into(), Some(None)))
    }

    /// Serves this file with a media type.
    pub fn new_with_mime(file: impl Into<PathBuf>, media_type: HeaderValue) -> Self {
        Self(ServeDir::with(file.into(), Some(Some(media_type))))
    }

    /// Serves `NAME.gz` instead to clients that accept gzip.
    #[must_use]
    pub fn precompressed_gzip(self) -> Self {
        Self(self.0.precompressed_gzip())
    }

    /// Serves `NAME.br` instead to clients that accept Brotli.
    #[must_use]
    pub fn precompressed_br(self) -> Self {
        Self(self.0.precompressed_br())
    }

    /// Serves `NAME.zst` instead to clients that accept Zstandard.
    #[must_use]
    pub fn precompressed_zstd(self) -> Self {
        Self(self.0.precompressed_zstd())
    }
}

impl<B: Send + 'static> Service<Request<B>> for ServeFile {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        self.0.call(request)
    }
}

/// The service behind a [`ServeDir`] without a fallback: 404.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotFound;

impl<B> Service<Request<B>> for NotFound {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        std::future::ready(Ok(status(StatusCode::NOT_FOUND)))
    }
}
