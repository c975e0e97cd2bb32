//! A listing as JSON: an array with one object per line, so that it can be read as it arrives.
//! `name` is for display; `href` is the link, which is exact even if a name is not UTF-8.
//!
//! # Limitations
//!
//! `size` is a number and may exceed 2^53, where some readers lose digits.

use std::io;

use super::html::href;
use super::run::{EntryKind, EntryMetadata};
use crate::rfc3339;

pub(super) fn head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"[");
}

pub(super) fn row(
    out: &mut Vec<u8>,
    name: &[u8],
    kind: EntryKind,
    metadata: EntryMetadata,
    first: bool,
) -> io::Result<()> {
    out.extend_from_slice(if first { b"\n" } else { b",\n" });
    out.extend_from_slice(b"{\"name\":");
    serde_json::to_writer(&mut *out, &String::from_utf8_lossy(name))?;
    let (kind, size) = match kind {
        EntryKind::Directory => ("directory", "null".to_owned()),
        EntryKind::File => ("file", metadata.size.to_string()),
    };
    let modified = rfc3339::format(metadata.seconds);
    let rest = format!(r#","type":"{kind}","size":{size},"modified":"{modified}","href":"#);
    out.extend_from_slice(rest.as_bytes());
    serde_json::to_writer(&mut *out, &String::from_utf8_lossy(&href(name, kind == "directory")))?;
    out.extend_from_slice(b"}");
    Ok(())
}

pub(super) fn foot(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\n]\n");
}
