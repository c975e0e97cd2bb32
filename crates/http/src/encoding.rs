//! Content codings that a client accepts (RFC 9110 §12.5.3).
//!
//! A coding is accepted if its weight is not zero and not less than that of the plain content. A malformed
//! member of the list is ignored, not the whole list.

use crate::field::Field;
use crate::request::Request;

/// A content coding that files may be stored in (RFC 9110 §8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Every coding, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Returns the name in Content-Encoding.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// Returns the suffix of a file in this coding that lies beside the plain file: that of the tools zstd,
    /// brotli and gzip.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }
}

/// The codings that a client accepts, the best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codings {
    best_first: [Option<Coding>; 3],
}

impl Codings {
    /// Iterates over them, the best first.
    pub fn iter(&self) -> impl Iterator<Item = Coding> {
        self.best_first.into_iter().flatten()
    }

    /// Returns whether there are none: send the plain content.
    pub fn is_empty(&self) -> bool {
        self.best_first[0].is_none()
    }
}

/// Returns the codings that `request` accepts (RFC 9110 §12.5.3): none without Accept-Encoding.
pub fn preferred(request: &Request) -> Codings {
    if request.value(Field::AcceptEncoding).is_none() {
        return Codings::default();
    }
    let mut weights = Weights::default();
    for value in request.values(Field::AcceptEncoding) {
        value.split(|b| *b == b',').for_each(|item| weights.take(item));
    }
    weights.ranked()
}

/// Weights in thousandths; `None` if the list does not mention the coding.
#[derive(Default)]
struct Weights {
    codings: [Option<u16>; 3],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Weights {
    fn take(&mut self, item: &[u8]) {
        let end = memchr::memchr(b';', item).unwrap_or(item.len());
        let (name, parameter) = item.split_at(end);
        let weight = match parameter.strip_prefix(b";") {
            Some(text) => parse_weight(text),
            None => Some(1000),
        };
        let Some(weight) = weight else { return };
        let place = match name.trim_ascii() {
            b"*" => &mut self.any,
            name if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
            name if name.eq_ignore_ascii_case(b"x-gzip") => &mut self.codings[2],
            name => {
                let is_it = |c: &Coding| name.eq_ignore_ascii_case(c.token().as_bytes());
                let Some(found) = Coding::ALL.iter().position(is_it) else {
                    return;
                };
                &mut self.codings[found]
            }
        };
        *place = Some(weight);
    }

    fn ranked(&self) -> Codings {
        // The plain content is always acceptable, but least, unless the list gives it a weight.
        let least = self.identity.or(self.any).unwrap_or(0).max(1);
        let mut found = [None; 3];
        for (place, coding) in Coding::ALL.into_iter().enumerate() {
            let weight = self.codings[place].or(self.any).unwrap_or(0);
            found[place] = (weight >= least).then_some((weight, coding));
        }
        // Stable: equal weights stay in the order of preference, and absent ones come last.
        found.sort_by_key(|entry| std::cmp::Reverse(entry.map_or(0, |(weight, _)| weight)));
        Codings { best_first: found.map(|entry| entry.map(|(_, coding)| coding)) }
    }
}

/// Reads a weight in thousandths: `"q=" qvalue` (RFC 9110 §12.4.2).
pub fn parse_weight(text: &[u8]) -> Option<u16> {
    let (name, value) = text.trim_ascii().split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, fraction) = match value {
        [whole] | [whole, b'.'] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = [100, 10, 1].iter().zip(fraction).map(|(unit, d)| unit * u16::from(d - b'0'));
    match (whole, thousandths.sum()) {
        (b'0', sum) => Some(sum),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}
