//! From a request to a response, by the pure functions of karez-http: preconditions, ranges, fields.

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, LAST_MODIFIED, LOCATION, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use karez_http::condition::{self, Precondition, Validators};
use karez_http::range::{self, ByteRange, Selection};
use karez_http::{
    Coding, EntityTag, Field, Multipart, Timestamp, date, encoding, multipart, target,
};
use karez_transfer::{Device, SharedFile};
use std::collections::VecDeque;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::lookup::{Found, Opened, lookup};
use super::options::Options;
use crate::body::{Body, FilePart, Part};
use crate::send_file::{self, status};

/// Separates the parts of a response with several ranges.
const BOUNDARY: &str = "karez-4d8b1f7c2a6e9035";

/// A GET or HEAD.
pub(super) struct Query {
    head: bool,
    /// `None` if its grammar is not that of HTTP/1.1.
    request: Option<karez_http::Request>,
}

impl Query {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self { head: request.method() == Method::HEAD, request: assemble(request) }
    }

    /// Answers it; `None` if there is no such file.
    pub(super) async fn answer(self, options: Arc<Options>) -> Option<Response<Body>> {
        let Some(request) = self.request else {
            return Some(status(StatusCode::BAD_REQUEST));
        };
        let response = answer(options, &request).await?;
        Some(if self.head { response.map(|_| Body::empty()) } else { response })
    }
}

async fn answer(options: Arc<Options>, request: &karez_http::Request) -> Option<Response<Body>> {
    let target = target::parse(request.target()).ok()?;
    if std::str::from_utf8(&target.path).is_err() {
        return None; // as tower-http, whose names are UTF-8
    }
    let preferred = encoding::preferred(request);
    let accepted: Vec<_> =
        preferred.iter().filter(|coding| options.codings.contains(coding)).collect();
    let mut response = match lookup(&options, &target, accepted).await {
        Ok(Found::Missing) => return None,
        Ok(Found::Directory) => redirect(request, &target),
        Ok(Found::File(opened)) => of_file(&options, request, *opened),
        Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
    };
    if !options.codings.is_empty() {
        insert(&mut response, VARY, b"accept-encoding");
    }
    Some(response)
}

/// Returns the head of a request in the form of karez-http.
fn assemble<B>(request: &Request<B>) -> Option<karez_http::Request> {
    let version = match request.version() {
        Version::HTTP_10 => karez_http::Version::Http10,
        Version::HTTP_2 => karez_http::Version::Http2,
        _ => karez_http::Version::Http11,
    };
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let fields =
        request.headers().iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let method = request.method().as_str().as_bytes();
    karez_http::Request::assemble(method, target.as_bytes(), version, fields).ok()
}

/// Leads to the same name with a slash, by a relative reference, which is right below a `nest`.
fn redirect(request: &karez_http::Request, target: &target::Target) -> Response<Body> {
    let query = target.query.clone().and_then(|query| request.target().get(query));
    let mut response = status(StatusCode::TEMPORARY_REDIRECT);
    insert(&mut response, LOCATION, &target::directory_reference(&target.path, query));
    response
}

fn of_file(options: &Options, request: &karez_http::Request, opened: Opened) -> Response<Body> {
    let size = opened.metadata.len();
    let now = seconds_since_1970();
    let modified = u64::try_from(opened.metadata.mtime())
        .ok()
        .filter(|&second| second > 1 && condition::is_over(second, now));
    let etag = entity_tag(&opened, now);
    let validators = Validators {
        etag: etag.as_ref(),
        modified,
        changed: modified.unwrap_or(u64::MAX),
        dates: condition::Dates::NotLater,
        now,
    };
    let precondition = condition::evaluate(request, &validators);
    let mut response = match precondition {
        Precondition::NotModified => status(StatusCode::NOT_MODIFIED),
        Precondition::PreconditionFailed => return status(StatusCode::PRECONDITION_FAILED),
        Precondition::Proceed => {
            let selection = match request.value(Field::Range) {
                Some(value) if condition::if_range(request, &validators) => {
                    range::select(value, size)
                }
                _ => Selection::Whole,
            };
            selected(options, opened, selection)
        }
    };
    if let Some(modified) = modified {
        insert(&mut response, LAST_MODIFIED, &date::format(modified));
    }
    if let Some(etag) = etag {
        insert(&mut response, ETAG, etag.as_bytes());
    }
    response
}

/// Returns the response with the selected parts of a file.
fn selected(options: &Options, opened: Opened, selection: Selection) -> Response<Body> {
    let Opened { file, metadata, name, coding } = opened;
    let size = metadata.len();
    let media_type = media_type(options, &name);
    let source = Source { options, file: file.into(), metadata, coding };
    let mut response = match selection {
        Selection::Whole => source.parts([source.part(0..size)].into(), size),
        Selection::One(range) => {
            let mut field = Vec::new();
            multipart::content_range(range, size, &mut field);
            let parts = [source.part(range.start..range.end())].into();
            let mut response = source.parts(parts, range.length);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert(&mut response, CONTENT_RANGE, &field);
            response
        }
        Selection::Many(ranges) => return source.multipart(&ranges, &media_type),
        Selection::Unsatisfiable => {
            let mut field = Vec::new();
            multipart::content_range_unsatisfied(size, &mut field);
            let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
            insert(&mut response, CONTENT_RANGE, &field);
            return response;
        }
    };
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// The file behind a response.
struct Source<'a> {
    options: &'a Options,
    file: SharedFile,
    metadata: Metadata,
    coding: Option<Coding>,
}

impl Source<'_> {
    fn part(&self, range: std::ops::Range<u64>) -> Part {
        let remote = self.options.remote.get().copied().unwrap_or(false);
        let device = Device { number: self.metadata.dev(), remote };
        let settings = self.options.settings.device(device);
        let observer = self.options.observer.clone();
        Part::File(FilePart { file: self.file.clone(), range, settings, observer })
    }

    fn parts(&self, parts: VecDeque<Part>, length: u64) -> Response<Body> {
        let encoding = self.coding.map(|coding| HeaderValue::from_static(coding.token()));
        let mut response = send_file::response(parts, length, encoding.clone());
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, encoding);
        }
        response
    }

    fn multipart(&self, ranges: &[ByteRange], media_type: &HeaderValue) -> Response<Body> {
        let size = self.metadata.len();
        let text = media_type.to_str().unwrap_or(UNKNOWN);
        let multipart = Multipart::new(ranges, size, text, BOUNDARY);
        let length = multipart.length();
        if length > size {
            let mut whole = self.parts([self.part(0..size)].into(), size);
            whole.headers_mut().insert(CONTENT_TYPE, media_type.clone());
            return whole;
        }
        let (heads, tail) = multipart.into_parts();
        let mut parts = VecDeque::with_capacity(2 * heads.len() + 1);
        for (head, range) in heads {
            parts.push_back(Part::Memory(head.into()));
            parts.push_back(self.part(range.start..range.end()));
        }
        parts.push_back(Part::Memory(tail.into()));
        let mut response = self.parts(parts, length);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let mut field = Vec::new();
        multipart::content_type(BOUNDARY, &mut field);
        insert(&mut response, CONTENT_TYPE, &field);
        response
    }
}

const UNKNOWN: &str = "application/octet-stream";

fn media_type(options: &Options, name: &Path) -> HeaderValue {
    if let Some(Some(media_type)) = &options.file {
        return media_type.clone();
    }
    let guessed = mime_guess::from_path(name).first_raw().unwrap_or(UNKNOWN);
    HeaderValue::from_static(guessed)
}

/// Returns the tag of a file, unless it may still change without its time stamps.
fn entity_tag(opened: &Opened, now: u64) -> Option<EntityTag> {
    let metadata = &opened.metadata;
    let second = |seconds: i64| u64::try_from(seconds).ok().filter(|&second| second > 1);
    let changed = second(metadata.ctime()).or(second(metadata.mtime()))?;
    if !condition::is_over(changed, now) {
        return None;
    }
    let stamp = |seconds, nanoseconds: i64| Timestamp {
        seconds,
        nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
    };
    Some(EntityTag::local(
        metadata.len(),
        stamp(metadata.mtime(), metadata.mtime_nsec()),
        stamp(metadata.ctime(), metadata.ctime_nsec()),
        metadata.ino() ^ metadata.dev().rotate_left(40),
        opened.coding.map(Coding::token),
    ))
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Inserts a field; one that no HTTP field may have is left out.
fn insert(response: &mut Response<Body>, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        response.headers_mut().insert(name, value);
    }
}
