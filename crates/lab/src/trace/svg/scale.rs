//! The lanes to scale: a request as long as it took.
//!
//! What it does badly: what is narrower than half a unit and follows its like is drawn with it.

use super::pen::{Anchor, Pen, Shade, WIDTH};
use crate::tier::Tier;
use crate::trace::event::{Event, Lane, What, microseconds, time};
use crate::trace::{Trace, calls};

const LEFT: f64 = 84.0;
const RIGHT: f64 = WIDTH - 12.0;
const HEIGHT: f64 = 16.0;
const GAP: f64 = 5.0;

/// What is closer together than this is one.
const CLOSE: f64 = 0.5;

/// A stretch of a lane.
struct Stretch {
    from: f64,
    to: f64,
    shade: Shade,
    is_pale: bool,
    what: String,
    times: u64,
}

pub(super) fn draw(pen: &mut Pen, trace: &Trace, top: f64) -> f64 {
    let mut y = top;
    for lane in Lane::ALL {
        let own = trace.events.iter().filter(|event| event.lane == lane);
        let mut all: Vec<_> = own.filter_map(|event| stretch(trace, event)).collect();
        if lane == Lane::Kernel {
            all.extend(trace.events.iter().filter_map(|event| passed_on(trace, event)));
        }
        let is_unseen = trace.tier == Tier::T0 && lane > Lane::Kernel;
        y = row(pen, lane.name(), together(all), is_unseen, y);
    }
    if trace.servers() > 1 {
        for (place, thread) in trace.threads.iter().enumerate() {
            let of_it = |event: &&Event| {
                event.thread == Some(place) && matches!(event.lane, Lane::User | Lane::Call)
            };
            let own = trace.events.iter().filter(of_it);
            let all = own.filter_map(|event| stretch(trace, event)).collect();
            if !thread.receives {
                y = row(pen, &thread.name, together(all), false, y);
            }
        }
    }
    axis(pen, trace, y);
    y + 16.0
}

fn row(pen: &mut Pen, name: &str, stretches: Vec<Stretch>, is_unseen: bool, y: f64) -> f64 {
    pen.small(LEFT - 8.0, y + 12.0, Anchor::End, Shade::Faint, name);
    pen.pale(LEFT, y, RIGHT - LEFT, HEIGHT, Shade::Line, "");
    if is_unseen {
        pen.small(LEFT + 6.0, y + 12.0, Anchor::Start, Shade::Faint, "not seen without T1");
    }
    for one in stretches {
        let times = if one.times > 1 { format!(" x {}", one.times) } else { String::new() };
        let (width, what) = ((one.to - one.from).max(0.8), format!("{}{times}", one.what));
        if one.is_pale {
            pen.pale(one.from, y + 5.0, width, HEIGHT - 10.0, one.shade, &what);
        } else {
            pen.block(one.from, y, width, HEIGHT, one.shade, &what);
        }
    }
    y + HEIGHT + GAP
}

/// What could not be told apart in a lane is drawn together.
fn together(mut all: Vec<Stretch>) -> Vec<Stretch> {
    // What is pale lies below.
    all.sort_by(|one, other| other.is_pale.cmp(&one.is_pale).then(one.from.total_cmp(&other.from)));
    let mut few: Vec<Stretch> = Vec::new();
    for one in all {
        match few.last_mut() {
            Some(last)
                if last.shade == one.shade
                    && last.is_pale == one.is_pale
                    && (last.what == one.what || one.to - last.from < CLOSE)
                    && one.from - last.to < CLOSE =>
            {
                last.to = last.to.max(one.to);
                last.times += one.times;
            }
            _ => few.push(one),
        }
    }
    few
}

fn stretch(trace: &Trace, event: &Event) -> Option<Stretch> {
    let took = trace.took.max(1);
    if event.ended < 0 || event.begun > took {
        return None;
    }
    let at = |time: i64| {
        let share = microseconds(time.clamp(0, took)) / microseconds(took);
        LEFT + share * (RIGHT - LEFT)
    };
    let (shade, is_pale, what) = look(trace, event)?;
    Some(Stretch { from: at(event.begun), to: at(event.ended), shade, is_pale, what, times: 1 })
}

/// What the kernel does in a call that passes pages on and copies none.
fn passed_on(trace: &Trace, event: &Event) -> Option<Stretch> {
    let What::Calls(call) = &event.what else { return None };
    if call_shade(trace, event, &call.name) != Shade::Refer {
        return None;
    }
    let what = "passes pages on, by reference".to_owned();
    Some(Stretch { is_pale: true, what, ..stretch(trace, event)? })
}

/// The colour of an event, whether it is nothing but waiting, and its name.
fn look(trace: &Trace, event: &Event) -> Option<(Shade, bool, String)> {
    Some(match &event.what {
        What::Runs => (Shade::User, false, "runs in user space".to_owned()),
        What::Calls(call) => {
            let waits = call.result.is_none() || (calls::waits(&call.name) && event.begun < 0);
            (call_shade(trace, event, &call.name), waits, call.name.clone())
        }
        What::Sleeps { woken } => {
            let by = woken.as_ref().map(|waker| format!(", woken by {waker}"));
            (Shade::Faint, true, format!("sleeps{}", by.unwrap_or_default()))
        }
        What::Queues { .. } => (Shade::Faint, true, "has no core".to_owned()),
        What::Copies { from, to, .. } => {
            (Shade::Copy, false, format!("copies {} to {}", from.name(), to.name()))
        }
        What::Faults { .. } => (Shade::Fault, false, "page fault".to_owned()),
        What::Packet { to_server: true, .. } | What::LooksUp { .. } | What::Maps { .. } => {
            return None;
        }
        What::Packet { bytes, device, .. } if bytes.payload() > 0 => {
            let referred = bytes.ours + bytes.cache + bytes.anonymous > bytes.copied();
            let shade = if referred { Shade::Refer } else { Shade::Copy };
            (shade, false, format!("packet by {device}"))
        }
        What::Packet { .. } => return None,
        What::Disk { .. } => (Shade::Disk, false, "disk".to_owned()),
        What::Operation { name, .. } => (Shade::Call, true, format!("io_uring {name}")),
        What::HandsOver { name } => (Shade::Fault, false, format!("io_uring {name} to a worker")),
    })
}

/// A call has the colour of what it does with bytes.
pub(super) fn call_shade(trace: &Trace, event: &Event, name: &str) -> Shade {
    let receives = event.thread.is_some_and(|place| trace.threads[place].receives);
    let moves = event.bytes() > Some(0);
    if !moves || receives {
        return Shade::Call;
    }
    let is_zerocopy = matches!(&event.what, What::Calls(call) if calls::is_zerocopy(call));
    if matches!(name, "sendfile" | "splice") || is_zerocopy {
        Shade::Refer
    } else if calls::sends(name) || name.starts_with("pread") {
        Shade::Copy
    } else {
        Shade::Call
    }
}

/// Round numbers of microseconds, and the end.
fn axis(pen: &mut Pen, trace: &Trace, y: f64) {
    let took = microseconds(trace.took.max(1));
    let mut step = 1.0;
    while took / step > 8.0 {
        step *= if took / step > 40.0 { 10.0 } else { 2.0 };
    }
    let mut at = 0.0;
    while at < took * 0.88 {
        let x = LEFT + at / took * (RIGHT - LEFT);
        pen.line((x, y - 3.0), (x, y + 1.0), Shade::Faint, 1.0, "");
        let anchor = if at == 0.0 { Anchor::Start } else { Anchor::Middle };
        pen.small(x, y + 11.0, anchor, Shade::Faint, &format!("{at:.0}"));
        at += step;
    }
    let end = format!("{} µs", time(trace.took));
    pen.line((RIGHT, y - 3.0), (RIGHT, y + 1.0), Shade::Faint, 1.0, "");
    pen.small(RIGHT, y + 11.0, Anchor::End, Shade::Faint, &end);
}
