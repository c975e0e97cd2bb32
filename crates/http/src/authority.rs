//! The grammar of `Host` and of the authority of an absolute target (RFC 3986 §3.2, RFC 9110 §7.2).
//!
//! Stricter than the RFC's reg-name, because the text appears in logs and redirects: no comma, no user
//! information, and percent signs only before two hexadecimal digits.

/// Returns whether `text` is `uri-host [ ":" port ]` with a host that is not empty.
pub(crate) fn is_valid(text: &[u8]) -> bool {
    let (host, rest) = match text.split_first() {
        Some((b'[', inner)) => {
            let Some(end) = inner.iter().position(|b| *b == b']') else {
                return false;
            };
            let (address, rest) = inner.split_at(end);
            if !address.iter().all(is_ip_literal) {
                return false;
            }
            (address, rest.get(1..).unwrap_or_default())
        }
        _ => {
            let end = text.iter().position(|b| *b == b':').unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            if !is_name(name) {
                return false;
            }
            (name, rest)
        }
    };
    !host.is_empty() && is_port(rest)
}

fn is_ip_literal(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'-' | b'_' | b'~')
}

/// Returns whether this is a reg-name: its escapes are checked, the rest is a set of bytes.
fn is_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => {
                let digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
                digit(bytes.next()) && digit(bytes.next())
            }
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+'
            | b';' | b'=' => true,
            other => other.is_ascii_alphanumeric(),
        };
        if !fine {
            return false;
        }
    }
    true
}

fn is_port(rest: &[u8]) -> bool {
    match rest.split_first() {
        None => true,
        Some((b':', port)) => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn valid_hosts() {
        for good in [
            "a",
            "a.example",
            "a.example:8080",
            "a:",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:443",
            "a_b",
            "xn--bcher-kva.example",
            "a%20b",
        ] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn invalid_hosts() {
        for bad in [
            "",
            ":80",
            "a b",
            "a/b",
            "u@a",
            "a,b",
            "a:b",
            "a:123456",
            "[::1",
            "[]",
            "[::1]x",
            "a%2",
            "a%zz",
            "a\"",
            "a<b",
            "b\u{fc}cher",
            "a?b",
            "a#b",
            "a\\b",
            "::1",
            "[::1]:x",
            "a\0",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
