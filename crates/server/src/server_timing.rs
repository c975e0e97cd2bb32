//! `--explain`: the cost of a response as the server measures it, in the terms of the laboratory: for the
//! client in `Server-Timing` (W3C), for the operator in the access log.
//!
//! A head is sent before its body, so the field says how the body is going to be sent and what was done
//! up to the head: `via` (the first choice; it may fall back to another), `cache` (bytes of the body in
//! the page cache), `head-calls` and `head-cpu`. The access log has the whole response: `ran` lists the
//! vias that moved bytes, `copied` says whether the CPU copied them.
//! On a completion model `cpu` would mislead and is called `own-cpu`.
//!
//! # Limitations
//!
//! The field tells any client which part of a file is in memory, and how busy the machine is. Finding
//! out costs the event loop at least 45 µs per GiB.

use karez_http::ResponseHead;
use karez_reactor::Model;
use karez_transfer::{Calls, Copied, Report, Via};
use rustix::io::Errno;
use serde_json::{Map, Value, json};
use std::io::Write as _;

use crate::cost::{BodyPlan, RequestCost};

/// Appends the field to a head: the cost up to here, and the plan of the body.
pub(crate) fn push_field(
    head: &mut ResponseHead,
    cost: &mut RequestCost,
    plan: impl FnOnce(Model, bool) -> Option<BodyPlan>,
) {
    let (model, sealed) = (cost.model, cost.sealed);
    cost.body_plan = cost.exclude(|| plan(model, sealed));
    let mut value = Vec::with_capacity(128);
    if let Some(BodyPlan { via, bytes, cached }) = cost.body_plan {
        let _written = write!(value, "via;desc=\"{via}\", ");
        // It bypasses the page cache.
        let cached = if via == Via::Direct { Some(0) } else { cached };
        if let Some(cached) = cached {
            let _written = write!(value, "cache;desc=\"{cached} of {bytes}\", ");
        }
    }
    if let Some(reason) = &cost.unwatched {
        // Its reasons have neither quotes nor control characters.
        let _written = write!(value, "unwatched;desc=\"{reason}\", ");
    }
    value.extend_from_slice(b"head-calls;desc=\"");
    push_calls(&mut value, &cost.calls, ' ', ", ");
    let cpu = cpu_name(cost.model);
    let milliseconds = cost.cpu.as_secs_f64() * 1e3;
    let _written = write!(value, "\", head-{cpu};dur={milliseconds:.3}");
    head.field("Server-Timing", value);
}

/// Appends the cost of a whole response, as words with their values.
pub(crate) fn push_text(out: &mut Vec<u8>, cost: &RequestCost) {
    let whole = Whole::of(cost);
    let via = whole.via.map_or("-", Via::name);
    let ran = if whole.ran.is_empty() { "-" } else { &whole.ran };
    let copied = whole.copied.unwrap_or("-");
    // Writing to memory cannot fail.
    let _written = write!(out, " via={via} ran={ran} copied={copied}");
    let _written = match whole.cached {
        Some(cached) => write!(out, " cache={cached}/{}", whole.bytes),
        None => write!(out, " cache=-/{}", whole.bytes),
    };
    let _written = write!(out, " calls={} by-name=", cost.calls.total());
    push_calls(out, &cost.calls, ':', ",");
    if cost.model.is_completion() {
        let _written = write!(out, " operations={}", cost.operations);
    }
    let _written = write!(out, " {}-us={}", cpu_name(cost.model), cost.cpu.as_micros());
}

/// Adds the same as members of an object.
pub(crate) fn add_members(object: &mut Map<String, Value>, cost: &RequestCost) {
    let whole = Whole::of(cost);
    let calls = cost.calls.iter().map(|(name, count)| (name.to_owned(), json!(count)));
    let fallbacks = cost.reports.iter().flat_map(|report| &report.fallbacks).map(|refused| {
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
    if cost.model.is_completion() {
        object.insert("operations".to_owned(), json!(cost.operations));
    }
    let microseconds = u64::try_from(cost.cpu.as_micros()).unwrap_or(u64::MAX);
    let cpu = cpu_name(cost.model).replace('-', "_") + "_us";
    object.insert(cpu, json!(microseconds));
}

/// The cost of a whole response.
struct Whole {
    /// The first choice of via, if a file was to be sent.
    via: Option<Via>,
    /// The vias that moved bytes of files, in order.
    ran: String,
    /// Whether the CPU copied some of these bytes.
    copied: Option<&'static str>,
    /// Bytes of files that were sent.
    bytes: u64,
    /// Bytes of them that came from the page cache, if that is known.
    cached: Option<u64>,
}

impl Whole {
    fn of(cost: &RequestCost) -> Self {
        let mut ran: Vec<Via> = Vec::new();
        let mut direct = 0;
        for (via, bytes) in cost.reports.iter().flat_map(Report::bytes_by_method) {
            if !ran.contains(&via) {
                ran.push(via);
            }
            direct += if via == Via::Direct { bytes } else { 0 };
        }
        let bytes = cost.reports.iter().map(|report| report.bytes).sum();
        let plan = cost.body_plan;
        let cached = match plan {
            Some(plan) => plan.cached.map(|cached| cached.min(bytes - direct)),
            None => Some(0),
        };
        let names: Vec<_> = ran.iter().map(|via| via.name()).collect();
        let via = plan.map(|plan| plan.via);
        Self { via, ran: names.join("+"), copied: copied(cost), bytes, cached }
    }
}

/// Returns whether the CPU copied bytes of files; `None` if no bytes of a file were sent.
fn copied(cost: &RequestCost) -> Option<&'static str> {
    let all = cost.reports.iter().flat_map(|report| {
        report.bytes_by_method().map(|(via, _)| match via {
            // The bytes are read into a buffer first.
            Via::Zerocopy if cost.model.is_completion() => Copied::Yes,
            via => report.copied_by(via),
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

/// Appends the calls by name, each with its count.
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

/// Returns the name of the CPU time. On a completion model the kernel moves bytes in threads of its own,
/// whose time is not counted.
fn cpu_name(model: Model) -> &'static str {
    if model.is_completion() { "own-cpu" } else { "cpu" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karez_transfer::{Direction, Fallback};
    use std::time::Duration;

    fn report(ran: Via, bytes: u64, fallbacks: &[(Via, u64)]) -> Report {
        let fallback = |&(from, after)| Fallback::new(from, Errno::INVAL, after);
        let mut report = Report::new(Direction::FileToSocket, Via::Auto);
        (report.effective, report.bytes) = (ran, bytes);
        report.previous = fallbacks.iter().copied().filter(|&(_, after)| after > 0).collect();
        report.fallbacks = fallbacks.iter().map(fallback).collect();
        report
    }

    fn cost(model: Model, via: Via, reports: Vec<Report>) -> RequestCost {
        let mut cost = RequestCost::new(model);
        let bytes = reports.iter().map(|report| report.bytes).sum();
        cost.body_plan = Some(BodyPlan { via, bytes, cached: Some(bytes / 2) });
        cost.reports = reports;
        cost.calls = Calls { recvfrom: 1, sendfile: 3, ..Calls::default() };
        cost.cpu = Duration::from_nanos(1_234_567);
        cost
    }

    fn text(cost: &RequestCost) -> String {
        let mut out = Vec::new();
        push_text(&mut out, cost);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_vias_that_moved_bytes_ran() {
        let fallen_back = report(Via::Copy, 100, &[(Via::Splice, 0), (Via::Sendfile, 60)]);
        let several = cost(Model::Poll, Via::Splice, vec![fallen_back, report(Via::Copy, 7, &[])]);
        let expected = " via=splice ran=sendfile+copy copied=yes cache=53/107 calls=4 \
                    by-name=recvfrom:1,sendfile:3 cpu-us=1234";
        assert_eq!(text(&several), expected);
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
    fn unknown_values_are_left_out() {
        let mut nothing = RequestCost::new(Model::Uring);
        let expected =
            " via=- ran=- copied=- cache=0/0 calls=0 by-name=- operations=0 own-cpu-us=0";
        assert_eq!(text(&nothing), expected);
        nothing.body_plan = Some(BodyPlan { via: Via::Copy, bytes: 9, cached: None });
        assert!(text(&nothing).contains(" via=copy ran=- copied=- cache=-/0 "));
        let zerocopy = |model| cost(model, Via::Zerocopy, vec![report(Via::Zerocopy, 9, &[])]);
        assert_eq!(copied(&zerocopy(Model::EpollEdge)), Some("unknown"));
        assert_eq!(
            copied(&zerocopy(Model::Uring)),
            Some("yes"),
            "the bytes are read into a buffer"
        );
    }

    #[test]
    fn direct_takes_nothing_from_the_cache() {
        let direct = cost(Model::Poll, Via::Direct, vec![report(Via::Direct, 100, &[])]);
        assert!(text(&direct).contains(" cache=0/100 "));
        let fell = report(Via::Copy, 100, &[(Via::Direct, 0)]);
        let fell = cost(Model::Poll, Via::Direct, vec![fell]);
        assert!(text(&fell).contains(" cache=50/100 "));
    }
}
