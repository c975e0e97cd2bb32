//! The address of a client behind proxies, as they report it: `X-Forwarded-For`, `Forwarded` (RFC 7239) and
//! `X-Real-IP`.
//!
//! Each proxy appends the address from which it received the request, so the list is read from its end: the
//! first address that is no trusted proxy is the client. What stands in front of it was sent by the client,
//! and cannot change the result, also not by a quote that it leaves open.
//!
//! The first of the three fields that a request has is read, and no other.
//!
//! # Limitations
//!
//! The proxy has to set the field that is read, or remove it: one that it passes on unchanged is a claim of
//! the client. Where a proxy hides an address (`unknown`, `_name`), the next proxy is taken for the client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::request::Request;

/// Returns the address of the client of a request whose peer is a trusted proxy; `None` if the request does
/// not name it, so that the peer is all that is known.
///
/// ```
/// use karez_http::{Request, Version, forwarded};
/// use std::net::IpAddr;
///
/// let fields = [(&b"x-forwarded-for"[..], &b"203.0.113.9, 198.51.100.7, 192.0.2.1"[..])];
/// let request = Request::assemble(b"GET", b"/", Version::Http11, fields)?;
/// let proxy: IpAddr = "192.0.2.1".parse()?;
/// // The first address is a claim of the client.
/// let client = forwarded::client_address(&request, |address| address == proxy);
/// assert_eq!(client, Some("198.51.100.7".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn client_address(request: &Request, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let values = |name: &str| -> Vec<&[u8]> {
        let is_name = |field: &[u8]| field.eq_ignore_ascii_case(name.as_bytes());
        request.fields().filter(|(field, _)| is_name(field)).map(|(_, value)| value).collect()
    };
    let lists: [(&str, Parse); 3] =
        [("x-forwarded-for", address), ("forwarded", for_parameter), ("x-real-ip", address)];
    let (lines, parse) = lists
        .into_iter()
        .map(|(name, parse)| (values(name), parse))
        .find(|(lines, _)| !lines.is_empty())?;
    let mut nearest = None;
    for element in lines.iter().rev().flat_map(|line| Elements(Some(line))) {
        match parse(element) {
            None => break,
            Some(proxy) if is_trusted(proxy) => nearest = Some(proxy),
            client => return client,
        }
    }
    nearest
}

/// Returns the address in an element of a list.
type Parse = fn(&[u8]) -> Option<IpAddr>;

/// The elements of a list from its end, without white space. A comma in a quoted string separates nothing.
struct Elements<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let list = self.0.take()?;
        let (rest, element) = split_last(list, b',');
        self.0 = rest;
        Some(element.trim_ascii())
    }
}

/// Splits at the last separator that is in no quoted string. Strings are found from their end.
fn split_last(list: &[u8], separator: u8) -> (Option<&[u8]>, &[u8]) {
    let mut end = list.len();
    while let Some((&byte, before)) = list[..end].split_last() {
        end = match byte {
            b'"' => quote(before).unwrap_or(before.len()),
            _ if byte == separator => return (Some(before), &list[end..]),
            _ => before.len(),
        };
    }
    (None, list)
}

/// Returns where the last quoted string begins, whose content ends here.
fn quote(content: &[u8]) -> Option<usize> {
    let mut end = content.len();
    loop {
        let at = memchr::memrchr(b'"', &content[..end])?;
        let escapes = content[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(at);
        }
        end = at;
    }
}

/// Returns the address of the parameter `for` of an element of `Forwarded` (RFC 7239 §5.2).
fn for_parameter(element: &[u8]) -> Option<IpAddr> {
    let (mut rest, mut found) = (Some(element), None);
    while let Some(pairs) = rest {
        let (before, pair) = split_last(pairs, b';');
        rest = before;
        let pair = pair.trim_ascii();
        let value = pair.split_at_checked(4).filter(|(name, _)| name.eq_ignore_ascii_case(b"for="));
        if let Some((_, value)) = value {
            let unquoted = value.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\""));
            let address = address(unquoted.unwrap_or(value))?;
            if found.replace(address).is_some() {
                return None;
            }
        }
    }
    found
}

/// Returns the address of a node: with or without a port, that of IPv6 with or without brackets.
fn address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let address: IpAddr = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.starts_with(':');
        address.parse::<Ipv6Addr>().ok().filter(|_| is_port)?.into()
    } else if let Ok(address) = text.parse() {
        address
    } else {
        text.split_once(':')?.0.parse::<Ipv4Addr>().ok()?.into()
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;
    use proptest::prelude::*;

    fn client(fields: &[(&str, &str)]) -> Option<String> {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let request = Request::assemble(b"GET", b"/", Version::Http11, fields).unwrap();
        client_address(&request, is_trusted).map(|address| address.to_string())
    }

    fn is_trusted(address: IpAddr) -> bool {
        address.to_string().starts_with("10.") || address.to_string().starts_with("fd00:")
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_client() {
        for (value, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("203.0.113.9, 192.0.2.1", Some("192.0.2.1")),
            ("203.0.113.9, 192.0.2.1,10.0.0.1 ,10.0.0.2", Some("192.0.2.1")),
            ("10.0.0.1, 10.0.0.2", Some("10.0.0.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1, unknown", None),
            ("192.0.2.1, unknown, 10.0.0.1", Some("10.0.0.1")),
            ("unknown, 192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1,", None),
            ("", None),
            ("192.0.2.01", None),
            ("[192.0.2.1]", None),
            ("[2001:db8::1]x", None),
            ("\", 192.0.2.1", Some("192.0.2.1")),
        ] {
            assert_eq!(client(&[("X-Forwarded-For", value)]).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn the_parameter_for_is_read() {
        for (value, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", Some("192.0.2.60")),
            ("By=\"a;for=1.2.3.4\";FOR=\"192.0.2.60\"", Some("192.0.2.60")),
            ("for=192.0.2.43, for=\"[2001:db8:cafe::17]:4711\"", Some("2001:db8:cafe::17")),
            ("for=192.0.2.43, for=\"[fd00::1]\"", Some("192.0.2.43")),
            ("for=\"192.0.2.43:_port\"", Some("192.0.2.43")),
            ("for=192.0.2.43, for=_hidden, for=10.0.0.1", Some("10.0.0.1")),
            ("for=192.0.2.43;for=192.0.2.44", None),
            ("for=192.0.2.43, proto=http", None),
            ("for = 192.0.2.43", None),
            // The client has left a quote open, or tries to look like one of its proxy.
            ("for=\"a, for=192.0.2.43", Some("192.0.2.43")),
            ("for=\"a, for=\"[2001:db8::1]\"", Some("2001:db8::1")),
            ("for=\"a\\\", for=\"[2001:db8::1]\"", Some("2001:db8::1")),
            ("for=1.1.1.1;x=\", for=\"192.0.2.43\";y=\"b\"", Some("192.0.2.43")),
        ] {
            assert_eq!(client(&[("Forwarded", value)]).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn the_first_of_three_fields_is_read() {
        let real = ("x-real-ip", "192.0.2.3");
        let forwarded = ("forwarded", "for=192.0.2.2");
        let list = [("x-forwarded-for", "192.0.2.9"), ("X-FORWARDED-FOR", "192.0.2.1, 10.0.0.1")];
        assert_eq!(client(&[real, forwarded, list[0], list[1]]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&[real, forwarded]).as_deref(), Some("192.0.2.2"));
        assert_eq!(client(&[real]).as_deref(), Some("192.0.2.3"));
        assert_eq!(client(&[("x-forwarded-for", "unknown"), real]), None);
        assert_eq!(client(&[("host", "a")]), None);
    }

    proptest! {
        #[test]
        fn a_client_cannot_change_what_its_proxy_appends(
            claim in "[ -~]{0,40}",
            octets in any::<[u8; 4]>(),
            segments in any::<[u16; 8]>(),
        ) {
            for (address, quoted) in [
                (IpAddr::from(octets), format!("{}", Ipv4Addr::from(octets))),
                (IpAddr::from(segments), format!("\"[{}]:80\"", Ipv6Addr::from(segments))),
            ] {
                let address = address.to_canonical();
                prop_assume!(!is_trusted(address));
                let expected = Some(address.to_string());
                let list = format!("{claim}, {address}");
                prop_assert_eq!(client(&[("X-Forwarded-For", &list)]), expected.clone());
                let list = format!("{claim}, for={quoted};proto=https");
                prop_assert_eq!(client(&[("Forwarded", &list)]), expected.clone());
                let list = format!("{claim}, by=\"[::1]\";for={quoted}, for=10.0.0.1");
                prop_assert_eq!(client(&[("Forwarded", &list)]), expected.clone());
                let lines = [("Forwarded", &claim[..]), ("Forwarded", &format!("for={quoted}"))];
                prop_assert_eq!(client(&lines), expected);
            }
        }
    }
}
