//! A file, or a part of one, as a response.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use karez_transfer::{Report, Settings, SharedFile, Via};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

use crate::body::{Body, FilePart, Part};
use crate::handle::{Attachable, Route};
use crate::report::Observer;

/// A regular file, or a part of one, that is sent as the body of a response.
///
/// ```
/// use karez_hyper::SendFile;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
/// let response = SendFile::open(path).await?.range(..100).response();
/// assert_eq!(response.headers()["content-length"], "100");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SendFile {
    file: SharedFile,
    size: u64,
    range: Range<u64>,
    settings: Settings,
    observer: Observer,
    headers: HeaderMap,
}

impl SendFile {
    /// Opens a file in the blocking pool.
    ///
    /// # Errors
    /// As open(2); `InvalidInput` for anything but a regular file.
    pub async fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let opened = runtime.spawn_blocking(move || {
            let file = crate::open::open(&path)?;
            let size = crate::open::regular_size(&file)?;
            Ok::<_, io::Error>((file, size))
        });
        let (file, size) = opened.await.map_err(io::Error::other)??;
        Ok(Self::new(file, size))
    }

    /// Takes a file that is open. Blocks for fstat(2).
    ///
    /// # Errors
    /// As fstat(2); `InvalidInput` for anything but a regular file.
    pub fn from_file(file: File) -> io::Result<Self> {
        let size = crate::open::regular_size(&file)?;
        Ok(Self::new(file, size))
    }

    /// Takes a file of a known size, which others may share.
    pub fn new(file: impl Into<SharedFile>, size: u64) -> Self {
        Self {
            file: file.into(),
            size,
            range: 0..size,
            settings: Settings::default(),
            observer: Observer::default(),
            headers: HeaderMap::new(),
        }
    }

    /// Sends a part of the file. What lies behind its end is left out.
    #[must_use]
    pub fn range(mut self, range: impl RangeBounds<u64>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.size,
        };
        let end = end.min(self.size);
        self.range = start.min(end)..end;
        self
    }

    /// Sets the via and the other settings of the transfer; default `auto`. [`Via::Zerocopy`] is `auto`
    /// here, because tokio takes its notifications for the end of the connection.
    #[must_use]
    pub fn settings(mut self, settings: impl Into<Settings>) -> Self {
        self.settings = settings.into();
        if self.settings.via == Via::Zerocopy {
            self.settings.via = Via::Auto;
        }
        self
    }

    /// Sets the `Content-Type` of the response.
    #[must_use]
    pub fn content_type(mut self, content_type: HeaderValue) -> Self {
        self.headers.insert(CONTENT_TYPE, content_type);
        self
    }

    /// Calls `observe` with the report when the last byte has been passed to the kernel, or when the body
    /// is dropped before. The report has the via that ran, and the reason if the file was read: HTTP/2, a
    /// body that was not attached.
    #[must_use]
    pub fn on_report(mut self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.observer = Observer::new(observe);
        self
    }

    /// Returns the size of the whole file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the number of bytes to be sent.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the response: 200 with a `Content-Length`.
    #[must_use]
    pub fn response(mut self) -> Response<Body> {
        let length = self.len();
        self.headers.insert(CONTENT_LENGTH, length.into());
        let headers = std::mem::take(&mut self.headers);
        let part = Part::File(self.into_part());
        let mut response = response(VecDeque::from([part]), length, None);
        response.headers_mut().extend(headers);
        response
    }

    fn into_part(self) -> FilePart {
        let Self { file, range, settings, observer, .. } = self;
        FilePart { file, range, settings, observer }
    }
}

#[cfg(feature = "serve-dir")]
/// Returns a response without a body.
pub(crate) fn status(status: http::StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Returns a response of parts that can be attached to a connection.
pub(crate) fn response(
    parts: VecDeque<Part>,
    length: u64,
    encoding: Option<HeaderValue>,
) -> Response<Body> {
    let route = Arc::new(Route::new(length, encoding));
    let mut response = Response::new(Body::of(parts, Some(Arc::clone(&route))));
    response.extensions_mut().insert(Attachable(route));
    response
}
