//! Conditional requests for a file that exists (RFC 9110 §13).
//!
//! The order of §13.2.2 matters: tags are compared before dates, and a date is ignored if there is a tag
//! field, whether it matched or not. A date field that is repeated or malformed counts as absent.

use crate::date;
use crate::etag::{EntityTag, tags};
use crate::field::Field;
use crate::method::Method;
use crate::request::Request;

/// The result of the preconditions of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// They hold, or there are none.
    Proceed,
    /// 304 (RFC 9110 §15.4.5).
    NotModified,
    /// 412 (RFC 9110 §15.5.13).
    PreconditionFailed,
}

/// The validators of the representation that a request selects (RFC 9110 §8.8).
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// The entity tag; `None` if no tag distinguishes this content from the next.
    pub etag: Option<&'a EntityTag>,
    /// The modification date, in seconds since 1970; `None` if there is no credible one.
    pub modified: Option<u64>,
    /// The latest second in which the content may have changed, not before `modified`;
    /// `u64::MAX` where it may still change without its date.
    pub changed: u64,
    /// How dates are compared.
    pub dates: Dates,
    /// The present second.
    pub now: u64,
}

/// How the date of a condition is compared with the modification date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dates {
    /// `If-Modified-Since` matches only the same date, as a tag would: a date between two versions is no
    /// validator if an older file may replace a newer one (RFC 9110 §13.1.3 mentions such servers).
    #[default]
    Exact,
    /// `If-Modified-Since` matches any date that is not earlier.
    NotLater,
}

impl Validators<'_> {
    /// Returns whether this date identifies this content (RFC 9110 §8.8.2.2).
    fn is_exactly(&self, date: u64) -> bool {
        self.modified == Some(date) && self.is_unchanged_since(date)
    }

    /// Returns whether there is no later change, and none is possible under the same date.
    fn is_unchanged_since(&self, date: u64) -> bool {
        self.changed <= date && is_over(self.changed, self.now)
    }

    /// Returns whether a client with content of this date has this content.
    fn is_known_since(&self, date: u64) -> bool {
        match self.dates {
            Dates::Exact => self.is_exactly(date),
            Dates::NotLater => self.modified.is_some() && self.is_unchanged_since(date),
        }
    }
}

/// Returns whether any later write gets another date than this second: it ended at least a second ago,
/// which allows for coarse clocks.
pub fn is_over(second: u64, now: u64) -> bool {
    second.saturating_add(1) < now
}

/// Evaluates the preconditions of a GET or HEAD (RFC 9110 §13.2.2). For any other method they are
/// ignored (§13.2.1), and so is a date where the representation has none (§13.1.3, §13.1.4).
pub fn evaluate(request: &Request, validators: &Validators<'_>) -> Precondition {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Precondition::Proceed;
    }
    let is_it = |compare: fn(&EntityTag, &[u8]) -> bool| {
        move |tag: &[u8]| validators.etag.is_some_and(|own| compare(own, tag))
    };
    let held = if request.value(Field::IfMatch).is_some() {
        any_tag(request, Field::IfMatch, is_it(EntityTag::strong_eq))
    } else {
        date_of(request, Field::IfUnmodifiedSince)
            .is_none_or(|date| validators.modified.is_none() || validators.is_unchanged_since(date))
    };
    if !held {
        return Precondition::PreconditionFailed;
    }
    let known = if request.value(Field::IfNoneMatch).is_some() {
        any_tag(request, Field::IfNoneMatch, is_it(EntityTag::weak_eq))
    } else {
        date_of(request, Field::IfModifiedSince).is_some_and(|date| validators.is_known_since(date))
    };
    if known { Precondition::NotModified } else { Precondition::Proceed }
}

/// Returns whether a Range may be honoured (RFC 9110 §13.1.5): there is no If-Range, or it holds.
///
/// A client that resumes by If-Unmodified-Since joins two parts as well, so the same rule applies to its
/// date; a Range may always be ignored (§14.2).
pub fn if_range(request: &Request, validators: &Validators<'_>) -> bool {
    if request.value(Field::IfRange).is_none() {
        let alone = request.value(Field::IfMatch).is_none();
        let date = date_of(request, Field::IfUnmodifiedSince).filter(|_| alone);
        return validators.dates == Dates::NotLater
            || date.is_none_or(|date| validators.is_exactly(date));
    }
    let Some(value) = single(request, Field::IfRange) else {
        return false;
    };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return validators.etag.is_some_and(|own| own.strong_eq(value));
    }
    date::parse(value).is_some_and(|date| validators.is_exactly(date))
}

/// Returns whether a field is `*`, or one of its tags over all lines matches.
fn any_tag(request: &Request, field: Field, is_it: impl Fn(&[u8]) -> bool) -> bool {
    single(request, field) == Some(b"*") || request.values(field).flat_map(tags).any(is_it)
}

fn date_of(request: &Request, field: Field) -> Option<u64> {
    single(request, field).and_then(date::parse)
}

/// Returns the value of a field that has exactly one line.
fn single(request: &Request, field: Field) -> Option<&[u8]> {
    let mut values = request.values(field);
    values.next().filter(|_| values.next().is_none())
}
