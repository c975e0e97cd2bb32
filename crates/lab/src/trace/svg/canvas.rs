//! Drawing primitives.

use std::fmt::Write as _;

use crate::html::escape;

/// Width of the drawing in user units.
pub(super) const WIDTH: f64 = 600.0;

/// Colours by meaning. The palette of Okabe and Ito is distinguishable for colour-blind readers on
/// light and dark backgrounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shade {
    Ink,
    Faint,
    Line,
    Raised,
    User,
    Call,
    Copy,
    Refer,
    Disk,
    Fault,
}

impl Shade {
    pub(super) const fn colour(self) -> &'static str {
        match self {
            Self::Ink => "var(--karez-ink, currentColor)",
            Self::Faint => "var(--karez-faint, #757c85)",
            Self::Line => "var(--karez-line, #b5bac0)",
            Self::Raised => "var(--karez-raised, #8881)",
            Self::User => "var(--karez-user, #e69f00)",
            Self::Call => "var(--karez-call, #3d8fd1)",
            Self::Copy => "var(--karez-copy, #d55e00)",
            Self::Refer => "var(--karez-refer, #009e73)",
            Self::Disk => "var(--karez-disk, #cc79a7)",
            Self::Fault => "var(--karez-fault, #9467bd)",
        }
    }
}

/// Horizontal alignment of text.
#[derive(Clone, Copy, Debug)]
pub(super) enum TextAnchor {
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
pub(super) struct Canvas(String);

impl Canvas {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// Draws another canvas on top.
    pub(super) fn append(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    fn text(
        &mut self,
        (x, y): (f64, f64),
        anchor: TextAnchor,
        shade: Shade,
        more: &str,
        text: &str,
    ) {
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{}\" fill=\"{}\"{more}>{}</text>",
            anchor.name(),
            shade.colour(),
            escape(text)
        );
    }

    pub(super) fn title(&mut self, x: f64, y: f64, text: &str) {
        let more = " font-size=\"18\" font-weight=\"700\"";
        self.text((x, y), TextAnchor::Start, Shade::Ink, more, text);
    }

    pub(super) fn figure(&mut self, x: f64, y: f64, text: &str) {
        let more = " font-size=\"14\" font-weight=\"700\"";
        self.text((x, y), TextAnchor::Start, Shade::Ink, more, text);
    }

    pub(super) fn tiny(&mut self, x: f64, y: f64, text: &str) {
        self.text((x, y), TextAnchor::Start, Shade::Faint, " font-size=\"8.6\"", text);
    }

    pub(super) fn small(&mut self, x: f64, y: f64, anchor: TextAnchor, shade: Shade, text: &str) {
        self.text((x, y), anchor, shade, " font-size=\"10.5\"", text);
    }

    pub(super) fn bold(&mut self, x: f64, y: f64, anchor: TextAnchor, shade: Shade, text: &str) {
        self.text((x, y), anchor, shade, " font-weight=\"600\"", text);
    }

    /// Draws a filled box with a tooltip.
    pub(super) fn block(&mut self, x: f64, y: f64, w: f64, h: f64, shade: Shade, what: &str) {
        self.filled((x, y, w, h), shade, 1.0, what);
    }

    /// Draws a translucent box with a tooltip.
    pub(super) fn pale(&mut self, x: f64, y: f64, w: f64, h: f64, shade: Shade, what: &str) {
        self.filled((x, y, w, h), shade, 0.22, what);
    }

    fn filled(
        &mut self,
        (x, y, w, h): (f64, f64, f64, f64),
        shade: Shade,
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
            "<rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{w:.2}\" height=\"{h:.1}\" fill=\"{}\"{opacity}{round}>{title}</rect>",
            shade.colour()
        );
    }

    pub(super) fn line(
        &mut self,
        from: (f64, f64),
        to: (f64, f64),
        shade: Shade,
        width: f64,
        dashes: &str,
    ) {
        let dashes = if dashes.is_empty() {
            String::new()
        } else {
            format!(" stroke-dasharray=\"{dashes}\"")
        };
        let _ = writeln!(
            self.0,
            "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"{}\" stroke-width=\"{width}\"{dashes} fill=\"none\"/>",
            from.0,
            from.1,
            to.0,
            to.1,
            shade.colour()
        );
    }

    /// Draws a horizontal arrow from `x` to `to`.
    pub(super) fn arrow(&mut self, x: f64, to: f64, y: f64, shade: Shade, width: f64) {
        let back = if to > x { -1.0 } else { 1.0 };
        let long = 4.0 + 1.5 * width;
        self.line((x, y), (to + back * long * 0.8, y), shade, width, "");
        let half = 2.0 + width;
        let base = to + back * long;
        let _ = writeln!(
            self.0,
            "<path d=\"M{to:.1} {y:.1}L{base:.1} {:.1}L{base:.1} {:.1}Z\" fill=\"{}\"/>",
            y - half,
            y + half,
            shade.colour()
        );
    }
}

/// Wraps text at words to lines of at most `most` characters.
pub(super) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
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
}
