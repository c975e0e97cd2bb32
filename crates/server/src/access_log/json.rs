//! Lines of the format `json`.

use std::time::Duration;

use karez_http::Field;
use serde_json::{Map, Value};

use crate::exchange_record::ExchangeRecord;
use crate::http_clock::HttpDate;
use crate::rfc3339;
use crate::server_timing;

/// Appends an object with the members of a record. Those that a request lacks are left out, except for
/// referrer and user agent, which are `-`.
pub(super) fn push(out: &mut Vec<u8>, record: &ExchangeRecord<'_>, now: HttpDate) {
    let mut client = Vec::new();
    record.push_client(&mut client);
    let field = |field| text(record.field(field).unwrap_or(b"-"));
    let mut line = Map::new();
    let mut add = |name: &str, value: Value| {
        line.insert(name.to_owned(), value);
    };
    add("time", rfc3339::format(now.unix.try_into().unwrap_or(i64::MAX)).into());
    add("peer", text(&client));
    add("request", text(record.request_line));
    add("status", record.status.code().into());
    add("bytes", record.body_bytes.into());
    add("seconds", record.time.as_secs_f64().into());
    add("referer", field(Field::Referer));
    add("user_agent", field(Field::UserAgent));
    let members = [
        ("user", record.user().map(|user| text(&user))),
        ("host", record.host().map(text)),
        ("protocol", record.request.map(|request| request.version().as_str().into())),
        ("head_seconds", record.head_time.map(|time: Duration| time.as_secs_f64().into())),
        ("tls_version", record.tls.map(|tls| tls.version.into())),
        ("tls_cipher", record.tls.map(|tls| tls.cipher.into())),
        // With a cost, its member of this name is the first choice.
        ("via", record.via.filter(|_| record.cost.is_none()).map(|via| via.name().into())),
    ];
    for (name, value) in members {
        value.into_iter().for_each(|value| add(name, value));
    }
    if let Some(cost) = record.cost {
        server_timing::add_members(&mut line, cost);
    }
    // Writing to memory cannot fail.
    let _written = serde_json::to_writer(out, &line);
}

fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into()
}
