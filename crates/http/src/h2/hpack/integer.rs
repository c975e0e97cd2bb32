//! Integers with a prefix of some bits (RFC 7541 §5.1).
//!
//! # Limitations
//!
//! An integer has at most four octets behind its prefix, so it is below 2²⁸ + 255: far more than any
//! length, index or table size that a limit of this crate allows. Longer encodings are errors, those
//! padded with zeros included.

use super::error::CompressionError;

/// Takes an integer with a prefix of `bits` (1 to 8) off the front of `block`.
pub(super) fn take(block: &mut &[u8], bits: u32) -> Result<usize, CompressionError> {
    let (&first, mut rest) = block.split_first().ok_or(TRUNCATED)?;
    let prefix = (1_usize << bits) - 1;
    let mut value = usize::from(first) & prefix;
    if value == prefix {
        let mut shift = 0;
        loop {
            let (&octet, behind) = rest.split_first().ok_or(TRUNCATED)?;
            rest = behind;
            value += usize::from(octet & 0x7f) << shift;
            shift += 7;
            if octet & 0x80 == 0 {
                break;
            }
            if shift >= 28 {
                return Err(CompressionError("an integer is too large"));
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// Appends an integer with a prefix of `bits`; `pattern` has the bits in front of the prefix.
pub(super) fn push(out: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let prefix = (1_usize << bits) - 1;
    let low = |value: usize| value.to_le_bytes()[0];
    if value < prefix {
        out.push(pattern | low(value));
        return;
    }
    out.push(pattern | low(prefix));
    let mut rest = value - prefix;
    while rest >= 0x80 {
        out.push(low(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low(rest));
}

const TRUNCATED: CompressionError = CompressionError("the field block ends inside of a field");

#[cfg(test)]
mod tests {
    use super::{push, take};

    #[test]
    fn examples_of_rfc_7541_appendix_c_1() {
        for (value, bits, expected) in
            [(10, 5, &[0b01010][..]), (1337, 5, &[0b11111, 0b1001_1010, 0b1010]), (42, 8, &[42])]
        {
            let mut out = Vec::new();
            push(&mut out, 0, bits, value);
            assert_eq!(out, expected);
            assert_eq!(take(&mut &out[..], bits), Ok(value));
        }
        // The bits in front of the prefix are not part of the integer.
        assert_eq!(take(&mut &[0b1110_1010][..], 5), Ok(10));
    }

    #[test]
    fn every_prefix_round_trips() {
        for bits in 1..=8 {
            for value in (0..1000).chain([16_383, 16_384, 1 << 20, (1 << 28) - 1]) {
                let mut out = Vec::new();
                push(&mut out, 0, bits, value);
                out.push(7);
                let mut rest = &out[..];
                assert_eq!(take(&mut rest, bits), Ok(value));
                assert_eq!(rest, [7]);
            }
        }
    }

    #[test]
    fn truncated_and_oversized_integers_are_errors() {
        for bad in [&[][..], &[0x1f], &[0x1f, 0x80], &[0x1f, 0xff, 0xff, 0xff, 0xff, 0x01]] {
            assert!(take(&mut &bad[..], 5).is_err(), "{bad:?}");
        }
        assert!(
            take(&mut &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x00][..], 5).is_err(),
            "padded by zeros"
        );
    }
}
