//! Drawing of a trace: key figures, a timeline to scale, and a sequence diagram of the system
//! calls.
//!
//! # Limitations
//! It does not measure text; lines break at an estimated width.

mod sequence;
mod timeline;

use super::Trace;
use super::event::microseconds;
use crate::language::text;
use crate::svg::{Canvas, Colour, TextAnchor, wrapped};
use crate::table::grouped;
use crate::tier::Tier;
use timeline::WIDTH;

/// Pixels per unit: the smallest text has 12 pixels.
const SCALE: f64 = 1.4;

pub(super) fn draw(trace: &Trace) -> String {
    let mut canvas = Canvas::default();
    let mut y = header(&mut canvas, trace);
    y = tiles(&mut canvas, trace, y + 12.0);
    y = timeline::draw(&mut canvas, trace, y + 16.0);
    y = sequence::draw(&mut canvas, trace, y + 14.0);
    y = footer(&mut canvas, trace, y + 16.0);
    canvas.into_svg((WIDTH, y), SCALE, &trace.title())
}

fn header(canvas: &mut Canvas, trace: &Trace) -> f64 {
    canvas.title(10.0, 24.0, &trace.heading());
    let cached = trace.pages.0 * 100 / trace.pages.1.max(1);
    let tier = match trace.tier {
        Tier::T0 => text!("T0, by ptrace: slowed down, copies inferred (~)"),
        _ => text!("T1, by tracepoints"),
    };
    let words = text!(
        "one GET over {transport}, topology {topology}, {cached} % of the file in memory; tier {tier}",
        transport = trace.transport,
        topology = trace.topology,
        cached = cached,
        tier = tier
    );
    let mut y = 28.0;
    for line in wrapped(&words, 100) {
        y += 13.0;
        canvas.small(10.0, y, TextAnchor::Start, Colour::Faint, &line);
    }
    y + 5.0
}

/// Draws the key figures.
fn tiles(canvas: &mut Canvas, trace: &Trace, top: f64) -> f64 {
    let totals = &trace.totals;
    let about = if totals.copies.inferred { "~" } else { "" };
    let referred = totals.sent.map(|sent| sent.ours + sent.cache + sent.anonymous);
    // Bytes that were not copied into the socket.
    let inferred = (trace.head + trace.body).saturating_sub(totals.copies.to_socket);
    let referred = bytes_of(referred.unwrap_or(inferred), about);
    let copied = totals.copies.before_receiver();
    let tiles = [
        (totals.total_calls().to_string(), text!("system calls"), Colour::Call),
        (grouped(totals.mode_switches), text!("mode switches"), Colour::User),
        (bytes_of(copied, about), text!("copied before receiver"), Colour::Copy),
        (referred, text!("sent by reference"), Colour::Refer),
        (
            format!("{:.0} µs", microseconds(trace.took)),
            text!("wake-up to last byte"),
            Colour::Faint,
        ),
    ];
    let (gap, left) = (8.0, 10.0);
    let width = (WIDTH - 2.0 * left - 4.0 * gap) / 5.0;
    for (place, (figure, what, colour)) in (0_u8..).zip(tiles) {
        let x = left + f64::from(place) * (width + gap);
        canvas.block(x, top, width, 44.0, Colour::Raised, "");
        canvas.block(x, top, 3.0, 44.0, colour, "");
        canvas.figure(x + 10.0, top + 20.0, &figure);
        canvas.tiny(x + 10.0, top + 35.0, &what);
    }
    top + 44.0
}

/// Formats a number of bytes for a tile.
fn bytes_of(bytes: u64, about: &str) -> String {
    format!("{about}{} B", grouped(bytes))
}

/// Draws summary and notes.
fn footer(canvas: &mut Canvas, trace: &Trace, top: f64) -> f64 {
    let mut y = top;
    for (place, line) in trace.summary().iter().chain(&trace.notes()).enumerate() {
        let colour = if place < trace.summary().len() { Colour::Ink } else { Colour::Faint };
        for line in wrapped(line, 104) {
            canvas.small(10.0, y, TextAnchor::Start, colour, &line);
            y += 14.0;
        }
        y += 2.0;
    }
    y
}
