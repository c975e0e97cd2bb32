//! `--explain`: what an answer costs, told by the server itself in the words of the laboratory, to
//! the client in `Server-Timing` (W3C) and to the operator in the access log.
//!
//! A head leaves before its body, so it tells how the body is going to leave and what was done up
//! to the head: `via` (which was chosen; a refusal leads to another), `cache` (how many of the
//! body's bytes are in the page cache), `head-calls` and `head-cpu`. The access log tells what the
//! whole came to: `ran` says which vias moved bytes, `copied` whether the CPU did.
//! Where operations are handed over, `cpu` would mislead and is called `own-cpu`.
//!
//! What it does badly: it tells strangers what of a file is in memory, and how busy the machine is;
//! and asking for that takes the time of a thread that others wait for, 45 µs a GiB at the least.

use karez_http::Head;
use karez_reactor::Model;
use karez_transfer::{Calls, Copied, Report, Via};
use rustix::io::Errno;
use serde_json::{Map, Value, json};
use std::io::Write as _;

use crate::account::{Account, Outlook};

/// Adds the field to a head: what was done up to here, and what `ahead` finds out of the body.
pub(crate) fn tell(
    head: &mut Head<'_>,
    account: &mut Account,
    ahead: impl FnOnce(Model) -> Option<Outlook>,
) {
    let model = account.model;
    account.outlook = account.leave_out(|| ahead(model));
    let mut value = Vec::with_capacity(128);
    if let Some(Outlook { via, bytes, cached }) = account.outlook {
        let _written = write!(value, "via;desc=\"{via}\", ");
        // It passes the page cache by.
        let cached = if via == Via::Direct { Some(0) } else { cached };
        if let Some(cached) = cached {
            let _written = write!(value, "cache;desc=\"{cached} of {bytes}\", ");
        }
    }
    value.extend_from_slice(b"head-calls;desc=\"");
    push_calls(&mut value, &account.calls, ' ', ", ");
    let cpu = cpu_name(account.model);
    let milliseconds = account.cpu.as_secs_f64() * 1e3;
    let _written = write!(value, "\", head-{cpu};dur={milliseconds:.3}");
    head.field("Server-Timing", &value);
}

/// Appends what the whole came to, as words with their values.
pub(crate) fn push_text(out: &mut Vec<u8>, account: &Account) {
    let whole = Whole::of(account);
    let via = whole.via.map_or("-", Via::name);
    let ran = if whole.ran.is_empty() { "-" } else { &whole.ran };
    let copied = whole.copied.unwrap_or("-");
    // Writing to memory cannot fail.
    let _written = write!(out, " via={via} ran={ran} copied={copied}");
    let _written = match whole.cached {
        Some(cached) => write!(out, " cache={cached}/{}", whole.bytes),
        None => write!(out, " cache=-/{}", whole.bytes),
    };
    let _written = write!(out, " calls={} by-name=", account.calls.total());
    push_calls(out, &account.calls, ':', ",");
    if account.model.completes() {
        let _written = write!(out, " operations={}", account.operations);
    }
    let _written = write!(out, " {}-us={}", cpu_name(account.model), account.cpu.as_micros());
}

/// The same as members of an object.
pub(crate) fn add_members(object: &mut Map<String, Value>, account: &Account) {
    let whole = Whole::of(account);
    let calls = account.calls.iter().map(|(name, count)| (name.to_owned(), json!(count)));
    let fallbacks = account.reports.iter().flat_map(|report| &report.fallbacks).map(|refused| {
        let errno = refused.errno().map(Errno::raw_os_error);
        json!({ "from": refused.from.name(), "errno": errno, "after": refused.after })
    });
    let members = [
        ("via", json!(whole.via.map(Via::name))),
        ("ran", json!((!whole.ran.is_empty()).then_some(whole.ran))),
        ("fallbacks", fallbacks.collect()),
        ("copied", json!(whole.copied)),
        ("cache", json!({ "bytes": whole.cached, "of": whole.bytes })),
        ("calls", Value::Object(calls.collect())),
    ];
    object.extend(members.map(|(name, value)| (name.to_owned(), value)));
    if account.model.completes() {
        object.insert("operations".to_owned(), json!(account.operations));
    }
    let microseconds = u64::try_from(account.cpu.as_micros()).unwrap_or(u64::MAX);
    let cpu = cpu_name(account.model).replace('-', "_") + "_us";
    object.insert(cpu, json!(microseconds));
}

/// What an answer came to.
struct Whole {
    /// The via that was chosen, if a file was to leave.
    via: Option<Via>,
    /// Those that moved bytes of files, in their order.
    ran: String,
    /// Whether the CPU copied some of these bytes.
    copied: Option<&'static str>,
    /// Bytes of files that left.
    bytes: u64,
    /// How many of them came from the page cache, where that is known.
    cached: Option<u64>,
}

impl Whole {
    fn of(account: &Account) -> Self {
        let mut ran: Vec<Via> = Vec::new();
        let mut direct = 0;
        for (via, bytes) in account.reports.iter().flat_map(Report::moved_by) {
            if !ran.contains(&via) {
                ran.push(via);
            }
            direct += if via == Via::Direct { bytes } else { 0 };
        }
        let bytes = account.reports.iter().map(|report| report.bytes).sum();
        let outlook = account.outlook;
        let cached = match outlook {
            Some(outlook) => outlook.cached.map(|cached| cached.min(bytes - direct)),
            None => Some(0),
        };
        let names: Vec<_> = ran.iter().map(|via| via.name()).collect();
        let via = outlook.map(|outlook| outlook.via);
        Self { via, ran: names.join("+"), copied: copied(account), bytes, cached }
    }
}

/// Whether the CPU copied bytes of files before the receiver did; nothing where none left.
fn copied(account: &Account) -> Option<&'static str> {
    let all = account.reports.iter().flat_map(|report| {
        report.moved_by().map(|(via, _)| match via {
            // Into a buffer that is lent.
            Via::Zerocopy if account.model.completes() => Copied::Yes,
            via => Report { ran: via, ..report.clone() }.copied(),
        })
    });
    all.reduce(|one, other| match (one, other) {
        (Copied::Yes, _) | (_, Copied::Yes) => Copied::Yes,
        (Copied::Unknown, _) | (_, Copied::Unknown) => Copied::Unknown,
        _ => Copied::No,
    })
    .map(|copied| match copied {
        Copied::Yes => "yes",
        Copied::No => "no",
        Copied::Unknown => "unknown",
    })
}

/// The calls by name, each with its number.
fn push_calls(out: &mut Vec<u8>, calls: &Calls, is: char, apart: &str) {
    if calls.total() == 0 {
        out.push(b'-');
    }
    let mut between = "";
    for (name, count) in calls.iter() {
        let _written = write!(out, "{between}{name}{is}{count}");
        between = apart;
    }
}

/// Where the kernel moves the bytes on nobody's time, it is not that of the answer.
fn cpu_name(model: Model) -> &'static str {
    if model.completes() { "own-cpu" } else { "cpu" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karez_transfer::{CachePolicy, Direction, Fallback, Notifications};
    use std::time::Duration;

    fn report(ran: Via, bytes: u64, fallbacks: &[(Via, u64)]) -> Report {
        let refused = fallbacks.iter().map(|&(from, after)| {
            let reason = Errno::INVAL.into();
            Fallback { from, reason, after }
        });
        let earlier = fallbacks.iter().copied().filter(|&(_, after)| after > 0);
        Report {
            direction: Direction::FileToSocket,
            asked: Via::Auto,
            ran,
            earlier: earlier.collect(),
            bytes,
            calls: Calls::default(),
            fallbacks: refused.collect(),
            cache: CachePolicy::Keep,
            cache_refused: None,
            zerocopy: Notifications::default(),
            pages_copied: 0,
        }
    }

    fn account(model: Model, via: Via, reports: Vec<Report>) -> Account {
        let mut account = Account::new(model);
        let bytes = reports.iter().map(|report| report.bytes).sum();
        account.outlook = Some(Outlook { via, bytes, cached: Some(bytes / 2) });
        account.reports = reports;
        account.calls = Calls { recvfrom: 1, sendfile: 3, ..Calls::default() };
        account.cpu = Duration::from_nanos(1_234_567);
        account
    }

    fn text(account: &Account) -> String {
        let mut out = Vec::new();
        push_text(&mut out, account);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn whoever_moved_bytes_ran() {
        let refused = report(Via::Copy, 100, &[(Via::Splice, 0), (Via::Sendfile, 60)]);
        let several = account(Model::Poll, Via::Splice, vec![refused, report(Via::Copy, 7, &[])]);
        let said = " via=splice ran=sendfile+copy copied=yes cache=53/107 calls=4 \
                    by-name=recvfrom:1,sendfile:3 cpu-us=1234";
        assert_eq!(text(&several), said);
        let mut object = Map::new();
        add_members(&mut object, &several);
        let fallbacks = json!([
            { "from": "splice", "errno": 22, "after": 0 },
            { "from": "sendfile", "errno": 22, "after": 60 },
        ]);
        let expected = json!({
            "via": "splice", "ran": "sendfile+copy", "fallbacks": fallbacks, "copied": "yes",
            "cache": { "bytes": 53, "of": 107 }, "calls": { "recvfrom": 1, "sendfile": 3 },
            "cpu_us": 1234,
        });
        assert_eq!(Value::Object(object), expected);
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let mut nothing = Account::new(Model::Uring);
        let said = " via=- ran=- copied=- cache=0/0 calls=0 by-name=- operations=0 own-cpu-us=0";
        assert_eq!(text(&nothing), said);
        nothing.outlook = Some(Outlook { via: Via::Copy, bytes: 9, cached: None });
        assert!(text(&nothing).contains(" via=copy ran=- copied=- cache=-/0 "));
        let lent = |model| account(model, Via::Zerocopy, vec![report(Via::Zerocopy, 9, &[])]);
        assert_eq!(copied(&lent(Model::EpollEdge)), Some("unknown"));
        assert_eq!(copied(&lent(Model::Uring)), Some("yes"), "into a buffer, at least");
    }

    #[test]
    fn direct_takes_nothing_from_the_cache() {
        let direct = account(Model::Poll, Via::Direct, vec![report(Via::Direct, 100, &[])]);
        assert!(text(&direct).contains(" cache=0/100 "));
        let fell = report(Via::Copy, 100, &[(Via::Direct, 0)]);
        let fell = account(Model::Poll, Via::Direct, vec![fell]);
        assert!(text(&fell).contains(" cache=50/100 "));
    }
}
