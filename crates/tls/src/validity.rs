//! When a certificate is valid: RFC 5280 §4.1.2.5, read from its DER.
//!
//! # Limitations
//!
//! Nothing else is checked; webpki has checked the certificate before.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::der::{CertificateFields, take};

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Returns from when until when a certificate is valid, to the second; dates before 1970 are 1970.
/// `None` if it is no certificate.
pub(crate) fn validity(certificate: &[u8]) -> Option<RangeInclusive<SystemTime>> {
    let CertificateFields { validity, .. } = CertificateFields::of(certificate)?;
    let (begin, rest) = time(validity)?;
    let (end, _) = time(rest)?;
    Some(begin..=end)
}

/// Returns the date in front, and the bytes behind it.
fn time(der: &[u8]) -> Option<(SystemTime, &[u8])> {
    let tag = *der.first()?;
    let (text, rest) = take(der, tag)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, text) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: u64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let mut fields = [0_u64; 5];
    for (field, digits) in fields.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *field = u64::from(digits[0] - b'0') * 10 + u64::from(digits[1] - b'0');
    }
    let [month, day, hour, minute, second] = fields;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((UNIX_EPOCH + Duration::from_secs(seconds), rest))
}

/// Returns the days since 1970-01-01 of the proleptic Gregorian calendar; 0 before it.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // The year begins in March, so that the leap day is its last.
    let year = if month <= 2 { year.saturating_sub(1) } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let since_year_0 = 365 * year + year / 4 - year / 100 + year / 400 + of_year;
    since_year_0.saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(time: SystemTime) -> u64 {
        time.duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn dates_are_those_of_a_calendar() {
        let cases: [(u8, &str, u64); 7] = [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "000229235959Z", 951_868_799),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (UTC_TIME, "500101000000Z", 0),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "21000301000000Z", 4_107_542_400),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ];
        for (tag, text, expected) in cases {
            let der =
                [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes(), b"rest"].concat();
            let (found, rest) = time(&der).unwrap();
            assert_eq!((seconds(found), rest), (expected, &b"rest"[..]), "{text}");
        }
        for wrong in ["701301000000Z", "700132000000Z", "7001010000Z", "70010100000+Z", ""] {
            let der = [&[UTC_TIME, u8::try_from(wrong.len()).unwrap()], wrong.as_bytes()].concat();
            assert!(time(&der).is_none(), "{wrong}");
        }
    }

    #[test]
    fn dates_of_a_certificate_are_found() {
        let mut parameters = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2021, 3, 4);
        parameters.not_after = rcgen::date_time_ymd(2055, 5, 6);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let valid = validity(certificate.der()).unwrap();
        assert_eq!(seconds(*valid.start()), 1_614_816_000);
        assert_eq!(seconds(*valid.end()), 2_693_174_400);

        for end in 0..certificate.der().len() {
            // Cut off anywhere it is none, or the same where only the signature is missing.
            assert!(validity(&certificate.der()[..end]).is_none());
        }
    }
}
