//! Numbers as decimal digits, without the formatting machinery.

/// Appends `number` in decimal.
pub(crate) fn push(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(digits(number, &mut [0; MAX_DIGITS]));
}

/// Writes the digits of `number` to the end of `place`, and returns them.
pub(crate) fn digits(number: u64, place: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut rest = number;
    let mut first = place.len();
    loop {
        first -= 1;
        place[first] = DIGITS[(rest % 10) as usize];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    &place[first..]
}

/// The digits of the largest number.
pub(crate) const MAX_DIGITS: usize = 20;

/// Reads `1*DIGIT`: `None` if it is anything else or does not fit.
pub(crate) fn parse(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

const DIGITS: &[u8; 10] = b"0123456789";

#[cfg(test)]
mod tests {
    use super::{parse, push};

    #[test]
    fn both_ways() {
        for number in [0, 1, 9, 10, 1234, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            push(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
            assert_eq!(parse(&out), Some(number));
        }
        for bad in ["", "+1", "-1", "1 ", " 1", "0x1", "18446744073709551616", "1,1"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
