//! Charts as SVG elements for a page: bars with ranges, stacked bars, lines on logarithmic scales.
//!
//! An element has a `viewBox` and no width, so it fills its container. Its colours are custom
//! properties of the page, with fallback values. Every colour is also explained by text
//! (`<title>`).
//!
//! # Limitations
//! It does not measure text, so a label gets the space that most labels need.

use std::fmt::Write as _;

use crate::html::escape;
use crate::stats::MedianRange;

/// Colours that are distinguishable for colour-blind readers on light and dark backgrounds (Okabe
/// and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#b8a800"];

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

/// Returns the colour with this index.
pub(crate) fn colour(number: usize) -> String {
    let number = number % COLOURS.len();
    format!("var(--karez-{number}, {})", COLOURS[number])
}

/// Draws one bar per row: its length is the median, with a whisker over the range.
pub(crate) fn bars(what: &str, rows: &[(String, MedianRange)]) -> String {
    let most =
        rows.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let left = room(rows.iter().map(|(label, _)| label));
    let texts: Vec<_> = rows.iter().map(|(_, spread)| figures(spread)).collect();
    let scale = (WIDTH - left - room(texts.iter())) / most;
    let mut svg = open(what, ROW * count(rows.len()));
    for (place, ((label, spread), figures)) in rows.iter().zip(&texts).enumerate() {
        let top = ROW * count(place);
        let middle = top + ROW / 2.0;
        let at = |value: f64| left + value * scale;
        row_label(&mut svg, label, left, middle);
        let _ = write!(
            svg,
            r#"<g><title>{}: {figures}</title><rect x="{left}" y="{:.1}" width="{:.1}" height="{}" fill="{}" rx="1"/>{}</g>"#,
            escape(label),
            top + 5.0,
            spread.median * scale,
            ROW - 10.0,
            colour(0),
            whisker(at(spread.low), at(spread.high), middle),
        );
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" class="karez-small">{figures}</text>"#,
            at(spread.high) + 6.0,
            middle + 4.0,
        );
    }
    svg + "</svg>"
}

/// Draws one stacked bar per row; each part is a multiple of a common unit. A legend names the
/// parts.
pub(crate) fn stacked(what: &str, parts: &[&str], rows: &[(String, Vec<f64>)]) -> String {
    let total = |values: &[f64]| values.iter().sum::<f64>();
    let most = rows.iter().map(|(_, values)| total(values)).fold(1.0, f64::max);
    let edge = room(rows.iter().map(|(label, _)| label));
    let scale = (WIDTH - edge - TOTAL) / most;
    let mut svg = open(what, ROW * count(rows.len() + 1));
    legend(&mut svg, parts, 0, edge, ROW / 2.0);
    for (place, (label, values)) in rows.iter().enumerate() {
        let top = ROW * count(place + 1);
        row_label(&mut svg, label, edge, top + ROW / 2.0);
        let mut left = edge;
        for (number, (&value, name)) in values.iter().zip(parts).enumerate() {
            let wide = value * scale;
            if value > 0.0 {
                let _ = write!(
                    svg,
                    r#"<rect x="{left:.1}" y="{:.1}" width="{wide:.1}" height="{}" fill="{}" stroke="var(--karez-background, #fff)"><title>{}: {name} {value:.2}</title></rect>"#,
                    top + 5.0,
                    ROW - 10.0,
                    colour(number),
                    escape(label),
                );
            }
            left += wide;
        }
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" class="karez-small">{:.2} ×</text>"#,
            left + 6.0,
            top + ROW / 2.0 + 4.0,
            total(values),
        );
    }
    svg + "</svg>"
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
    let mut svg = open(what, HEIGHT + 40.0 + below);
    grid(&mut svg, &horizontal, &vertical);
    for (number, line) in lines.iter().enumerate() {
        draw(&mut svg, line, number, (&horizontal, &vertical));
    }
    let _ = write!(
        svg,
        r#"<text x="4" y="12" class="karez-small">{}</text><text x="{}" y="{}" class="karez-small" text-anchor="end">{}</text>"#,
        escape(up),
        WIDTH - 20.0,
        HEIGHT + 52.0,
        escape(across),
    );
    for (row, some) in names.chunks(4).enumerate() {
        let first = row * 4;
        legend(&mut svg, some, first, 8.0, HEIGHT + 40.0 + ROW * (count(row) + 1.0));
    }
    svg + "</svg>"
}

fn draw(svg: &mut String, line: &Line, number: usize, (across, up): (&Scale, &Scale)) {
    let points = line.points.iter().filter(|(x, y)| *x > 0.0 && y.low > 0.0);
    let places: Vec<_> = points.map(|(x, y)| (across.at(*x), up.at(y.median), *x, *y)).collect();
    let path: Vec<_> = places.iter().map(|(x, y, ..)| format!("{x:.1},{y:.1}")).collect();
    let colour = colour(number);
    // Lines from the ninth on are dashed.
    let dashes = if number < COLOURS.len() { "" } else { r#" stroke-dasharray="5 3""# };
    let _ = write!(
        svg,
        r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>"#,
        path.join(" ")
    );
    for (x, y, value, spread) in places {
        let (low, high) = (up.at(spread.low), up.at(spread.high));
        let _ = write!(
            svg,
            r#"<g stroke="{colour}"><title>{}, {value}: {}</title><line x1="{x:.1}" y1="{low:.1}" x2="{x:.1}" y2="{high:.1}"/><circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/></g>"#,
            escape(&line.name),
            figures(&spread),
        );
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

fn grid(svg: &mut String, across: &Scale, up: &Scale) {
    for (x, name) in across.marks() {
        let _ = write!(
            svg,
            r#"<line x1="{x:.1}" y1="20" x2="{x:.1}" y2="{}" class="karez-grid"/><text x="{x:.1}" y="{}" class="karez-small" text-anchor="middle">{name}</text>"#,
            HEIGHT + 20.0,
            HEIGHT + 36.0,
        );
    }
    for (y, name) in up.marks() {
        let _ = write!(
            svg,
            r#"<line x1="{}" y1="{y:.1}" x2="{}" y2="{y:.1}" class="karez-grid"/><text x="{}" y="{:.1}" class="karez-small" text-anchor="end">{name}</text>"#,
            MARKS,
            WIDTH - 20.0,
            MARKS - 6.0,
            y + 4.0,
        );
    }
}

fn open(what: &str, height: f64) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img" class="karez-chart" xmlns="http://www.w3.org/2000/svg"><title>{}</title>"#,
        escape(what)
    )
}

/// Space for the longest label beside the bars.
fn room<'a>(labels: impl Iterator<Item = &'a String>) -> f64 {
    let longest = labels.map(|label| label.chars().count()).max().unwrap_or(0);
    count(longest) * LETTER + 16.0
}

fn row_label(svg: &mut String, label: &str, left: f64, middle: f64) {
    let _ = write!(
        svg,
        r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
        left - 8.0,
        middle + 4.0,
        escape(label)
    );
}

fn whisker(from: f64, to: f64, y: f64) -> String {
    format!(
        r#"<path d="M{from:.1} {y:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8" class="karez-range"/>"#,
        y - 4.0,
        y - 4.0
    )
}

fn legend(svg: &mut String, names: &[&str], first: usize, mut left: f64, middle: f64) {
    for (number, name) in names.iter().enumerate() {
        let _ = write!(
            svg,
            r#"<rect x="{left:.0}" y="{:.0}" width="10" height="10" fill="{}"/><text x="{:.0}" y="{:.0}" class="karez-small">{}</text>"#,
            middle - 5.0,
            colour(first + number),
            left + 14.0,
            middle + 4.0,
            escape(name),
        );
        left += 28.0 + 7.0 * count(name.chars().count());
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
        assert!(svg.contains(&format!(r#"width="{:.1}""#, wide / 2.0)), "{svg}");
        assert!(svg.contains(&format!(r#"width="{wide:.1}""#)), "{svg}");
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
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
