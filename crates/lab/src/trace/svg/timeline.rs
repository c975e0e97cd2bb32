//! The lanes of a request to scale.
//!
//! # Limitations
//! Similar events closer than half a unit are merged.

use crate::language::{text, tr};
use crate::svg::{Canvas, Colour, TextAnchor};
use crate::tier::Tier;
use crate::trace::event::{Event, EventKind, Lane, microseconds, time};
use crate::trace::{Trace, syscalls};

/// Width of the drawing in user units.
pub(super) const WIDTH: f64 = 600.0;

const LEFT: f64 = 84.0;
const RIGHT: f64 = WIDTH - 12.0;
const HEIGHT: f64 = 16.0;
const GAP: f64 = 5.0;

/// Maximum distance of merged segments.
const MERGE_DISTANCE: f64 = 0.5;

/// A segment of a lane.
struct Segment {
    from: f64,
    to: f64,
    colour: Colour,
    is_pale: bool,
    what: String,
    times: u64,
}

pub(super) fn draw(canvas: &mut Canvas, trace: &Trace, top: f64) -> f64 {
    let mut y = top;
    for lane in Lane::ALL {
        let own = trace.events.iter().filter(|event| event.lane == lane);
        let mut all: Vec<_> = own.filter_map(|event| segment(trace, event)).collect();
        if lane == Lane::Kernel {
            all.extend(trace.events.iter().filter_map(|event| page_references(trace, event)));
        }
        let is_unseen = trace.tier == Tier::T0 && lane > Lane::Kernel;
        y = row(canvas, &tr(lane.name()), merged(all), is_unseen, y);
    }
    if trace.servers() > 1 {
        for (place, thread) in trace.threads.iter().enumerate() {
            let of_it = |event: &&Event| {
                event.thread == Some(place) && matches!(event.lane, Lane::User | Lane::Call)
            };
            let own = trace.events.iter().filter(of_it);
            let all = own.filter_map(|event| segment(trace, event)).collect();
            if !thread.receives {
                y = row(canvas, &thread.name, merged(all), false, y);
            }
        }
    }
    axis(canvas, trace, y);
    y + 16.0
}

fn row(canvas: &mut Canvas, name: &str, segments: Vec<Segment>, is_unseen: bool, y: f64) -> f64 {
    canvas.small(LEFT - 8.0, y + 12.0, TextAnchor::End, Colour::Faint, name);
    canvas.pale(LEFT, y, RIGHT - LEFT, HEIGHT, Colour::Line, "");
    if is_unseen {
        canvas.small(
            LEFT + 6.0,
            y + 12.0,
            TextAnchor::Start,
            Colour::Faint,
            &text!("not visible without T1"),
        );
    }
    for one in segments {
        let times = if one.times > 1 { format!(" x {}", one.times) } else { String::new() };
        let (width, what) = ((one.to - one.from).max(0.8), format!("{}{times}", one.what));
        if one.is_pale {
            canvas.pale(one.from, y + 5.0, width, HEIGHT - 10.0, one.colour, &what);
        } else {
            canvas.block(one.from, y, width, HEIGHT, one.colour, &what);
        }
    }
    y + HEIGHT + GAP
}

/// Merges segments that are indistinguishable in a lane.
fn merged(mut all: Vec<Segment>) -> Vec<Segment> {
    // Translucent segments are drawn below.
    all.sort_by(|one, other| other.is_pale.cmp(&one.is_pale).then(one.from.total_cmp(&other.from)));
    let mut few: Vec<Segment> = Vec::new();
    for one in all {
        match few.last_mut() {
            Some(last)
                if last.colour == one.colour
                    && last.is_pale == one.is_pale
                    && (last.what == one.what || one.to - last.from < MERGE_DISTANCE)
                    && one.from - last.to < MERGE_DISTANCE =>
            {
                last.to = last.to.max(one.to);
                last.times += one.times;
            }
            _ => few.push(one),
        }
    }
    few
}

fn segment(trace: &Trace, event: &Event) -> Option<Segment> {
    let took = trace.took.max(1);
    if event.ended < 0 || event.begun > took {
        return None;
    }
    let at = |time: i64| {
        let share = microseconds(time.clamp(0, took)) / microseconds(took);
        LEFT + share * (RIGHT - LEFT)
    };
    let (colour, is_pale, what) = appearance(trace, event)?;
    Some(Segment { from: at(event.begun), to: at(event.ended), colour, is_pale, what, times: 1 })
}

/// Returns the kernel's share of a call that passes pages by reference.
fn page_references(trace: &Trace, event: &Event) -> Option<Segment> {
    let EventKind::Syscall(call) = &event.kind else { return None };
    if call_colour(trace, event, &call.name) != Colour::Refer {
        return None;
    }
    let what = text!("passes pages on, by reference");
    Some(Segment { is_pale: true, what, ..segment(trace, event)? })
}

/// Returns the colour of an event, whether it is translucent, and its name.
fn appearance(trace: &Trace, event: &Event) -> Option<(Colour, bool, String)> {
    Some(match &event.kind {
        EventKind::RunsUserCode => (Colour::User, false, text!("runs in user space")),
        EventKind::Syscall(call) => {
            let waits = call.result.is_none() || (syscalls::waits(&call.name) && event.begun < 0);
            (call_colour(trace, event, &call.name), waits, call.name.clone())
        }
        EventKind::Sleeps { woken } => {
            let what = match woken {
                Some(waker) => text!("sleeps, woken by {waker}", waker = waker),
                None => text!("sleeps"),
            };
            (Colour::Faint, true, what)
        }
        EventKind::Runnable { .. } => (Colour::Faint, true, text!("waits for a core")),
        EventKind::Copies { from, to, .. } => (
            Colour::Copy,
            false,
            text!("copies {from} to {to}", from = tr(from.name()), to = tr(to.name())),
        ),
        EventKind::Faults { .. } => (Colour::Fault, false, text!("page fault")),
        EventKind::Packet { to_server: true, .. }
        | EventKind::CacheLookup { .. }
        | EventKind::FaultAround { .. } => {
            return None;
        }
        EventKind::Packet { bytes, device, .. } if bytes.payload() > 0 => {
            let referred = bytes.ours + bytes.cache + bytes.anonymous > bytes.copied();
            let colour = if referred { Colour::Refer } else { Colour::Copy };
            (colour, false, text!("packet by {device}", device = device))
        }
        EventKind::Packet { .. } => return None,
        EventKind::Disk { .. } => (Colour::Disk, false, text!("disk")),
        EventKind::Operation { name, .. } => (Colour::Call, true, format!("io_uring {name}")),
        EventKind::IoWorker { name } => {
            (Colour::Fault, false, text!("io_uring {name}: to an io worker", name = name))
        }
    })
}

/// Returns the colour of a call by its effect on bytes.
pub(super) fn call_colour(trace: &Trace, event: &Event, name: &str) -> Colour {
    let receives = event.thread.is_some_and(|place| trace.threads[place].receives);
    let moves = event.bytes() > Some(0);
    if !moves || receives {
        return Colour::Call;
    }
    let is_zerocopy =
        matches!(&event.kind, EventKind::Syscall(call) if syscalls::is_zerocopy(call));
    if matches!(name, "sendfile" | "splice") || is_zerocopy {
        Colour::Refer
    } else if syscalls::sends(name) || name.starts_with("pread") {
        Colour::Copy
    } else {
        Colour::Call
    }
}

/// Draws ticks at round numbers of microseconds, and the end.
fn axis(canvas: &mut Canvas, trace: &Trace, y: f64) {
    let took = microseconds(trace.took.max(1));
    let mut step = 1.0;
    while took / step > 8.0 {
        step *= if took / step > 40.0 { 10.0 } else { 2.0 };
    }
    let mut at = 0.0;
    while at < took * 0.88 {
        let x = LEFT + at / took * (RIGHT - LEFT);
        canvas.line((x, y - 3.0), (x, y + 1.0), Colour::Faint, 1.0, "");
        let anchor = if at == 0.0 { TextAnchor::Start } else { TextAnchor::Middle };
        canvas.small(x, y + 11.0, anchor, Colour::Faint, &format!("{at:.0}"));
        at += step;
    }
    let end = format!("{} µs", time(trace.took));
    canvas.line((RIGHT, y - 3.0), (RIGHT, y + 1.0), Colour::Faint, 1.0, "");
    canvas.small(RIGHT, y + 11.0, TextAnchor::End, Colour::Faint, &end);
}
