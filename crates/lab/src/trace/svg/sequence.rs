//! Sequence diagram of the system calls, from top to bottom, with the transfers across each
//! boundary; not to scale, so that everything is readable.

use super::timeline::WIDTH;
use crate::language::{text, tr};
use crate::svg::{Canvas, Colour, TextAnchor, columns, wrapped};
use crate::table::grouped;
use crate::trace::Trace;
use crate::trace::event::{Lane, microseconds, time};
use crate::trace::steps::{Flow, Step, StepPart, shown};

/// Left edges of the lanes, and the right edge of the last one.
const EDGES: [f64; 6] = [50.0, 118.0, 262.0, 394.0, 486.0, WIDTH - 6.0];

const LINE: f64 = 13.0;
const ARROW: f64 = 21.0;

fn middle(lane: usize) -> f64 {
    f64::midpoint(EDGES[lane], EDGES[lane + 1])
}

pub(super) fn draw(canvas: &mut Canvas, trace: &Trace, top: f64) -> f64 {
    let (steps, left_out) = shown(trace);
    for (lane, place) in Lane::ALL.iter().zip(0..) {
        canvas.bold(middle(place), top + 10.0, TextAnchor::Middle, Colour::Ink, &tr(lane.name()));
    }
    canvas.small(EDGES[0] - 6.0, top + 10.0, TextAnchor::End, Colour::Faint, "µs");
    let begin = top + 18.0;
    let mut background = Canvas::default();
    let mut rows = Canvas::default();
    let mut y = begin;
    for (place, step) in steps.iter().enumerate() {
        if let Some((_, count)) = left_out.filter(|(after, _)| *after == place) {
            let words = text!("… {count} more steps …", count = count);
            rows.small(middle(1), y + 14.0, TextAnchor::Middle, Colour::Faint, &words);
            y += 22.0;
        }
        let end = row(&mut rows, trace, step, y);
        if let Some((many, at)) = step.of {
            let (from, to) =
                (if at == 0 { y + 4.0 } else { y }, if at + 1 == many { end - 4.0 } else { end });
            let x = EDGES[2] - 3.0;
            rows.line((x, from), (x, to), colour(step), 1.5, "");
        }
        if place % 2 == 0 {
            background.block(4.0, y, WIDTH - 8.0, end - y, Colour::Raised, "");
        }
        y = end;
    }
    for (place, edge) in EDGES.iter().enumerate() {
        // The boundary between user and kernel mode.
        let (width, dashes) = if place == 1 { (1.6, "") } else { (0.8, "2 3") };
        background.line((*edge, begin), (*edge, y), Colour::Line, width, dashes);
    }
    canvas.append(&background);
    canvas.append(&rows);
    y
}

/// Draws a step and returns its lower edge.
fn row(canvas: &mut Canvas, trace: &Trace, step: &Step, top: f64) -> f64 {
    let receives = trace.threads[step.thread].receives;
    let at = if step.begun < trace.asked { "…".to_owned() } else { time(step.begun) };
    canvas.small(EDGES[0] - 6.0, top + 16.0, TextAnchor::End, Colour::Faint, &at);
    let box_end = if receives {
        receiver_call(canvas, step, top)
    } else {
        server_call(canvas, trace, step, top)
    };
    let mut text_end = top + 5.0;
    for part in step.parts.iter().filter(|part| span(part.flow).is_none()) {
        text_end = annotation(canvas, part, text_end);
    }
    let mut y = box_end.max(text_end) + 4.0;
    for part in step.parts.iter().filter(|part| span(part.flow).is_some()) {
        y = arrow(canvas, trace, part, receives, y);
    }
    y + 3.0
}

/// Draws a call of the server, into the kernel and back.
fn server_call(canvas: &mut Canvas, trace: &Trace, step: &Step, top: f64) -> f64 {
    let (left, right) = (EDGES[1] + 8.0, EDGES[2] - 8.0);
    let mut lines = wrapped(&step.title, 21);
    if trace.servers() > 1 {
        lines.push(trace.threads[step.thread].name.clone());
    }
    if step.times > 1 && lines.len() == 1 && columns(&lines[0]) > 12 {
        lines.push(String::new());
    }
    let figures = figures(step);
    let height = LINE * f64::from(u8::try_from(lines.len() + 1).unwrap_or(u8::MAX)) + 8.0;
    let colour = colour(step);
    canvas.pale(left, top + 4.0, right - left, height, colour, &step.title);
    canvas.block(left, top + 4.0, 3.0, height, colour, "");
    let mut y = top + 16.0;
    for (place, line) in lines.iter().enumerate() {
        if place == 0 {
            canvas.bold(left + 7.0, y, TextAnchor::Start, Colour::Ink, line);
        } else {
            canvas.small(left + 7.0, y, TextAnchor::Start, Colour::Faint, line);
        }
        y += LINE;
    }
    canvas.small(left + 7.0, y, TextAnchor::Start, Colour::Ink, &figures);
    if step.times > 1 {
        // Below a long name, where there is space.
        let is_long = columns(&lines[0]) > 12;
        let y = if is_long { top + 16.0 + LINE } else { top + 16.0 };
        canvas.bold(right - 5.0, y, TextAnchor::End, colour, &format!("× {}", step.times));
    }
    crossing(canvas, step, top, height, left);
    top + 4.0 + height
}

/// Draws the two mode switches of a call.
fn crossing(canvas: &mut Canvas, step: &Step, top: f64, height: f64, left: f64) {
    let x = EDGES[0] + 12.0;
    if step.ran > 0 {
        let words = short(step.ran);
        canvas.block(x - 3.0, top, 6.0, 14.0, Colour::User, &text!("runs in user space before"));
        canvas.small(x + 6.0, top + 9.0, TextAnchor::Start, Colour::Faint, &words);
    }
    canvas.arrow(x, left, top + 14.0, Colour::Faint, 1.2);
    if step.took.is_some() {
        canvas.arrow(left, x, top + height, Colour::Faint, 1.2);
    }
}

/// Draws a call of the receiver.
fn receiver_call(canvas: &mut Canvas, step: &Step, top: f64) -> f64 {
    let (left, right) = (EDGES[4] + 4.0, EDGES[5] - 2.0);
    let height = 2.0 * LINE + 8.0;
    canvas.pale(left, top + 4.0, right - left, height, Colour::Call, &step.title);
    canvas.bold(left + 5.0, top + 16.0, TextAnchor::Start, Colour::Ink, &step.title);
    if step.times > 1 {
        let times = format!("× {}", step.times);
        canvas.bold(right - 4.0, top + 16.0, TextAnchor::End, Colour::Call, &times);
    }
    let bytes = step.bytes.map_or_else(String::new, |bytes| format!("{} B", grouped(bytes)));
    canvas.small(left + 5.0, top + 16.0 + LINE, TextAnchor::Start, Colour::Ink, &bytes);
    top + 4.0 + height
}

fn figures(step: &Step) -> String {
    let bytes = step.bytes.filter(|_| step.answer.is_empty());
    let answer = bytes.map_or_else(|| step.answer.clone(), |bytes| format!("{} B", grouped(bytes)));
    let took = step.took.map(short);
    let both: Vec<_> =
        [Some(answer).filter(|answer| !answer.is_empty()), took].into_iter().flatten().collect();
    both.join(" · ")
}

/// Formats nanoseconds in microseconds, compactly and without line breaks.
fn short(nanoseconds: i64) -> String {
    if nanoseconds < 100_000 {
        return format!("{}\u{a0}µs", time(nanoseconds));
    }
    format!("{:.0}\u{a0}µs", microseconds(nanoseconds))
}

/// Returns the colour of a call by its effect on bytes.
fn colour(step: &Step) -> Colour {
    let has = |flow| step.parts.iter().any(|part| part.flow == flow);
    if has(Flow::CopyUp) && step.bytes.is_none_or(|bytes| bytes < 1024) {
        return Colour::Call;
    }
    let name = step.title.split(' ').next().unwrap_or_default();
    if matches!(name, "sendfile" | "splice") || step.title.contains("MSG_ZEROCOPY") {
        Colour::Refer
    } else if has(Flow::CopyUp) || has(Flow::CopyDown) {
        Colour::Copy
    } else {
        Colour::Call
    }
}

/// Draws the text of an event that crosses no boundary.
fn annotation(canvas: &mut Canvas, part: &StepPart, top: f64) -> f64 {
    let lane = Lane::ALL.iter().position(|lane| *lane == part.lane).unwrap_or(2);
    let (x, most) = (EDGES[lane] + 6.0, if lane == 4 { 15 } else { 21 });
    let colour = match part.flow {
        Flow::Fault => Colour::Fault,
        Flow::Sleep => Colour::Faint,
        _ => Colour::Ink,
    };
    let times = if part.times > 1 { format!(" × {}", part.times) } else { String::new() };
    let bytes = part.bytes.map(|bytes| format!(" {}", grouped(bytes))).unwrap_or_default();
    let took = if part.took > 0 { format!(" {}", short(part.took)) } else { String::new() };
    // Waiting of the receiver is only in the list.
    if lane == 4 {
        return top;
    }
    let mut y = top;
    for line in wrapped(&format!("{}{times}{bytes}{took}", part.text), most) {
        y += LINE;
        canvas.small(x, y, TextAnchor::Start, colour, &line);
    }
    y
}

/// Returns start and end of a transfer between lanes, and its colour.
fn span(flow: Flow) -> Option<(f64, f64, Colour)> {
    let (user, kernel) = (EDGES[0] + 12.0, EDGES[3] - 10.0);
    let (inside, device) = (EDGES[2] + 10.0, EDGES[4] - 6.0);
    Some(match flow {
        Flow::CopyUp => (kernel, user, Colour::Copy),
        Flow::CopyDown => (user, kernel, Colour::Copy),
        Flow::CopyOut => (EDGES[3] + 10.0, EDGES[5] - 4.0, Colour::Copy),
        Flow::SendCopied => (inside, device, Colour::Copy),
        Flow::SendReferred => (inside, device, Colour::Refer),
        Flow::Disk => (device, inside, Colour::Disk),
        Flow::Fault | Flow::Sleep | Flow::Other => return None,
    })
}

fn arrow(canvas: &mut Canvas, trace: &Trace, part: &StepPart, receives: bool, top: f64) -> f64 {
    let Some((from, to, colour)) = span(part.flow) else { return top };
    let times = if part.times > 1 { format!(" × {}", part.times) } else { String::new() };
    let bytes = part.bytes.map_or_else(String::new, grouped);
    let what = match part.flow {
        Flow::CopyOut => text!("copies"),
        Flow::SendCopied => text!("sent, copied"),
        Flow::SendReferred => text!("by reference"),
        Flow::Disk => text!("DMA"),
        _ => part.text.clone(),
    };
    let is_packet = matches!(part.flow, Flow::SendCopied | Flow::SendReferred);
    // An acknowledgement triggers further sends in the receiver's softirq.
    let is_softirq = is_packet && receives && trace.transport.is_tcp();
    let whose = if is_softirq { text!(" in its softirq") } else { String::new() };
    let text = format!("{what}{whose}{times}, {bytes} B").replace("->", "→");
    canvas.small(f64::midpoint(from, to), top + 9.0, TextAnchor::Middle, colour, &text);
    canvas.arrow(from, to, top + 15.0, colour, if part.bytes > Some(1 << 14) { 3.0 } else { 1.5 });
    top + ARROW
}
