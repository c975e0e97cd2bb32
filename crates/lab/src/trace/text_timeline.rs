//! The lanes of a trace as text, to scale: the shade of a column shows the share of its time in
//! which events happened.

use super::event::{Event, EventKind, Lane, time};
use super::{Trace, syscalls};
use crate::language::{text, tr};
use crate::svg::columns;
use crate::tier::Tier;

/// Shades from 0 to 100 %.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// Minimum width.
const NARROWEST: usize = 40;

/// Width of the lane names.
const MARGIN: usize = 13;

pub(super) fn draw(trace: &Trace, width: usize) -> String {
    let columns = width.max(NARROWEST) - MARGIN - 1;
    let took = trace.took.max(1);
    let mut text = String::new();
    for lane in Lane::ALL {
        if trace.tier == Tier::T0 && lane > Lane::Kernel {
            text += &format!("{}{}\n", margin(lane), text!("(not traced)"));
            continue;
        }
        let own = trace.events.iter().filter(|event| event.lane == lane);
        text += &format!("{}{}\n", margin(lane), line(own, columns, took));
    }
    for (place, thread) in trace.threads.iter().enumerate() {
        if trace.servers() > 1 && !thread.receives {
            let own = trace.events.iter().filter(|event| {
                event.thread == Some(place) && matches!(event.lane, Lane::User | Lane::Call)
            });
            text += &format!("{:<MARGIN$}{}\n", thread.name, line(own, columns, took));
        }
    }
    let end = format!("{} us", time(took));
    let gap = columns.saturating_sub(end.len() + 1);
    text + &format!("{:<MARGIN$}0{:gap$}{end}\n", "", "")
}

/// Returns the name of a lane with the gap after it.
fn margin(lane: Lane) -> String {
    let name = tr(lane.name());
    let gap = MARGIN.saturating_sub(columns(&name));
    format!("{name}{}", " ".repeat(gap))
}

fn line<'a>(events: impl Iterator<Item = &'a Event>, columns: usize, took: i64) -> String {
    let (mut filled, mut marked) = (vec![0.0_f64; columns], vec![false; columns]);
    for event in events.filter(|event| shows(event)) {
        cover(&mut filled, &mut marked, event, took);
    }
    let line: String =
        filled.iter().zip(&marked).map(|(&share, &mark)| shade(share, mark)).collect();
    line.trim_end().to_owned()
}

/// Returns whether an event is shown; waiting is not.
fn shows(event: &Event) -> bool {
    match &event.kind {
        EventKind::Sleeps { .. } | EventKind::Runnable { .. } => false,
        EventKind::Syscall(call) => !(syscalls::waits(&call.name)) && call.result.is_some(),
        EventKind::Packet { bytes, to_server, .. } => !to_server && bytes.payload() > 0,
        _ => true,
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a drawing"
)]
fn cover(filled: &mut [f64], marked: &mut [bool], event: &Event, took: i64) {
    let columns = filled.len();
    let scale = columns as f64 / took as f64;
    let (from, to) = (event.begun.max(0) as f64 * scale, event.ended.min(took) as f64 * scale);
    let first = from as usize;
    if to < from || first >= columns {
        return;
    }
    marked[first] = true;
    for (column, share) in filled.iter_mut().enumerate().skip(first) {
        let (left, right) = (column as f64, column as f64 + 1.0);
        if left >= to {
            break;
        }
        *share += right.min(to) - left.max(from);
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 4")]
fn shade(share: f64, mark: bool) -> char {
    let level = (share.clamp(0.0, 1.0) * 4.0).round() as usize;
    match (level, mark) {
        (0, true) => '·',
        (level, _) => SHADES[level.min(4)],
    }
}
