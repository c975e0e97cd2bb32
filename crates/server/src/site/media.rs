//! The media type of a file by the extension of its name (table of the `mime_guess` crate).
//!
//! `charset=utf-8` is added to text and to JavaScript, whose bytes do not say what they are.
//! It is left out where the bytes do: JSON is UTF-8 and its type has no such parameter (RFC 8259
//! §8.1, §11); XML, SVG among it, carries a byte order mark or an encoding declaration, is UTF-8
//! without them, and would have them overruled by the parameter (RFC 7303 §3).
//!
//! What it does badly: it believes the name. A text in Latin-1 is labelled UTF-8.

use std::borrow::Cow;

/// The value of `Content-Type` for a file of this name.
pub(super) fn content_type(name: &[u8]) -> Cow<'static, str> {
    let known = extension(name).and_then(|e| mime_guess::from_ext(e).first_raw());
    let Some(media_type) = known else {
        return Cow::Borrowed(UNKNOWN);
    };
    match media_type {
        // Spelled out because these are most of what is served, and so need no allocation.
        "text/html" => Cow::Borrowed("text/html; charset=utf-8"),
        "text/css" => Cow::Borrowed("text/css; charset=utf-8"),
        "text/javascript" => Cow::Borrowed("text/javascript; charset=utf-8"),
        "text/plain" => Cow::Borrowed("text/plain; charset=utf-8"),
        "text/xml" => Cow::Borrowed(media_type),
        _ if media_type.starts_with("text/") || media_type == "application/javascript" => {
            Cow::Owned(format!("{media_type}; charset=utf-8"))
        }
        _ => Cow::Borrowed(media_type),
    }
}

fn extension(path: &[u8]) -> Option<&str> {
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    let dot = name.iter().rposition(|&byte| byte == b'.')?;
    // ".profile" is a name, not an extension.
    if dot == 0 {
        return None;
    }
    std::str::from_utf8(name.get(dot + 1..)?).ok()
}

const UNKNOWN: &str = "application/octet-stream";

#[cfg(test)]
mod tests {
    use super::content_type;

    #[test]
    fn types_by_name() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a.b/INDEX.HTM", "text/html; charset=utf-8"),
            ("x.css", "text/css; charset=utf-8"),
            ("x.js", "text/javascript; charset=utf-8"),
            ("x.mjs", "application/javascript; charset=utf-8"),
            ("x.md", "text/markdown; charset=utf-8"),
            ("x.json", "application/json"),
            ("x.svg", "image/svg+xml"),
            ("x.xml", "text/xml"),
            ("x.png", "image/png"),
            ("x.wasm", "application/wasm"),
            ("x.tar.gz", "application/gzip"),
            ("README", "application/octet-stream"),
            ("dir.html/README", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("x.", "application/octet-stream"),
            ("x.nonesuch", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(content_type(b"x.\xff"), "application/octet-stream");
    }
}
