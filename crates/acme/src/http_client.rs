//! The requests to an ACME server: blocking HTTP/1.1 over TLS by ureq, as instant-acme's client.
//!
//! Each call blocks its thread, so a future of instant-acme is complete when it is polled first. The last
//! response is noted, because instant-acme's errors name neither URL nor status.
//!
//! # Limitations
//!
//! A response may have 1 MiB and take a minute. Proxies are taken from the environment (`HTTPS_PROXY`,
//! `ALL_PROXY`, `NO_PROXY`).

use bytes::Bytes;
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};
use ureq::http::{Request, Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use crate::error::{AcmeError, Failure};

const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_BODY: u64 = 1 << 20;

/// A client that trusts certain authorities. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    last: Arc<Mutex<LastCall>>,
}

/// The last request and its response.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastCall {
    pub(crate) url: String,
    /// `None` if there was no response.
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<Duration>,
}

impl Client {
    /// Makes a client that trusts the authorities in this PEM file, or those of the system.
    ///
    /// # Errors
    /// The file cannot be used, or the system has no authorities.
    pub(crate) fn new(ca: Option<&Path>) -> io::Result<Self> {
        let roots = match ca {
            Some(path) => roots_of(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?,
            None => roots_of_the_system()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .timeout_global(Some(CALL_TIMEOUT))
            .build()
            .new_agent();
        Ok(Self { agent, last: Arc::default() })
    }

    /// Returns the last request and its response.
    pub(crate) fn last(&self) -> LastCall {
        self.lock().clone()
    }

    /// Runs a future of instant-acme, which makes its requests by this client.
    ///
    /// # Errors
    /// As the future, with the URL of the last request.
    pub(crate) fn run<T>(
        &self,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, AcmeError> {
        *self.lock() = LastCall::default();
        match now(future) {
            Some(result) => result.map_err(|error| self.explain(&error)),
            None => {
                Err(AcmeError::new(Failure::Refused, &self.last().url, "a call that never ends"))
            }
        }
    }

    /// Returns an error with the URL, the status and the problem document.
    fn explain(&self, error: &Error) -> AcmeError {
        let last = self.last();
        let problem = match error {
            Error::Api(problem) => problem.r#type.as_deref().unwrap_or_default(),
            _ => "",
        };
        let kind = match last.status {
            _ if problem == "urn:ietf:params:acme:error:accountDoesNotExist" => Failure::NoAccount,
            None | Some(500..) => Failure::Unavailable,
            Some(_) if problem == "urn:ietf:params:acme:error:badNonce" => Failure::Unavailable,
            Some(_) => Failure::Refused,
        };
        let text = match (error, last.status) {
            (Error::Api(problem), Some(status)) => format!("status {status}: {problem}"),
            (Error::Json(error), Some(status)) => {
                format!("status {status}, not as RFC 8555 has it: {error}")
            }
            _ => error.to_string(),
        };
        AcmeError { url: last.url, text, kind, retry_after: last.retry_after }
    }

    fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        *self.lock() = LastCall { url, ..LastCall::default() };
        let Some(Ok(body)) = now(body.collect()) else { return Err(Error::Str("request body")) };
        let request = Request::from_parts(parts, body.to_bytes().to_vec());
        let response = self.agent.run(request).map_err(other)?;
        let (parts, mut body) = response.into_parts();
        let limited = body.with_config().limit(MAX_BODY);
        let response = Response::from_parts(parts, limited.read_to_vec().map_err(other)?);
        self.note(&response);
        check(&response).map_err(|text| Error::Other(text.into()))?;
        let (parts, body) = response.into_parts();
        Ok(BytesResponse { parts, body: Box::new(Bytes::from(body)) })
    }

    fn note(&self, response: &Response<Vec<u8>>) {
        let mut last = self.lock();
        last.status = Some(response.status().as_u16());
        let field = response.headers().get(header::RETRY_AFTER);
        last.retry_after = field.and_then(|value| retry_after(value.to_str().ok()?));
    }

    fn lock(&self) -> MutexGuard<'_, LastCall> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(std::future::ready(self.send(request)))
    }
}

/// Returns the result of a future that waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// Rejects an error that is no problem document (RFC 7807), such as the page of a proxy.
fn check(response: &Response<Vec<u8>>) -> Result<(), String> {
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_problem =
        content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"));
    if status.is_client_error() || status.is_server_error() {
        return if is_problem { Ok(()) } else { Err(format!("status {status}")) };
    }
    Ok(())
}

/// Returns the time of a field `Retry-After`: seconds, or a date.
fn retry_after(value: &str) -> Option<Duration> {
    match value.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

fn other(error: ureq::Error) -> Error {
    Error::Other(Box::new(error))
}

fn roots_of(path: &Path) -> io::Result<Vec<Certificate<'static>>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut roots = Vec::new();
    for item in ureq::tls::parse_pem(&std::fs::read(path)?) {
        match item {
            Ok(PemItem::Certificate(certificate)) => roots.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(invalid(format!("not PEM: {error}"))),
        }
    }
    if roots.is_empty() {
        return Err(invalid("no certificate".to_owned()));
    }
    Ok(roots)
}

fn roots_of_the_system() -> io::Result<Vec<Certificate<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("the system trusts no certificate authority{why}"),
        ));
    }
    Ok(found.certs.iter().map(|root| Certificate::from_der(root).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 120 "), Some(Duration::from_secs(120)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1000));
        assert!(retry_after(&date).is_some_and(|time| time > Duration::from_secs(900)));
        assert_eq!(retry_after("Tue, 01 Jan 2019 00:00:00 GMT"), None);
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn errors_without_a_problem_document_are_named_by_their_status() {
        let response = |status: u16, kind: &str| {
            let builder = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
            builder.body(b"<html>".to_vec()).unwrap_or_default()
        };
        assert_eq!(check(&response(200, "text/html")), Ok(()));
        assert_eq!(check(&response(403, "application/problem+json; charset=utf-8")), Ok(()));
        assert_eq!(check(&response(502, "text/html")), Err("status 502 Bad Gateway".to_owned()));
    }
}
