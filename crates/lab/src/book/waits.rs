//! The drawing of the waits during one request: a lane for each thread, and an arrow from the thread
//! that wakes to the one that is woken. Made from a report of `karez lab trace`.
//!
//! # Limitations
//! A thread that was woken by an interrupt has no arrow.

use serde_json::Value;

use super::reports::Reports;
use crate::language::text;
use crate::svg::{Canvas, Colour, TextAnchor};

const WIDTH: f64 = 600.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = WIDTH - 16.0;
const LANE: f64 = 18.0;
const STEP: f64 = 46.0;
const TOP: f64 = 8.0;

/// Draws the trace of a topology, of a file that is read from the disk.
pub(super) fn draw(reports: &Reports<'_>, topology: &str) -> Option<(String, String)> {
    let trace = reports.trace(|request| {
        request["topology"] == topology
            && request["model"] == "epoll-edge"
            && request["effective_via"] == "sendfile"
            && request["pages_in_memory"] == 0
    })?;
    let threads = trace["threads"].as_array()?;
    let total = trace["duration_us"].as_f64().filter(|&total| total > 0.0)?;
    let caption = text!(
        "One request for a file on the disk, topology {topology}, {total} µs: blue is a call, orange is user \
         space, pale is sleep; an arrow leads from the thread that wakes to the one that it wakes.",
        topology = topology,
        total = format!("{total:.0}")
    );
    let mut canvas = Canvas::default();
    let lane_of = |id: &Value| threads.iter().position(|thread| thread["id"] == *id);
    let top_of = |lane: usize| TOP + STEP * lane_number(lane);
    let at = |time: f64| LEFT + time.clamp(0.0, total) / total * (RIGHT - LEFT);
    for (lane, thread) in threads.iter().enumerate() {
        let middle = top_of(lane) + LANE / 2.0 + 4.0;
        let name = thread["name"].as_str()?;
        canvas.sized((LEFT - 8.0, middle), TextAnchor::End, Colour::Ink, 13.0, name);
        canvas.pale(LEFT, top_of(lane), RIGHT - LEFT, LANE, Colour::Line, "");
    }
    let events: Vec<_> = trace["events"].as_array()?.iter().filter_map(Event::of).collect();
    // Sleeps lie within calls, so they are drawn above them.
    for kind in ["call", "run", "sleep"] {
        for event in events.iter().filter(|event| event.kind == kind) {
            let (Some(lane), (from, to)) = (lane_of(event.thread), (event.begin, event.end)) else {
                continue;
            };
            if to < 0.0 || from > total {
                continue;
            }
            let (x, width) = (at(from), (at(to) - at(from)).max(0.8));
            match kind {
                "call" => canvas.block(x, top_of(lane), width, LANE, Colour::Call, event.name),
                "run" => canvas.block(x, top_of(lane), width, LANE, Colour::User, ""),
                _ => canvas.block(x, top_of(lane), width, LANE, Colour::Raised, &text!("sleeps")),
            }
        }
    }
    for event in events.iter().filter(|event| event.kind == "sleep") {
        let woken = lane_of(event.thread).zip(event.waker.filter(|&waker| waker < threads.len()));
        let Some((lane, waker)) = woken.filter(|(lane, waker)| lane != waker) else { continue };
        let (from, to) = if waker < lane {
            (top_of(waker) + LANE, top_of(lane))
        } else {
            (top_of(waker), top_of(lane) + LANE)
        };
        canvas.pointer((at(event.end), from), (at(event.end), to), Colour::Copy, "");
    }
    let bottom = top_of(threads.len());
    for (x, anchor, time) in [(LEFT, TextAnchor::Start, 0.0), (RIGHT, TextAnchor::End, total)] {
        canvas.sized((x, bottom), anchor, Colour::Faint, 12.0, &format!("{time:.0} µs"));
    }
    let svg = canvas.into_svg((WIDTH, bottom + 10.0), 1.0, &caption);
    Some((caption, svg))
}

/// An event of a trace.
struct Event<'a> {
    kind: &'a str,
    name: &'a str,
    thread: &'a Value,
    begin: f64,
    end: f64,
    /// Index of the thread that ended the sleep.
    waker: Option<usize>,
}

impl<'a> Event<'a> {
    fn of(event: &'a Value) -> Option<Self> {
        let begin = event["start_us"].as_f64()?;
        let waker = event["woken_by"]["thread"].as_u64();
        Some(Self {
            kind: event["event"].as_str()?,
            name: event["name"].as_str().unwrap_or_default(),
            thread: &event["thread"],
            begin,
            end: begin + event["duration_us"].as_f64()?,
            waker: waker.and_then(|waker| usize::try_from(waker).ok()),
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a few threads")]
fn lane_number(lane: usize) -> f64 {
    lane as f64
}
