//! Drawing primitives, and the `<svg>` document around them.

use std::fmt::Write as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::colour::{Colour, dark_style};
use crate::escape::escape;

/// Fonts for Latin and Chinese text on the common systems.
const FONTS: &str = "system-ui, -apple-system, 'Segoe UI', 'PingFang SC', 'Microsoft YaHei', \
    'Noto Sans CJK SC', 'DejaVu Sans', sans-serif";

/// Horizontal alignment of text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TextAnchor {
    Start,
    Middle,
    End,
}

impl TextAnchor {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

#[derive(Default)]
pub(crate) struct Canvas(String);

impl Canvas {
    /// Returns the complete `<svg>` element, `scale` pixels per user unit.
    pub(crate) fn into_svg(self, (width, height): (f64, f64), scale: f64, title: &str) -> String {
        let title = escape(title);
        let (wide, high) = (width * scale, height * scale);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{wide:.0}\" height=\"{high:.0}\" role=\"img\" aria-label=\"{title}\" \
             font-family=\"{FONTS}\" font-size=\"11.5\">\n<style>{}</style>\n\
             <title>{title}</title>\n<rect width=\"{width:.0}\" height=\"{height:.0}\"{}/>\n{}</svg>\n",
            dark_style(),
            Colour::Background.fill(),
            self.0
        )
    }

    /// Draws what `draw` draws with a common tooltip.
    pub(crate) fn group(&mut self, tooltip: &str, draw: impl FnOnce(&mut Self)) {
        let _ = writeln!(self.0, "<g><title>{}</title>", escape(tooltip));
        draw(self);
        self.0 += "</g>\n";
    }

    /// Draws a polyline through points.
    pub(crate) fn polyline(&mut self, points: &[(f64, f64)], colour: Colour, dashes: &str) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dashes = dashed(dashes);
        let _ = writeln!(
            self.0,
            "<polyline points=\"{}\" fill=\"none\" stroke-width=\"2\"{}{dashes}/>",
            points.join(" "),
            colour.stroke()
        );
    }

    /// Draws a point of a line.
    pub(crate) fn dot(&mut self, x: f64, y: f64, colour: Colour) {
        let fill = colour.fill();
        let _ = writeln!(self.0, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"{fill}/>");
    }

    /// Draws a horizontal range with end marks.
    pub(crate) fn whisker(&mut self, from: f64, to: f64, y: f64, colour: Colour) {
        let _ = writeln!(
            self.0,
            "<path d=\"M{from:.1} {y:.1}H{to:.1}M{from:.1} {top:.1}v8M{to:.1} {top:.1}v8\" fill=\"none\"{}/>",
            colour.stroke(),
            top = y - 4.0
        );
    }

    /// Draws another canvas on top.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    fn text(
        &mut self,
        (x, y): (f64, f64),
        anchor: TextAnchor,
        colour: Colour,
        more: &str,
        text: &str,
    ) {
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{}\"{}{more}>{}</text>",
            anchor.name(),
            colour.fill(),
            escape(text)
        );
    }

    pub(crate) fn title(&mut self, x: f64, y: f64, text: &str) {
        let more = " font-size=\"18\" font-weight=\"700\"";
        self.text((x, y), TextAnchor::Start, Colour::Ink, more, text);
    }

    pub(crate) fn figure(&mut self, x: f64, y: f64, text: &str) {
        let more = " font-size=\"14\" font-weight=\"700\"";
        self.text((x, y), TextAnchor::Start, Colour::Ink, more, text);
    }

    pub(crate) fn tiny(&mut self, x: f64, y: f64, text: &str) {
        self.text((x, y), TextAnchor::Start, Colour::Faint, " font-size=\"8.6\"", text);
    }

    pub(crate) fn small(&mut self, x: f64, y: f64, anchor: TextAnchor, colour: Colour, text: &str) {
        self.text((x, y), anchor, colour, " font-size=\"10.5\"", text);
    }

    /// Draws text of the given size.
    pub(crate) fn sized(
        &mut self,
        (x, y): (f64, f64),
        anchor: TextAnchor,
        colour: Colour,
        size: f64,
        text: &str,
    ) {
        self.text((x, y), anchor, colour, &format!(" font-size=\"{size}\""), text);
    }

    pub(crate) fn bold(&mut self, x: f64, y: f64, anchor: TextAnchor, colour: Colour, text: &str) {
        self.text((x, y), anchor, colour, " font-weight=\"600\"", text);
    }

    /// Draws a filled box with a tooltip.
    pub(crate) fn block(&mut self, x: f64, y: f64, w: f64, h: f64, colour: Colour, what: &str) {
        self.filled((x, y, w, h), colour, 1.0, what);
    }

    /// Draws a translucent box with a tooltip.
    pub(crate) fn pale(&mut self, x: f64, y: f64, w: f64, h: f64, colour: Colour, what: &str) {
        self.filled((x, y, w, h), colour, 0.22, what);
    }

    fn filled(
        &mut self,
        (x, y, w, h): (f64, f64, f64, f64),
        colour: Colour,
        opacity: f64,
        what: &str,
    ) {
        let title = if what.is_empty() {
            String::new()
        } else {
            format!("<title>{}</title>", escape(what))
        };
        let opacity =
            if opacity < 1.0 { format!(" fill-opacity=\"{opacity}\"") } else { String::new() };
        let round = if h > 10.0 && w > 4.0 { " rx=\"2\"" } else { "" };
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{w:.2}\" height=\"{h:.1}\"{}{opacity}{round}>{title}</rect>",
            colour.fill()
        );
    }

    pub(crate) fn line(
        &mut self,
        from: (f64, f64),
        to: (f64, f64),
        colour: Colour,
        width: f64,
        dashes: &str,
    ) {
        let dashes = dashed(dashes);
        let _ = writeln!(
            self.0,
            "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke-width=\"{width}\"{}{dashes} fill=\"none\"/>",
            from.0,
            from.1,
            to.0,
            to.1,
            colour.stroke()
        );
    }

    /// Draws an empty box.
    pub(crate) fn frame(&mut self, x: f64, y: f64, w: f64, h: f64, colour: Colour) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"4\" fill=\"none\" stroke-width=\"1.2\"{}/>",
            colour.stroke()
        );
    }

    /// Draws an arrow in any direction.
    pub(crate) fn pointer(
        &mut self,
        from: (f64, f64),
        to: (f64, f64),
        colour: Colour,
        dashes: &str,
    ) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1.0);
        let (ux, uy) = (dx / length, dy / length);
        let base = (to.0 - 9.0 * ux, to.1 - 9.0 * uy);
        self.line(from, base, colour, 2.2, dashes);
        let _ = writeln!(
            self.0,
            "<path d=\"M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z\"{}/>",
            to.0,
            to.1,
            base.0 - 4.5 * uy,
            base.1 + 4.5 * ux,
            base.0 + 4.5 * uy,
            base.1 - 4.5 * ux,
            colour.fill()
        );
    }

    /// Draws a horizontal arrow from `x` to `to`.
    pub(crate) fn arrow(&mut self, x: f64, to: f64, y: f64, colour: Colour, width: f64) {
        let back = if to > x { -1.0 } else { 1.0 };
        let long = 4.0 + 1.5 * width;
        self.line((x, y), (to + back * long * 0.8, y), colour, width, "");
        let half = 2.0 + width;
        let base = to + back * long;
        let _ = writeln!(
            self.0,
            "<path d=\"M{to:.1} {y:.1}L{base:.1} {:.1}L{base:.1} {:.1}Z\"{}/>",
            y - half,
            y + half,
            colour.fill()
        );
    }
}

fn dashed(dashes: &str) -> String {
    if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") }
}

/// Returns the number of columns of a text; Chinese characters have two.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// Wraps text to lines of at most `most` columns: at spaces, and between Chinese characters.
pub(crate) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (gap, word) in words(text) {
        match lines.last_mut() {
            Some(line) if columns(line) + columns(gap) + columns(&word) <= most => {
                line.push_str(gap);
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// Splits text into unbreakable words, each with the gap before it.
fn words(text: &str) -> Vec<(&'static str, String)> {
    let mut words: Vec<(&str, String)> = Vec::new();
    for part in text.split(' ') {
        let mut gap = " ";
        let mut after_wide = false;
        for (place, character) in part.chars().enumerate() {
            let is_wide = character.width() == Some(2);
            // Punctuation stays with the character before it.
            let closes = "，。；：、）》”！？".contains(character);
            match words.last_mut() {
                Some((_, word)) if place > 0 && (closes || !(is_wide || after_wide)) => {
                    word.push(character);
                }
                _ => words.push((gap, character.to_string())),
            }
            (gap, after_wide) = ("", is_wide && character != '（' && character != '《');
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_wrapped_at_words() {
        assert_eq!(escape("a<b> & \"c\"\u{1}"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}");
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible", 4), ["incomprehensible"]);
    }

    #[test]
    fn chinese_is_wrapped_between_characters_but_not_before_punctuation() {
        assert_eq!(wrapped("由内核拷贝，一次", 10), ["由内核拷", "贝，一次"]);
        assert_eq!(wrapped("用 sendfile 发送", 12), ["用 sendfile", "发送"]);
    }

    #[test]
    fn document_needs_no_page() {
        let mut canvas = Canvas::default();
        canvas.block(0.0, 0.0, 9.0, 9.0, Colour::Ink, "<");
        let svg = canvas.into_svg((10.0, 10.0), 2.0, "a & b");
        assert!(svg.contains("width=\"20\" height=\"20\""), "{svg}");
        assert!(svg.contains("<title>a &amp; b</title>") && svg.contains("<title>&lt;</title>"));
        assert!(!svg.contains("var("), "{svg}");
    }
}
