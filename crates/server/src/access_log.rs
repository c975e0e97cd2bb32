//! The access log: one line per exchange.
//!
//! `common` and `combined` are the formats of Apache and nginx; `json` has one object per line. Text from
//! the client is escaped, so no request can add a line. With `--explain` a line ends with the cost of the
//! response, or the object has further members.

use std::io::Write as _;
use std::str::FromStr;
use std::time::Duration;

use karez_http::Field;
use karez_http::Request;
use karez_http::Status;
use karez_reactor::Peer;

use crate::cost::RequestCost;
use crate::http_clock::{self, HttpDate};
use crate::log::Log;
use crate::rfc3339;
use crate::server_timing;

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// The Common Log Format.
    Common,
    /// The same with `Referer` and `User-Agent`.
    Combined,
    /// A JSON object.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "common" => Ok(Self::Common),
            "combined" => Ok(Self::Combined),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl LogFormat {
    /// Returns the line that reports `count` lines dropped because the reader of the log is too slow; in
    /// the JSON format it is an object, too.
    #[must_use]
    pub fn dropped(self, count: u64) -> String {
        match self {
            Self::Common | Self::Combined => {
                format!("karez: {count} lines were dropped, their reader is too slow")
            }
            Self::Json => serde_json::json!({
                "time": rfc3339::format(http_clock::now().unix.try_into().unwrap_or(i64::MAX)),
                "dropped": count,
                "reason": "the reader of the log is too slow",
            })
            .to_string(),
        }
    }
}

/// The access log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    log: Log,
    format: LogFormat,
}

/// The facts about one exchange.
pub(crate) struct AccessEntry<'a> {
    pub(crate) peer: Peer,
    pub(crate) request_line: &'a [u8],
    pub(crate) request: Option<&'a Request>,
    pub(crate) status: Status,
    /// Bytes of the body that were sent.
    pub(crate) bytes: u64,
    /// Time from the end of the request to the last byte of the response.
    pub(crate) took: Duration,
    pub(crate) now: HttpDate,
    /// Present on a TLS connection.
    pub(crate) tls: Option<TlsDescription>,
    /// Present with `--explain`.
    pub(crate) cost: Option<&'a RequestCost>,
}

/// The negotiated TLS of a connection, for the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TlsDescription {
    pub(crate) version: &'static str,
    pub(crate) cipher: &'static str,
}

impl AccessLog {
    /// Returns an access log that writes lines of this format.
    #[must_use]
    pub fn new(log: Log, format: LogFormat) -> Self {
        Self { log, format }
    }

    pub(crate) fn write(&self, entry: &AccessEntry<'_>) {
        self.log.line(|out| {
            match self.format {
                LogFormat::Common => common(out, entry),
                LogFormat::Combined => combined(out, entry),
                LogFormat::Json => return json(out, entry),
            }
            if let Some(cost) = entry.cost {
                server_timing::push_text(out, cost);
            }
        });
    }
}

impl AccessEntry<'_> {
    fn field(&self, field: Field) -> &[u8] {
        self.request.and_then(|request| request.value(field)).unwrap_or(b"-")
    }
}

fn common(out: &mut Vec<u8>, entry: &AccessEntry<'_>) {
    push_peer(out, entry.peer);
    out.extend_from_slice(b" - - [");
    entry.now.push_common(out);
    out.extend_from_slice(b"] \"");
    push_escaped(out, entry.request_line);
    // Writing to memory cannot fail.
    let _written = write!(out, "\" {} {}", entry.status.code(), entry.bytes);
}

fn combined(out: &mut Vec<u8>, entry: &AccessEntry<'_>) {
    common(out, entry);
    for field in [Field::Referer, Field::UserAgent] {
        out.extend_from_slice(b" \"");
        push_escaped(out, entry.field(field));
        out.push(b'"');
    }
}

fn json(out: &mut Vec<u8>, entry: &AccessEntry<'_>) {
    let mut peer = Vec::new();
    push_peer(&mut peer, entry.peer);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut line = serde_json::json!({
        "time": rfc3339::format(entry.now.unix.try_into().unwrap_or(i64::MAX)),
        "peer": text(&peer),
        "request": text(entry.request_line),
        "status": entry.status.code(),
        "bytes": entry.bytes,
        "seconds": entry.took.as_secs_f64(),
        "referer": text(entry.field(Field::Referer)),
        "user_agent": text(entry.field(Field::UserAgent)),
    });
    if let (Some(request), Some(members)) = (entry.request, line.as_object_mut()) {
        members.insert("protocol".to_owned(), request.version().as_str().into());
    }
    if let (Some(tls), Some(members)) = (entry.tls, line.as_object_mut()) {
        members.insert("tls_version".to_owned(), tls.version.into());
        members.insert("tls_cipher".to_owned(), tls.cipher.into());
    }
    if let (Some(cost), Some(members)) = (entry.cost, line.as_object_mut()) {
        server_timing::add_members(members, cost);
    }
    let _written = serde_json::to_writer(out, &line);
}

fn push_peer(out: &mut Vec<u8>, peer: Peer) {
    let _written = match peer.address {
        Some(address) => write!(out, "{}", address.ip()),
        None => out.write_all(b"unix:"),
    };
}

/// Appends text with quotes, backslashes and all bytes but printable ASCII as `\xHH`, as nginx does.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => {
                let _written = write!(out, "\\x{byte:02X}");
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karez_http::Version;
    use karez_http::date;

    fn written(form: fn(&mut Vec<u8>, &AccessEntry<'_>)) -> String {
        let fields = [(&b"referer"[..], &b"\\r"[..]), (b"user-agent", b"curl/8")];
        let request = Request::assemble(b"GET", b"/a\"b\x80", Version::Http11, fields).unwrap();
        let entry = AccessEntry {
            peer: Peer::new(Some("[::1]:9".parse().unwrap()), 0),
            request_line: request.request_line(),
            request: Some(&request),
            status: Status::NotFound,
            bytes: 14,
            took: Duration::from_millis(250),
            now: HttpDate { unix: 784_111_777, http: date::format(784_111_777) },
            tls: None,
            cost: None,
        };
        let mut out = Vec::new();
        form(&mut out, &entry);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_from_the_client_is_escaped() {
        let line = r#"::1 - - [06/Nov/1994:08:49:37 +0000] "GET /a\x22b\x80 HTTP/1.1" 404 14"#;
        assert_eq!(written(common), line);
        assert_eq!(written(combined), format!(r#"{line} "\x5Cr" "curl/8""#));
    }

    #[test]
    fn json_lines_parse() {
        let line: serde_json::Value = serde_json::from_str(&written(json)).unwrap();
        assert_eq!(line["time"], "1994-11-06T08:49:37Z");
        assert_eq!(line["peer"], "::1");
        assert_eq!(line["request"], "GET /a\"b\u{fffd} HTTP/1.1");
        assert_eq!(line["protocol"], "HTTP/1.1");
        assert_eq!(line["status"], 404);
        assert_eq!(line["bytes"], 14);
        assert_eq!(line["seconds"], 0.25);
        assert_eq!(line["referer"], "\\r");
        assert_eq!(line["user_agent"], "curl/8");
    }
}
