//! The choice between the two formats of a listing by `Accept` (RFC 9110 §12.5.1).
//!
//! The most specific media range that matches a type gives its weight, whatever its place in the list.
//!
//! # Limitations
//!
//! Only the types of a listing are known. Parameters other than the weight are ignored.

use karez_http::encoding::parse_weight;
use karez_http::{Field, Request};

/// Returns whether the client prefers JSON to HTML: `Accept` gives `application/json` a higher weight,
/// or the same weight by a more specific range (`application/json, */*`). False without `Accept`.
pub(crate) fn prefers_json(request: &Request) -> bool {
    let (mut json, mut html) = (Preference::default(), Preference::default());
    for value in request.values(Field::Accept) {
        for item in value.split(|byte| *byte == b',') {
            json.apply(item, [b"application/json", b"application/*", b"*/*"]);
            html.apply(item, [b"text/html", b"text/*", b"*/*"]);
        }
    }
    json.weight > 0 && (json.weight, json.precision) > (html.weight, html.precision)
}

/// The weight of one type by the items seen so far.
#[derive(Default)]
struct Preference {
    precision: usize,
    /// In thousandths.
    weight: u16,
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
            *self = Self { precision, weight };
        }
    }
}

fn is_quality(parameter: &&[u8]) -> bool {
    parameter.get(..2).is_some_and(|name| name.eq_ignore_ascii_case(b"q="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use karez_http::Version;

    #[test]
    fn json_is_sent_only_if_it_is_preferred() {
        for (accept, expected) in [
            (&[][..], false),
            (&["*/*"], false),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], false),
            (&["application/json"], true),
            (&["Application/JSON"], true),
            (&["application/json, */*"], true),
            (&["application/json;q=0.5, text/html"], false),
            (&["text/html;q=0.5, application/json"], true),
            (&["text/html, application/json"], false),
            (&["application/json;q=0"], false),
            (&["application/json;Q=0"], false),
            (&["application/json; charset=utf-8; q=0.9"], true),
            (&["application/*, text/html;q=0.1"], true),
            (&["text/html;q=0.2", "application/json;q=0.3"], true),
            (&[";;,,="], false),
        ] {
            let fields = accept.iter().map(|value| (&b"accept"[..], value.as_bytes()));
            let request = Request::assemble(b"GET", b"/", Version::Http11, fields).unwrap();
            assert_eq!(prefers_json(&request), expected, "{accept:?}");
        }
    }
}
