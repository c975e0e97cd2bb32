//! The fields of a certificate that rustls and webpki do not show: RFC 5280 §4.1, read from its DER (X.690).
//!
//! # Limitations
//!
//! Only the way to these fields is parsed; webpki has checked the rest of the certificate before.

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The version, where it is not 1.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `keyIdentifier` of an authority key identifier.
const KEY_IDENTIFIER: u8 = 0x80;
/// The object identifier of the authority key identifier, 2.5.29.35.
const AUTHORITY_KEY_IDENTIFIER: [u8; 3] = [0x55, 0x1d, 0x23];

/// Fields of a certificate, each the content of its element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFields<'a> {
    /// The serial number, with a zero in front where its first bit is set.
    pub(crate) serial: &'a [u8],
    /// The two dates.
    pub(crate) validity: &'a [u8],
    /// The identifier of the authority's key, if there is one.
    pub(crate) authority_key: Option<&'a [u8]>,
}

impl<'a> CertificateFields<'a> {
    /// Returns the fields of a certificate; `None` if it is none.
    pub(crate) fn of(certificate: &'a [u8]) -> Option<Self> {
        let (tbs, _) = take(certificate, SEQUENCE)?;
        let (mut fields, _) = take(tbs, SEQUENCE)?;
        if fields.first() == Some(&VERSION) {
            (_, fields) = take(fields, VERSION)?;
        }
        let (serial, mut fields) = take(fields, INTEGER)?;
        // The algorithm of the signature, and the issuer.
        for _ in 0..2 {
            (_, fields) = take(fields, SEQUENCE)?;
        }
        let (validity, fields) = take(fields, SEQUENCE)?;
        Some(Self { serial, validity, authority_key: authority_key(fields) })
    }
}

/// Returns the identifier of the authority's key, from the fields behind the validity.
fn authority_key(fields: &[u8]) -> Option<&[u8]> {
    let mut fields = fields;
    while *fields.first()? != EXTENSIONS {
        (_, fields) = take(fields, *fields.first()?)?;
    }
    let (extensions, _) = take(fields, EXTENSIONS)?;
    let (mut extensions, _) = take(extensions, SEQUENCE)?;
    while !extensions.is_empty() {
        let (extension, rest) = take(extensions, SEQUENCE)?;
        extensions = rest;
        let (identifier, mut value) = take(extension, OBJECT_IDENTIFIER)?;
        if identifier == AUTHORITY_KEY_IDENTIFIER {
            // It may say whether it is critical first.
            if *value.first()? != OCTET_STRING {
                (_, value) = take(value, *value.first()?)?;
            }
            let (value, _) = take(value, OCTET_STRING)?;
            let (value, _) = take(value, SEQUENCE)?;
            return take(value, KEY_IDENTIFIER).map(|(identifier, _)| identifier);
        }
    }
    None
}

/// Returns the content of the element in front, which has this tag, and the bytes behind it.
pub(crate) fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 3))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    (found == tag).then_some((content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, IsCa, Issuer, KeyIdMethod, KeyPair, SerialNumber};

    fn issued(with_key: bool, serial: &[u8]) -> Vec<u8> {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20]);
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let mut parameters = CertificateParams::new(["a.example".to_owned()]).unwrap();
        parameters.use_authority_key_identifier_extension = with_key;
        parameters.serial_number = Some(SerialNumber::from_slice(serial));
        let key = KeyPair::generate().unwrap();
        parameters.signed_by(&key, &issuer).unwrap().der().to_vec()
    }

    #[test]
    fn serial_number_and_authority_are_found() {
        let certificate = issued(true, &[0x87, 1, 2]);
        let fields = CertificateFields::of(&certificate).unwrap();
        // As it is encoded: positive.
        assert_eq!(fields.serial, [0, 0x87, 1, 2]);
        assert_eq!(fields.authority_key, Some(&[7; 20][..]));
        for end in 0..certificate.len() {
            let cut = CertificateFields::of(&certificate[..end]);
            assert_eq!(cut, None, "cut off at {end}");
        }
        let certificate = issued(false, &[5]);
        let fields = CertificateFields::of(&certificate).unwrap();
        assert_eq!((fields.serial, fields.authority_key), (&[5][..], None));
    }
}
