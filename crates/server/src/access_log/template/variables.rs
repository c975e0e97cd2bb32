//! The variables of a log format, and their values.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use karez_http::target;

use super::super::escape::{push_escaped, push_json, push_word};
use crate::cost::RequestCost;
use crate::exchange_record::ExchangeRecord;
use crate::http_clock::HttpDate;
use crate::rfc3339;
use crate::server_timing;

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Known(Known),
    /// `$http_NAME`: the name of a request field, in lower case and with dashes.
    RequestField(Box<[u8]>),
}

/// A variable that does not depend on the name of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Args,
    BodyBytesSent,
    BytesSent,
    Cost,
    HeadTime,
    Host,
    Https,
    Msec,
    RemoteAddr,
    RemotePort,
    RemoteUser,
    Request,
    RequestMethod,
    RequestTime,
    RequestUri,
    Scheme,
    ServerName,
    ServerProtocol,
    SslCipher,
    SslProtocol,
    Status,
    TimeIso8601,
    TimeLocal,
    Uri,
    Via,
}

/// Request fields that have passwords.
const SECRET: [&str; 2] = ["http_authorization", "http_proxy_authorization"];

impl Variable {
    /// The variables by name.
    pub(super) const NAMES: &[(&str, Known)] = &[
        ("args", Known::Args),
        ("body_bytes_sent", Known::BodyBytesSent),
        ("bytes_sent", Known::BytesSent),
        ("cost", Known::Cost),
        ("head_time", Known::HeadTime),
        ("host", Known::Host),
        ("https", Known::Https),
        ("msec", Known::Msec),
        ("query_string", Known::Args),
        ("remote_addr", Known::RemoteAddr),
        ("remote_port", Known::RemotePort),
        ("remote_user", Known::RemoteUser),
        ("request", Known::Request),
        ("request_method", Known::RequestMethod),
        ("request_time", Known::RequestTime),
        ("request_uri", Known::RequestUri),
        ("scheme", Known::Scheme),
        ("server_name", Known::ServerName),
        ("server_protocol", Known::ServerProtocol),
        ("ssl_cipher", Known::SslCipher),
        ("ssl_protocol", Known::SslProtocol),
        ("status", Known::Status),
        ("time_iso8601", Known::TimeIso8601),
        ("time_local", Known::TimeLocal),
        ("uri", Known::Uri),
        ("via", Known::Via),
    ];

    /// Returns whether a variable would log passwords.
    pub(super) fn is_secret(name: &str) -> bool {
        SECRET.contains(&name.to_ascii_lowercase().as_str())
    }

    /// Returns the variable of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        if let Some((_, known)) = Self::NAMES.iter().find(|(known, _)| *known == name) {
            return Some(Self::Known(*known));
        }
        let field = name.strip_prefix("http_").filter(|field| !field.is_empty())?;
        let field = field.to_ascii_lowercase().replace('_', "-");
        Some(Self::RequestField(field.into_bytes().into()))
    }

    /// Appends the value. One that a request lacks is `-`, in JSON empty.
    pub(super) fn push(
        &self,
        out: &mut Vec<u8>,
        record: &ExchangeRecord<'_>,
        now: HttpDate,
        json: bool,
    ) {
        let text = match self {
            Self::Known(known) => known.text(record, now),
            Self::RequestField(name) => record.field_by_name(name),
        };
        match (text, json) {
            (Some(text), true) => push_json(out, &text),
            (Some(text), false) if *self == Self::Known(Known::RemoteUser) => push_word(out, &text),
            (Some(text), false) => push_escaped(out, &text),
            (None, true) => {}
            (None, false) => out.push(b'-'),
        }
    }
}

impl Known {
    /// Returns the value, not escaped; `None` if the request lacks it.
    fn text<'a>(self, record: &ExchangeRecord<'a>, now: HttpDate) -> Option<Cow<'a, [u8]>> {
        let request = record.request;
        let target = request.map(|request| request.target());
        Some(match self {
            Self::Args => query(target?)?.into(),
            Self::BodyBytesSent => number(record.body_bytes),
            Self::BytesSent => number(record.head_bytes + record.body_bytes),
            Self::Cost => cost(record.cost?),
            Self::HeadTime => seconds(record.head_time?),
            Self::Host => record.host()?.to_ascii_lowercase().into(),
            Self::Https => record.tls.map(|_| &b"on"[..])?.into(),
            Self::Msec => seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            Self::RemoteAddr => made(|out| record.push_client(out)),
            Self::RemotePort => number(record.client.address?.port().into()),
            Self::RemoteUser => record.user()?.into(),
            Self::Request => record.request_line.into(),
            Self::RequestMethod => method(record.request_line)?.into(),
            Self::RequestTime => seconds(record.time),
            Self::RequestUri => target?.into(),
            Self::Scheme => (if record.tls.is_some() { &b"https"[..] } else { b"http" }).into(),
            Self::ServerName => {
                Some(record.site.as_bytes()).filter(|name| !name.is_empty())?.into()
            }
            Self::ServerProtocol => request?.version().as_str().as_bytes().into(),
            Self::SslCipher => record.tls?.cipher.as_bytes().into(),
            Self::SslProtocol => record.tls?.version.as_bytes().into(),
            Self::Status => number(record.status.code().into()),
            Self::TimeIso8601 => iso8601(now),
            Self::TimeLocal => made(|out| now.push_common(out)),
            Self::Uri => path(target?)?,
            Self::Via => record.via?.name().as_bytes().into(),
        })
    }
}

fn made(push: impl FnOnce(&mut Vec<u8>)) -> Cow<'static, [u8]> {
    let mut out = Vec::new();
    push(&mut out);
    out.into()
}

fn number(number: u64) -> Cow<'static, [u8]> {
    number.to_string().into_bytes().into()
}

/// Returns seconds with three decimals.
fn seconds(time: Duration) -> Cow<'static, [u8]> {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis()).into_bytes().into()
}

/// Returns a time as nginx does, with an offset in place of the `Z`.
fn iso8601(now: HttpDate) -> Cow<'static, [u8]> {
    let text = rfc3339::format(now.unix.try_into().unwrap_or(i64::MAX));
    text.replace('Z', "+00:00").into_bytes().into()
}

/// Returns the words of a cost, without the space in front.
fn cost(cost: &RequestCost) -> Cow<'static, [u8]> {
    let text = made(|out| server_timing::push_text(out, cost));
    text.trim_ascii_start().to_vec().into()
}

fn method(request_line: &[u8]) -> Option<&[u8]> {
    let method = request_line.split(|&byte| byte == b' ').next()?;
    (!method.is_empty()).then_some(method)
}

fn query(target: &[u8]) -> Option<&[u8]> {
    let at = memchr::memchr(b'?', target)?;
    target.get(at + 1..)
}

/// Returns the path, decoded and normalized; `None` if it is none.
fn path(target: &[u8]) -> Option<Cow<'static, [u8]>> {
    let parsed = target::parse(target).ok()?;
    let mut path = vec![b'/'];
    path.extend_from_slice(&parsed.path);
    if parsed.directory && path.len() > 1 {
        path.push(b'/');
    }
    Some(path.into())
}
