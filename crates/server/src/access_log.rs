//! The access log: one line per exchange.
//!
//! `common` and `combined` are the formats of Apache and nginx; `json` has one object per line; a
//! [template](LogTemplate) has the variables of nginx. Text from the client is escaped, so no request can
//! add a line. With `--explain` a line of the fixed formats ends with the cost of the response, or the
//! object has further members.

use karez_http::Field;

use crate::exchange_record::ExchangeRecord;
use crate::http_clock;
use crate::log::Log;
use crate::rfc3339;
use crate::server_timing;
use escape::{push_escaped, push_word};
use template::LogTemplate;

mod escape;
mod json;
pub(crate) mod template;

/// The format of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// The Common Log Format.
    Common,
    /// The same with `Referer` and `User-Agent`.
    Combined,
    /// A JSON object.
    Json,
    /// A format of one's own. With `json` values are escaped for strings of JSON.
    Template {
        /// The text with its variables.
        template: LogTemplate,
        /// Whether a line is an object of JSON.
        json: bool,
    },
}

impl LogFormat {
    /// Returns the line that reports `count` lines dropped because they could not be written; in
    /// the JSON formats it is an object, too.
    #[must_use]
    pub fn dropped(&self, count: u64) -> String {
        let reason = "the reader or the disk of the log is too slow, or full";
        match self {
            Self::Common | Self::Combined | Self::Template { json: false, .. } => {
                format!("karez: {count} lines were dropped, {reason}")
            }
            Self::Json | Self::Template { json: true, .. } => serde_json::json!({
                "time": rfc3339::format(http_clock::now().unix.try_into().unwrap_or(i64::MAX)),
                "dropped": count,
                "reason": reason,
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

impl AccessLog {
    /// Returns an access log that writes lines of this format.
    #[must_use]
    pub fn new(log: Log, format: LogFormat) -> Self {
        Self { log, format }
    }

    /// Returns the log that has the lines.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn write(&self, record: &ExchangeRecord<'_>) {
        let now = http_clock::now();
        self.log.line(|out| {
            match &self.format {
                LogFormat::Common => common(out, record, now),
                LogFormat::Combined => combined(out, record, now),
                LogFormat::Json => return json::push(out, record, now),
                LogFormat::Template { template, json } => {
                    return template.push(out, record, now, *json);
                }
            }
            if let Some(cost) = record.cost {
                server_timing::push_text(out, cost);
            }
        });
    }
}

fn common(out: &mut Vec<u8>, record: &ExchangeRecord<'_>, now: http_clock::HttpDate) {
    record.push_client(out);
    out.extend_from_slice(b" - ");
    match record.user() {
        // Without quotes around it no space may be in it.
        Some(user) => push_word(out, &user),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" [");
    now.push_common(out);
    out.extend_from_slice(b"] \"");
    push_escaped(out, record.request_line);
    let mut number = itoa::Buffer::new();
    for (before, value) in [("\" ", record.status.code().into()), (" ", record.body_bytes)] {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(number.format(value).as_bytes());
    }
}

fn combined(out: &mut Vec<u8>, record: &ExchangeRecord<'_>, now: http_clock::HttpDate) {
    common(out, record, now);
    for field in [Field::Referer, Field::UserAgent] {
        out.extend_from_slice(b" \"");
        push_escaped(out, record.field(field).unwrap_or(b"-"));
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests;
