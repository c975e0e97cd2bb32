//! Charts: bars with ranges, stacked bars, lines on logarithmic scales. Every colour is also
//! explained by text (`<title>`).
//!
//! # Limitations
//! A label gets the space that most labels of its length need.

use crate::stats::MedianRange;
use crate::svg::{Canvas, Colour, TextAnchor, columns};

/// Width of a chart in user units.
const WIDTH: f64 = 560.0;
/// Height of a row of bars.
const ROW: f64 = 24.0;
/// Space for one character of a label.
const LETTER: f64 = 7.5;
/// Space for the tick labels of the vertical axis.
const MARKS: f64 = 48.0;
/// Space for the total to the right of stacked bars.
const TOTAL: f64 = 60.0;
/// Height of the plot area of a line chart.
const HEIGHT: f64 = 260.0;

/// Draws one bar per row: its length is the median, with a whisker over the range.
pub(crate) fn bars(what: &str, rows: &[(String, MedianRange)]) -> String {
    let most =
        rows.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let left = room(rows.iter().map(|(label, _)| label));
    let texts: Vec<_> = rows.iter().map(|(_, spread)| figures(spread)).collect();
    let scale = (WIDTH - left - room(texts.iter())) / most;
    let mut canvas = Canvas::default();
    for (place, ((label, spread), figures)) in rows.iter().zip(&texts).enumerate() {
        let top = ROW * count(place);
        let middle = top + ROW / 2.0;
        let at = |value: f64| left + value * scale;
        row_label(&mut canvas, label, left, middle);
        canvas.group(&format!("{label}: {figures}"), |canvas| {
            let width = spread.median * scale;
            canvas.block(left, top + 5.0, width, ROW - 10.0, Colour::Series(0), "");
            canvas.whisker(at(spread.low), at(spread.high), middle, Colour::Ink);
        });
        small(&mut canvas, at(spread.high) + 6.0, middle + 4.0, TextAnchor::Start, figures);
    }
    canvas.into_svg((WIDTH, ROW * count(rows.len())), 1.0, what)
}

/// Draws one stacked bar per row; each part is a multiple of a common unit. A legend names the
/// parts.
pub(crate) fn stacked(what: &str, parts: &[String], rows: &[(String, Vec<f64>)]) -> String {
    let total = |values: &[f64]| values.iter().sum::<f64>();
    let most = rows.iter().map(|(_, values)| total(values)).fold(1.0, f64::max);
    let edge = room(rows.iter().map(|(label, _)| label));
    let scale = (WIDTH - edge - TOTAL) / most;
    let mut canvas = Canvas::default();
    legend(&mut canvas, parts, 0, edge, ROW / 2.0);
    for (place, (label, values)) in rows.iter().enumerate() {
        let top = ROW * count(place + 1);
        row_label(&mut canvas, label, edge, top + ROW / 2.0);
        let mut left = edge;
        for (number, (&value, name)) in values.iter().zip(parts).enumerate() {
            let wide = value * scale;
            if value > 0.0 {
                let tooltip = format!("{label}: {name} {value:.2}");
                let shown = (wide - 1.0).max(0.5);
                canvas.block(left, top + 5.0, shown, ROW - 10.0, Colour::Series(number), &tooltip);
            }
            left += wide;
        }
        let sum = format!("{:.2} ×", total(values));
        small(&mut canvas, left + 6.0, top + ROW / 2.0 + 4.0, TextAnchor::Start, &sum);
    }
    canvas.into_svg((WIDTH, ROW * count(rows.len() + 1)), 1.0, what)
}

/// One line of a line chart.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Points from left to right.
    pub(crate) points: Vec<(f64, MedianRange)>,
}

/// Draws lines through medians with their ranges on logarithmic scales. Points that are not above 0
/// are omitted.
pub(crate) fn lines(what: &str, across: &str, up: &str, lines: &[Line]) -> String {
    let shown = |&&(x, y): &&(f64, MedianRange)| x > 0.0 && y.median > 0.0 && y.low > 0.0;
    let all: Vec<_> = lines.iter().flat_map(|line| line.points.iter().filter(shown)).collect();
    let horizontal = Scale::of(all.iter().map(|(x, _)| *x), MARKS, WIDTH - 20.0);
    let ends = all.iter().flat_map(|(_, y)| [y.low, y.high]);
    let vertical = Scale::of(ends, HEIGHT + 20.0, 20.0);
    let names: Vec<_> = lines.iter().map(|line| line.name.as_str()).collect();
    let below = ROW * (1.0 + count(names.len().div_ceil(4)));
    let mut canvas = Canvas::default();
    grid(&mut canvas, &horizontal, &vertical);
    for (number, line) in lines.iter().enumerate() {
        draw(&mut canvas, line, number, (&horizontal, &vertical));
    }
    small(&mut canvas, 4.0, 12.0, TextAnchor::Start, up);
    small(&mut canvas, WIDTH - 20.0, HEIGHT + 52.0, TextAnchor::End, across);
    for (row, some) in names.chunks(4).enumerate() {
        let first = row * 4;
        legend(&mut canvas, some, first, 8.0, HEIGHT + 40.0 + ROW * (count(row) + 1.0));
    }
    canvas.into_svg((WIDTH, HEIGHT + 40.0 + below), 1.0, what)
}

fn draw(canvas: &mut Canvas, line: &Line, number: usize, (across, up): (&Scale, &Scale)) {
    let points = line.points.iter().filter(|(x, y)| *x > 0.0 && y.low > 0.0);
    let places: Vec<_> = points.map(|(x, y)| (across.at(*x), up.at(y.median), *x, *y)).collect();
    let path: Vec<_> = places.iter().map(|&(x, y, ..)| (x, y)).collect();
    let colour = Colour::Series(number);
    // Lines from the ninth on are dashed.
    canvas.polyline(&path, colour, if number < Colour::SERIES { "" } else { "5 3" });
    for (x, y, value, spread) in places {
        let (low, high) = (up.at(spread.low), up.at(spread.high));
        let tooltip = format!("{}, {value}: {}", line.name, figures(&spread));
        canvas.group(&tooltip, |canvas| {
            canvas.line((x, low), (x, high), colour, 1.0, "");
            canvas.dot(x, y, colour);
        });
    }
}

/// Logarithmic scale between two positions.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Spans the powers of ten around all values.
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (low, high) = (low.min(value.log10()), high.max(value.log10()));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let (low, high) = (low.floor(), high.ceil());
        Self { low, high: if high > low { high } else { low + 1.0 }, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    /// Returns each power of ten with its label.
    fn marks(&self) -> impl Iterator<Item = (f64, String)> {
        let powers = std::iter::successors(Some(self.low), |power| Some(power + 1.0));
        powers.take_while(|power| *power <= self.high + 0.1).map(|power| {
            let name = match power {
                below if below < 0.0 => format!("{:.*}", digits(power), 10_f64.powf(power)),
                small if small < 3.5 => format!("{:.0}", 10_f64.powf(power)),
                large if large < 5.5 => format!("{:.0}k", 10_f64.powf(power - 3.0)),
                huge => format!("{:.0}M", 10_f64.powf(huge - 6.0)),
            };
            (self.at(10_f64.powf(power)), name)
        })
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small negative power"
)]
fn digits(power: f64) -> usize {
    -power as usize
}

fn grid(canvas: &mut Canvas, across: &Scale, up: &Scale) {
    for (x, name) in across.marks() {
        canvas.line((x, 20.0), (x, HEIGHT + 20.0), Colour::Line, 1.0, "");
        small(canvas, x, HEIGHT + 36.0, TextAnchor::Middle, &name);
    }
    for (y, name) in up.marks() {
        canvas.line((MARKS, y), (WIDTH - 20.0, y), Colour::Line, 1.0, "");
        small(canvas, MARKS - 6.0, y + 4.0, TextAnchor::End, &name);
    }
}

/// Space for the longest label beside the bars.
fn room<'a>(labels: impl Iterator<Item = &'a String>) -> f64 {
    let longest = labels.map(|label| columns(label)).max().unwrap_or(0);
    count(longest) * LETTER + 16.0
}

fn row_label(canvas: &mut Canvas, label: &str, left: f64, middle: f64) {
    canvas.sized((left - 8.0, middle + 4.0), TextAnchor::End, Colour::Ink, 13.0, label);
}

fn small(canvas: &mut Canvas, x: f64, y: f64, anchor: TextAnchor, text: &str) {
    canvas.sized((x, y), anchor, Colour::Faint, 12.0, text);
}

fn legend(
    canvas: &mut Canvas,
    names: &[impl AsRef<str>],
    first: usize,
    mut left: f64,
    middle: f64,
) {
    for (number, name) in names.iter().enumerate() {
        canvas.block(left, middle - 5.0, 10.0, 10.0, Colour::Series(first + number), "");
        small(canvas, left + 14.0, middle + 4.0, TextAnchor::Start, name.as_ref());
        left += 28.0 + 7.0 * count(columns(name.as_ref()));
    }
}

fn figures(spread: &MedianRange) -> String {
    // Three significant digits.
    let digits = match spread.median {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{spread:.digits$}")
}

#[allow(clippy::cast_precision_loss, reason = "rows of a chart")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_shows_median_and_whisker_shows_range() {
        let half = MedianRange { median: 5.0, low: 5.0, high: 5.0 };
        let whole = MedianRange { median: 10.0, low: 2.5, high: 10.0 };
        let svg = bars("x", &[("<".to_owned(), half), ("c".to_owned(), whole)]);
        let left = LETTER + 16.0;
        let wide = WIDTH - left - room([figures(&half), figures(&whole)].iter());
        assert!(svg.contains(&format!(r#"width="{:.2}""#, wide / 2.0)), "{svg}");
        assert!(svg.contains(&format!(r#"width="{wide:.2}""#)), "{svg}");
        let low = left + wide / 4.0;
        assert!(svg.contains(&format!("M{low:.1} ")), "{svg}");
        assert!(svg.contains(">&lt;<"));
    }

    #[test]
    fn log_scale_has_equal_steps() {
        let scale = Scale::of([20.0, 9000.0].into_iter(), 0.0, 300.0);
        let places: Vec<_> = scale.marks().map(|(at, name)| (at.round(), name)).collect();
        let expected = [(0.0, "10"), (100.0, "100"), (200.0, "1000"), (300.0, "10k")];
        assert_eq!(places, expected.map(|(at, name)| (at, name.to_owned())));
        let names: Vec<_> = Scale::of([0.02].into_iter(), 0.0, 1.0).marks().collect();
        assert_eq!(names[0].1, "0.01");
    }

    #[test]
    fn empty_input_gives_an_empty_chart() {
        let svg = lines("x", "n", "us", &[]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
