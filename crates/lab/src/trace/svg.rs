//! Drawing of a trace: key figures, a timeline to scale, and a sequence diagram of the system
//! calls.
//!
//! It is an `<svg>` element with a `viewBox` and no width, so it fills its container. Its colours
//! are custom properties of the page, with fallback values; a standalone drawing defines its own
//! for light and dark mode. Every colour is also explained by text.
//!
//! # Limitations
//! It does not measure text; lines break at an estimated width.

mod canvas;
mod sequence;
mod timeline;

use super::Trace;
use super::event::microseconds;
use crate::html::escape;
use crate::table::{grouped, size};
use crate::tier::Tier;
use canvas::{Canvas, Shade, TextAnchor, WIDTH, wrapped};

/// Colours without a page.
const STYLE: &str = "--karez-background:#fff;--karez-ink:#1c1e21;--karez-faint:#5f6670;\
--karez-line:#d8dce1;--karez-raised:#f5f7f9";
const DARK: &str = "--karez-background:#14171a;--karez-ink:#e4e7ea;--karez-faint:#9aa3ad;\
--karez-line:#363c43;--karez-raised:#1d2125";

pub(super) fn draw(trace: &Trace) -> String {
    let mut canvas = Canvas::default();
    let mut y = header(&mut canvas, trace);
    y = tiles(&mut canvas, trace, y + 12.0);
    y = timeline::draw(&mut canvas, trace, y + 16.0);
    y = sequence::draw(&mut canvas, trace, y + 14.0);
    y = footer(&mut canvas, trace, y + 16.0);
    // Distinguishes the drawings of a page.
    let id = format!("karez-trace-{:x}-{:x}", trace.took, trace.asked.unsigned_abs());
    let what = escape(&trace.title());
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" id=\"{id}\" viewBox=\"0 0 {WIDTH} {y:.0}\" \
         role=\"img\" style=\"display:block;width:100%;max-width:56rem;height:auto\" aria-label=\"{what}\" font-family=\"system-ui, -apple-system, 'Segoe UI', \
         'DejaVu Sans', sans-serif\" font-size=\"11.5\">\n<style>#{id}{{{STYLE}}}\
         @media (prefers-color-scheme:dark){{#{id}{{{DARK}}}}}</style>\n\
         <title>{what}</title>\n<rect width=\"{WIDTH}\" height=\"{y:.0}\" \
         fill=\"var(--karez-background, #fff)\"/>\n{}</svg>\n",
        canvas.into_text()
    )
}

fn header(canvas: &mut Canvas, trace: &Trace) -> f64 {
    let via = if trace.effective_via == trace.via {
        trace.via.to_string()
    } else {
        format!("{} (as {})", trace.via, trace.effective_via)
    };
    let title = format!("{} by {via} on {}", size(trace.body), trace.model);
    canvas.title(10.0, 24.0, &title);
    let cached = trace.pages.0 * 100 / trace.pages.1.max(1);
    let tier = match trace.tier {
        Tier::T0 => "T0, by ptrace: slowed down, copies inferred (~)",
        _ => "T1, by tracepoints",
    };
    let words = format!(
        "one GET over {}, topology {}, {cached} % of the file in memory; tier {tier}",
        trace.transport, trace.topology
    );
    let mut y = 28.0;
    for line in wrapped(&words, 100) {
        y += 13.0;
        canvas.small(10.0, y, TextAnchor::Start, Shade::Faint, &line);
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
        (totals.total_calls().to_string(), "system calls", Shade::Call),
        (grouped(totals.mode_switches), "mode switches", Shade::User),
        (bytes_of(copied, about), "copied before receiver", Shade::Copy),
        (referred, "sent by reference", Shade::Refer),
        (format!("{:.0} µs", microseconds(trace.took)), "wake-up to last byte", Shade::Faint),
    ];
    let (gap, left) = (8.0, 10.0);
    let width = (WIDTH - 2.0 * left - 4.0 * gap) / 5.0;
    for (place, (figure, what, shade)) in (0_u8..).zip(tiles) {
        let x = left + f64::from(place) * (width + gap);
        canvas.block(x, top, width, 44.0, Shade::Raised, "");
        canvas.block(x, top, 3.0, 44.0, shade, "");
        canvas.figure(x + 10.0, top + 20.0, &figure);
        canvas.tiny(x + 10.0, top + 35.0, what);
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
        let shade = if place < trace.summary().len() { Shade::Ink } else { Shade::Faint };
        for line in wrapped(line, 104) {
            canvas.small(10.0, y, TextAnchor::Start, shade, &line);
            y += 14.0;
        }
        y += 2.0;
    }
    y
}
