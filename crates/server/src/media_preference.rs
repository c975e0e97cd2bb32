//! The choice between the formats of a listing by `Accept` (RFC 9110 §12.5.1).
//!
//! The most specific media range that matches a type gives its weight, whatever its place in the list.
//!
//! # Limitations
//!
//! Only the types of a listing are known. Parameters other than the weight are ignored.

use karez_http::encoding::parse_weight;
use karez_http::{Field, Request};

use crate::site::ListingFormat;

/// Returns the format that the client prefers: JSON or text if `Accept` gives it a higher weight than HTML, or the same
/// weight by a more specific range (`application/json, */*`). HTML without `Accept`.
pub(crate) fn preferred_format(request: &Request) -> ListingFormat {
    let [mut html, mut json, mut text] = [Preference::default(); 3];
    for value in request.values(Field::Accept) {
        for item in value.split(|byte| *byte == b',') {
            html.apply(item, [b"text/html", b"text/*", b"*/*"]);
            json.apply(item, [b"application/json", b"application/*", b"*/*"]);
            text.apply(item, [b"text/plain", b"text/*", b"*/*"]);
        }
    }
    let mut best = (html, ListingFormat::Html);
    for other in [(json, ListingFormat::Json), (text, ListingFormat::Text)] {
        if other.0.weight > 0 && other.0 > best.0 {
            best = other;
        }
    }
    best.1
}

/// The weight of one type by the items seen so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// In thousandths.
    weight: u16,
    precision: usize,
}

impl Preference {
    /// Applies an item of the list. `ranges` match the type, the most specific first.
    fn apply(&mut self, item: &[u8], ranges: [&[u8]; 3]) {
        let mut parts = item.split(|byte| *byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let Some(place) = ranges.iter().position(|range| name.eq_ignore_ascii_case(range)) else {
            return;
        };
        let precision = ranges.len() - place;
        if precision > self.precision {
            let quality = parts.map(<[u8]>::trim_ascii).find(is_quality);
            let weight = quality.map_or(Some(1000), parse_weight).unwrap_or(0);
            *self = Self { weight, precision };
        }
    }
}

fn is_quality(parameter: &&[u8]) -> bool {
    parameter.get(..2).is_some_and(|name| name.eq_ignore_ascii_case(b"q="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ListingFormat::{Html, Json, Text};
    use karez_http::Version;

    #[test]
    fn html_is_sent_unless_another_format_is_preferred() {
        for (accept, expected) in [
            (&[][..], Html),
            (&["*/*"], Html),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], Html),
            (&["application/json"], Json),
            (&["Application/JSON"], Json),
            (&["application/json, */*"], Json),
            (&["application/json;q=0.5, text/html"], Html),
            (&["text/html;q=0.5, application/json"], Json),
            (&["text/html, application/json"], Html),
            (&["application/json;q=0"], Html),
            (&["application/json;Q=0"], Html),
            (&["application/json; charset=utf-8; q=0.9"], Json),
            (&["application/*, text/html;q=0.1"], Json),
            (&["text/html;q=0.2", "application/json;q=0.3"], Json),
            (&[";;,,="], Html),
            (&["text/plain"], Text),
            (&["text/*"], Html),
            (&["text/plain, text/html"], Html),
            (&["text/plain, */*"], Text),
            (&["text/plain;q=0.5, application/json;q=0.6"], Json),
            (&["text/plain, application/json"], Json),
        ] {
            let fields = accept.iter().map(|value| (&b"accept"[..], value.as_bytes()));
            let request = Request::assemble(b"GET", b"/", Version::Http11, fields).unwrap();
            assert_eq!(preferred_format(&request), expected, "{accept:?}");
        }
    }
}
