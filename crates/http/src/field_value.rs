//! Field values of responses, which cannot end their line (RFC 9110 §5.5).

use std::borrow::Cow;

/// A field value. No value can end its line: see [`FieldValue::bytes`].
#[derive(Debug)]
pub struct FieldValue(Repr);

#[derive(Debug)]
enum Repr {
    Static(&'static str),
    Number(u64),
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Vec<u8>),
}

impl FieldValue {
    /// Returns the value as text.
    ///
    /// A CR, LF or NUL becomes a space, so that nothing from a file name or a request can add a field
    /// or a second response. Debug builds panic at one: it is a bug in the caller.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Repr::Static(text) => Cow::Borrowed(text.as_bytes()),
            Repr::Number(number) => {
                let mut out = Vec::with_capacity(20);
                crate::decimal::push(*number, &mut out);
                Cow::Owned(out)
            }
            Repr::Short { length, bytes } => Cow::Borrowed(&bytes[..usize::from(*length)]),
            Repr::Long(bytes) => Cow::Borrowed(bytes),
        }
    }

    pub(crate) fn as_number(&self) -> Option<u64> {
        if let Repr::Number(number) = self.0 { Some(number) } else { None }
    }

    /// Appends the value as text.
    pub(crate) fn push_to(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Number(number) => crate::decimal::push(*number, out),
            Repr::Static(text) => out.extend_from_slice(text.as_bytes()),
            Repr::Short { length, bytes } => out.extend_from_slice(&bytes[..usize::from(*length)]),
            Repr::Long(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl From<&'static str> for FieldValue {
    fn from(text: &'static str) -> Self {
        debug_assert!(!breaks_line(text.as_bytes()), "a line break in a field value");
        Self(Repr::Static(text))
    }
}

impl From<u64> for FieldValue {
    fn from(number: u64) -> Self {
        Self(Repr::Number(number))
    }
}

impl From<Vec<u8>> for FieldValue {
    fn from(mut bytes: Vec<u8>) -> Self {
        debug_assert!(!breaks_line(&bytes), "a line break in a field value");
        replace_breaks(&mut bytes);
        Self(Repr::Long(bytes))
    }
}

impl From<&[u8]> for FieldValue {
    fn from(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match (u8::try_from(bytes.len()), short.get_mut(..bytes.len())) {
            (Ok(length), Some(place)) => {
                debug_assert!(!breaks_line(bytes), "a line break in a field value");
                place.copy_from_slice(bytes);
                replace_breaks(place);
                Self(Repr::Short { length, bytes: short })
            }
            _ => bytes.to_vec().into(),
        }
    }
}

impl<const N: usize> From<&[u8; N]> for FieldValue {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

/// Appends a field value that cannot end its line.
pub(crate) fn push_value(value: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(value);
    replace_breaks(&mut out[begin..]);
}

fn replace_breaks(value: &mut [u8]) {
    if breaks_line(value) {
        let breaks = |b: &&mut u8| matches!(**b, b'\r' | b'\n' | 0);
        value.iter_mut().filter(breaks).for_each(|b| *b = b' ');
    }
}

fn breaks_line(value: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, value).is_some()
}

/// The longest value that is copied into the head without an allocation, in bytes.
const SHORT: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_line() {
        let mut out = Vec::new();
        push_value(b"a\r\nSet-Cookie: b\0", &mut out);
        assert_eq!(out, b"a  Set-Cookie: b ");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic = "a line break in a field value"]
    fn debug_builds_panic_at_a_line_break() {
        let _ = FieldValue::from(&b"/\r\nX: y"[..]);
    }

    #[test]
    fn values_of_every_kind_are_returned_as_text() {
        let long = [b'x'; SHORT + 1];
        for (value, expected) in [
            (FieldValue::from("static"), &b"static"[..]),
            (FieldValue::from(42), b"42"),
            (FieldValue::from(&b"short"[..]), b"short"),
            (FieldValue::from(&long), &long),
            (FieldValue::from(long.to_vec()), &long),
        ] {
            assert_eq!(value.bytes(), expected);
            let mut out = Vec::new();
            value.push_to(&mut out);
            assert_eq!(out, expected);
        }
    }
}
