//! Colours by meaning, for light and dark backgrounds.

use std::fmt::Write as _;

/// A colour. The palette of Okabe and Ito is distinguishable for colour-blind readers on light and
/// dark backgrounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Background,
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
    /// A data series of a chart.
    Series(usize),
}

/// Data series: light and dark.
const SERIES: [(&str, &str); 8] = [
    ("#0072b2", "#3d9fdd"),
    ("#e69f00", "#e69f00"),
    ("#009e73", "#009e73"),
    ("#cc79a7", "#cc79a7"),
    ("#56b4e9", "#56b4e9"),
    ("#d55e00", "#d55e00"),
    ("#999999", "#b3b3b3"),
    ("#b8a800", "#b8a800"),
];

/// Colours that differ in dark mode, with the suffix of their class.
const ADAPTIVE: [(Colour, &str); 7] = [
    (Colour::Background, "background"),
    (Colour::Ink, "ink"),
    (Colour::Faint, "faint"),
    (Colour::Line, "line"),
    (Colour::Raised, "raised"),
    (Colour::Series(0), "series-0"),
    (Colour::Series(6), "series-6"),
];

impl Colour {
    /// Number of distinguishable data series.
    pub(crate) const SERIES: usize = SERIES.len();

    /// Returns the colours on a light and on a dark background.
    pub(crate) const fn light_and_dark(self) -> (&'static str, &'static str) {
        match self {
            Self::Background => ("#ffffff", "#14171a"),
            Self::Ink => ("#1c1e21", "#e4e7ea"),
            Self::Faint => ("#5f6670", "#9aa3ad"),
            Self::Line => ("#c8cdd3", "#4a525b"),
            Self::Raised => ("#f5f7f9", "#1d2125"),
            Self::User => ("#e69f00", "#e69f00"),
            Self::Call => ("#3d8fd1", "#3d8fd1"),
            Self::Copy => ("#d55e00", "#d55e00"),
            Self::Refer => ("#009e73", "#009e73"),
            Self::Disk => ("#cc79a7", "#cc79a7"),
            Self::Fault => ("#9467bd", "#9467bd"),
            Self::Series(number) => SERIES[number % SERIES.len()],
        }
    }

    /// Returns the attributes that fill a shape.
    pub(crate) fn fill(self) -> String {
        self.attributes("fill", "kf")
    }

    /// Returns the attributes that draw an outline.
    pub(crate) fn stroke(self) -> String {
        self.attributes("stroke", "ks")
    }

    fn attributes(self, attribute: &str, class: &str) -> String {
        let this = if let Self::Series(number) = self {
            Self::Series(number % SERIES.len())
        } else {
            self
        };
        let mut text = format!(" {attribute}=\"{}\"", this.light_and_dark().0);
        if let Some((_, name)) = ADAPTIVE.iter().find(|(colour, _)| *colour == this) {
            let _ = write!(text, " class=\"{class}-{name}\"");
        }
        text
    }
}

/// Returns the style sheet of a drawing: the dark colours.
pub(super) fn dark_style() -> String {
    let mut css = String::from("@media screen and (prefers-color-scheme:dark){");
    for (colour, name) in ADAPTIVE {
        let dark = colour.light_and_dark().1;
        let _ = write!(css, ".kf-{name}{{fill:{dark}}}.ks-{name}{{stroke:{dark}}}");
    }
    css + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_presentation_attributes() {
        assert_eq!(Colour::Copy.fill(), " fill=\"#d55e00\"");
        assert_eq!(Colour::Ink.stroke(), " stroke=\"#1c1e21\" class=\"ks-ink\"");
        assert_eq!(Colour::Series(8).fill(), Colour::Series(0).fill());
    }

    #[test]
    fn every_colour_with_a_dark_variant_has_a_class() {
        let series = (0..Colour::SERIES).map(Colour::Series);
        let fixed = [Colour::User, Colour::Call, Colour::Copy, Colour::Refer, Colour::Disk];
        for colour in fixed.into_iter().chain([Colour::Fault]).chain(series) {
            let (light, dark) = colour.light_and_dark();
            let is_adaptive = ADAPTIVE.iter().any(|(known, _)| *known == colour);
            assert_eq!(light != dark, is_adaptive, "{colour:?}");
        }
        assert!(dark_style().contains(".kf-ink{fill:#e4e7ea}.ks-ink{stroke:#e4e7ea}"));
    }
}
