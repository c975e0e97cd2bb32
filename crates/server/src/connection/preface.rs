//! The preface of HTTP/2, with which a client without TLS chooses it (RFC 9113 §3.4).

use std::num::NonZeroU8;

use crate::protocol::h2::PREFACE_LINE;

/// The bytes of the first line.
const LENGTH: u8 = 14;
const _: () = assert!(PREFACE_LINE.len() == LENGTH as usize);

/// The first line of the preface, as far as it has arrived.
#[derive(Clone, Copy)]
pub(super) struct Preface {
    /// How many bytes of it have not arrived; `None`: the connection speaks HTTP/1.1.
    missing: Option<NonZeroU8>,
}

impl Preface {
    /// A client may begin with it.
    pub(super) const EXPECTED: Self = Self { missing: NonZeroU8::new(LENGTH) };
    /// The protocol is known.
    pub(super) const OVER: Self = Self { missing: None };

    /// Takes the next bytes. Returns those of the line that arrived before, if these complete it: an incomplete
    /// line is received as the beginning of a request of HTTP/1.1.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Option<&'static [u8]> {
        let missing = usize::from(self.missing?.get());
        let (before, wanted) = PREFACE_LINE.split_at(PREFACE_LINE.len() - missing);
        let count = wanted.len().min(bytes.len());
        let fits = bytes[..count] == wanted[..count];
        let left = u8::try_from(missing - count).ok().and_then(NonZeroU8::new);
        self.missing = left.filter(|_| fits);
        (fits && left.is_none()).then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_may_arrive_in_pieces() {
        for at in 0..=PREFACE_LINE.len() {
            let mut preface = Preface::EXPECTED;
            let (first, rest) = PREFACE_LINE.split_at(at);
            let before = match preface.receive(first) {
                Some(before) => {
                    assert_eq!((at, before), (PREFACE_LINE.len(), &b""[..]));
                    continue;
                }
                None => preface.receive(&[rest, b"\r\n"].concat()),
            };
            assert_eq!(before, Some(first));
        }
        let mut preface = Preface::EXPECTED;
        assert_eq!(preface.receive(b"PRx"), None);
        assert_eq!(preface.receive(PREFACE_LINE), None, "the connection speaks HTTP/1.1");
        assert_eq!(size_of::<Preface>(), 1);
    }
}
