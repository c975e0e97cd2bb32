//! Conditional requests for a file that exists (RFC 9110 §13).
//!
//! The order of §13.2.2 matters: tags are looked at before dates, and a date is not looked at when
//! there is a tag field, whatever came of that. A date field that is repeated or malformed is as
//! good as absent.

use crate::date;
use crate::etag::{EntityTag, tags};
use crate::field::Field;
use crate::method::Method;
use crate::request::Request;

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As if there were no condition.
    Proceed,
    /// 304 (RFC 9110 §15.4.5).
    NotModified,
    /// 412 (RFC 9110 §15.5.13).
    PreconditionFailed,
}

/// Evaluates the preconditions of a GET or HEAD (RFC 9110 §13.2.2); `last_modified` in seconds
/// since 1970. For any other method they are ignored (§13.2.1).
pub fn evaluate(request: &Request, etag: &EntityTag, last_modified: u64) -> Outcome {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Outcome::Proceed;
    }
    let held = if request.value(Field::IfMatch).is_some() {
        any_tag(request, Field::IfMatch, |tag| etag.is_strongly(tag))
    } else {
        date_of(request, Field::IfUnmodifiedSince).is_none_or(|date| last_modified <= date)
    };
    if !held {
        return Outcome::PreconditionFailed;
    }
    let known = if request.value(Field::IfNoneMatch).is_some() {
        any_tag(request, Field::IfNoneMatch, |tag| etag.is_weakly(tag))
    } else {
        date_of(request, Field::IfModifiedSince).is_some_and(|date| last_modified <= date)
    };
    if known { Outcome::NotModified } else { Outcome::Proceed }
}

/// Whether a Range may be honoured (RFC 9110 §13.1.5): there is no If-Range, or it still holds.
///
/// A date is a strong validator only if the file was not modified in the second that the answer
/// is made in, `now` (§8.8.2.2).
pub fn if_range(request: &Request, etag: &EntityTag, last_modified: u64, now: u64) -> bool {
    if request.value(Field::IfRange).is_none() {
        return true;
    }
    let Some(value) = single(request, Field::IfRange) else {
        return false;
    };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return etag.is_strongly(value);
    }
    last_modified < now && date::parse(value) == Some(last_modified)
}

/// Whether a field is `*` or one of its tags, over all lines, is the one.
fn any_tag(request: &Request, field: Field, is_it: impl Fn(&[u8]) -> bool) -> bool {
    single(request, field) == Some(b"*") || request.values(field).flat_map(tags).any(is_it)
}

fn date_of(request: &Request, field: Field) -> Option<u64> {
    single(request, field).and_then(date::parse)
}

/// The value of a field that has one line.
fn single(request: &Request, field: Field) -> Option<&[u8]> {
    let mut values = request.values(field);
    values.next().filter(|_| values.next().is_none())
}
