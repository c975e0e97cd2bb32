//! Escaping of text from clients, so that it can neither end a line nor the string around it.

use std::io::Write as _;

/// Appends text with quotes, backslashes and all bytes but printable ASCII as `\xHH`, as nginx does.
pub(super) fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' ' | 0x7f..))
    {
        out.extend_from_slice(&rest[..at]);
        push_byte(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// The same for a word without quotes around it: spaces are escaped, too.
pub(super) fn push_word(out: &mut Vec<u8>, text: &[u8]) {
    for part in text.split_inclusive(|&byte| byte == b' ') {
        let word = part.strip_suffix(b" ");
        push_escaped(out, word.unwrap_or(part));
        if word.is_some() {
            push_byte(out, b' ');
        }
    }
}

/// Appends text as a part of a string of JSON (RFC 8259 §7). Bytes that are not UTF-8 become U+FFFD.
pub(super) fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(text)).to_string();
    let content = quoted.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"'));
    for character in content.unwrap_or_default().chars() {
        // Some readers end a line at these, too.
        let _written = match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", u32::from(character))
            }
            _ => write!(out, "{character}"),
        };
    }
}

fn push_byte(out: &mut Vec<u8>, byte: u8) {
    // Writing to memory cannot fail.
    let _written = write!(out, "\\x{byte:02X}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, escaped, word, json) in [
            (&b"plain"[..], "plain", "plain", "plain"),
            (b"a b ", "a b ", r"a\x20b\x20", "a b "),
            (b"\"\\", r"\x22\x5C", r"\x22\x5C", r#"\"\\"#),
            (b"\"", r"\x22", r"\x22", r#"\""#),
            (b"a\r\nb", r"a\x0D\x0Ab", r"a\x0D\x0Ab", r"a\r\nb"),
            (b"\x1b[31m", r"\x1B[31m", r"\x1B[31m", r"\u001b[31m"),
            (b"\xc3\xa9\xff", r"\xC3\xA9\xFF", r"\xC3\xA9\xFF", "\u{e9}\u{fffd}"),
            (b"\xc2\x85\x7f", r"\xC2\x85\x7F", r"\xC2\x85\x7F", r"\u0085\u007f"),
            (b"", "", "", ""),
        ] {
            let written = |push: fn(&mut Vec<u8>, &[u8])| {
                let mut out = Vec::new();
                push(&mut out, text);
                String::from_utf8(out).unwrap()
            };
            assert_eq!(written(push_escaped), escaped);
            assert_eq!(written(push_word), word);
            assert_eq!(written(push_json), json);
        }
    }
}
