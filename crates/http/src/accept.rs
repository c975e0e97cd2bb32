//! Content negotiation by media type (RFC 9110 §12.5.1), for the two forms of a listing.
//!
//! The most specific range that matches a type gives its weight, whatever the order of the list.

use crate::encoding::weight;
use crate::field::Field;
use crate::request::Request;

/// Whether the client would rather have JSON than HTML: `Accept` weighs `application/json` more,
/// or as much while it names it more precisely (`application/json, */*`). Not without `Accept`.
pub fn prefers_json(request: &Request) -> bool {
    let (mut json, mut html) = (Standing::default(), Standing::default());
    for value in request.values(Field::Accept) {
        for item in value.split(|byte| *byte == b',') {
            json.hear(item, [b"application/json", b"application/*", b"*/*"]);
            html.hear(item, [b"text/html", b"text/*", b"*/*"]);
        }
    }
    json.weight > 0 && (json.weight, json.precision) > (html.weight, html.precision)
}

/// What a list says of one type so far.
#[derive(Default)]
struct Standing {
    precision: usize,
    weight: u16,
}

impl Standing {
    /// `ranges` are those that match the type, the most precise first.
    fn hear(&mut self, item: &[u8], ranges: [&[u8]; 3]) {
        let mut parts = item.split(|byte| *byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let Some(place) = ranges.iter().position(|range| name.eq_ignore_ascii_case(range)) else {
            return;
        };
        let precision = ranges.len() - place;
        if precision > self.precision {
            let quality = parts.map(<[u8]>::trim_ascii).find(is_quality);
            *self = Self { precision, weight: quality.map_or(Some(1000), weight).unwrap_or(0) };
        }
    }
}

fn is_quality(parameter: &&[u8]) -> bool {
    parameter.get(..2).is_some_and(|name| name.eq_ignore_ascii_case(b"q="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Limits};

    #[test]
    fn json_only_where_it_is_wanted() {
        for (accept, expected) in [
            ("", false),
            ("Accept: */*\r\n", false),
            ("Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n", false),
            ("Accept: application/json\r\n", true),
            ("Accept: Application/JSON\r\n", true),
            ("Accept: application/json, */*\r\n", true),
            ("Accept: application/json;q=0.5, text/html\r\n", false),
            ("Accept: text/html;q=0.5, application/json\r\n", true),
            ("Accept: text/html, application/json\r\n", false),
            ("Accept: application/json;q=0\r\n", false),
            ("Accept: application/json;Q=0\r\n", false),
            ("Accept: application/json; charset=utf-8; q=0.9\r\n", true),
            ("Accept: application/*, text/html;q=0.1\r\n", true),
            ("Accept: text/html;q=0.2\r\nAccept: application/json;q=0.3\r\n", true),
            ("Accept: ;;,,=\r\n", false),
        ] {
            let mut decoder = Decoder::new(Limits::default());
            decoder.push(format!("GET / HTTP/1.1\r\nHost: x\r\n{accept}\r\n").as_bytes());
            let request = decoder.next().unwrap().unwrap();
            assert_eq!(prefers_json(&request), expected, "{accept}");
        }
    }
}
