//! The access log: one line an exchange, in the form that its reader knows.
//!
//! `common` and `combined` are the formats of Apache and nginx; `json` has an object a line.
//! What a client sent is escaped, so a line is a line whatever was in the request. With `--explain`
//! what the answer cost stands at the end of a line, or in further members of the object.

use std::io::Write as _;
use std::str::FromStr;
use std::time::Duration;

use karez_http::Field;
use karez_http::Request;
use karez_http::Status;
use karez_reactor::Peer;

use crate::account::Account;
use crate::clock::{self, Second};
use crate::explain;
use crate::iso;
use crate::log::Log;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The Common Log Format.
    Common,
    /// The same with `Referer` and `User-Agent`.
    Combined,
    /// A JSON object.
    Json,
}

impl FromStr for Format {
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

impl Format {
    /// Returns the line that stands for `count` lines that were dropped because the reader of the log
    /// is too slow; an object where every line is one.
    #[must_use]
    pub fn dropped(self, count: u64) -> String {
        match self {
            Self::Common | Self::Combined => {
                format!("karez: {count} lines were dropped, their reader is too slow")
            }
            Self::Json => serde_json::json!({
                "time": iso::format(clock::now().unix.try_into().unwrap_or(i64::MAX)),
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
    format: Format,
}

/// What there is to say of one exchange.
pub(crate) struct Entry<'a> {
    pub(crate) peer: Peer,
    pub(crate) request_line: &'a [u8],
    pub(crate) request: Option<&'a Request>,
    pub(crate) status: Status,
    /// Bytes of body that left.
    pub(crate) bytes: u64,
    /// From the request to the last byte.
    pub(crate) took: Duration,
    pub(crate) now: Second,
    /// What it cost, where that is told.
    pub(crate) account: Option<&'a Account>,
}

impl AccessLog {
    /// Lines of this format into this log.
    #[must_use]
    pub fn new(log: Log, format: Format) -> Self {
        Self { log, format }
    }

    pub(crate) fn write(&self, entry: &Entry<'_>) {
        self.log.line(|out| {
            match self.format {
                Format::Common => common(out, entry),
                Format::Combined => combined(out, entry),
                Format::Json => return json(out, entry),
            }
            if let Some(account) = entry.account {
                explain::push_text(out, account);
            }
        });
    }
}

impl Entry<'_> {
    fn field(&self, field: Field) -> &[u8] {
        self.request.and_then(|request| request.value(field)).unwrap_or(b"-")
    }
}

fn common(out: &mut Vec<u8>, entry: &Entry<'_>) {
    push_peer(out, entry.peer);
    out.extend_from_slice(b" - - [");
    entry.now.push_common(out);
    out.extend_from_slice(b"] \"");
    push_escaped(out, entry.request_line);
    // Writing to memory cannot fail.
    let _written = write!(out, "\" {} {}", entry.status.code(), entry.bytes);
}

fn combined(out: &mut Vec<u8>, entry: &Entry<'_>) {
    common(out, entry);
    for field in [Field::Referer, Field::UserAgent] {
        out.extend_from_slice(b" \"");
        push_escaped(out, entry.field(field));
        out.push(b'"');
    }
}

fn json(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let mut peer = Vec::new();
    push_peer(&mut peer, entry.peer);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut line = serde_json::json!({
        "time": iso::format(entry.now.unix.try_into().unwrap_or(i64::MAX)),
        "peer": text(&peer),
        "request": text(entry.request_line),
        "status": entry.status.code(),
        "bytes": entry.bytes,
        "seconds": entry.took.as_secs_f64(),
        "referer": text(entry.field(Field::Referer)),
        "user_agent": text(entry.field(Field::UserAgent)),
    });
    if let (Some(account), Some(members)) = (entry.account, line.as_object_mut()) {
        explain::add_members(members, account);
    }
    let _written = serde_json::to_writer(out, &line);
}

fn push_peer(out: &mut Vec<u8>, peer: Peer) {
    let _written = match peer {
        Peer::Tcp(address) => write!(out, "{}", address.ip()),
        Peer::Unix => out.write_all(b"unix:"),
    };
}

/// As nginx does: quotes, backslashes and all that is not printable ASCII as `\xHH`.
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
    use karez_http::Decoder;
    use karez_http::Limits;
    use karez_http::date;

    const HEAD: &[u8] =
        b"GET /a\"b\x80 HTTP/1.1\r\nHost: x\r\nReferer: \\r\r\nUser-Agent: curl/8\r\n\r\n";

    fn written(form: fn(&mut Vec<u8>, &Entry<'_>)) -> String {
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(HEAD);
        let request = decoder.next().unwrap().unwrap();
        let entry = Entry {
            peer: Peer::Tcp("[::1]:9".parse().unwrap()),
            request_line: request.request_line(),
            request: Some(&request),
            status: Status::NotFound,
            bytes: 14,
            took: Duration::from_millis(250),
            now: Second { unix: 784_111_777, http: date::format(784_111_777) },
            account: None,
        };
        let mut out = Vec::new();
        form(&mut out, &entry);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_a_line_whatever_was_asked() {
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
        assert_eq!(line["status"], 404);
        assert_eq!(line["bytes"], 14);
        assert_eq!(line["seconds"], 0.25);
        assert_eq!(line["referer"], "\\r");
        assert_eq!(line["user_agent"], "curl/8");
    }
}
