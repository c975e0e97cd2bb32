//! A listing as JSON: an array, one object a line, so that it can be read as it comes.
//! `name` is for reading; `href` is for following and exact also where a name is not UTF-8.
//!
//! What it does badly: `size` is a number and may pass 2^53, where some readers lose digits.

use std::io;

use super::html::href;
use super::run::{Facts, Kind};
use crate::iso;

pub(super) fn head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"[");
}

pub(super) fn row(
    out: &mut Vec<u8>,
    name: &[u8],
    kind: Kind,
    facts: Facts,
    first: bool,
) -> io::Result<()> {
    out.extend_from_slice(if first { b"\n" } else { b",\n" });
    out.extend_from_slice(b"{\"name\":");
    serde_json::to_writer(&mut *out, &String::from_utf8_lossy(name))?;
    let (kind, size) = match kind {
        Kind::Directory => ("directory", "null".to_owned()),
        Kind::File => ("file", facts.size.to_string()),
    };
    let modified = iso::format(facts.seconds);
    let rest = format!(r#","type":"{kind}","size":{size},"modified":"{modified}","href":"#);
    out.extend_from_slice(rest.as_bytes());
    serde_json::to_writer(&mut *out, &String::from_utf8_lossy(&href(name, kind == "directory")))?;
    out.extend_from_slice(b"}");
    Ok(())
}

pub(super) fn foot(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\n]\n");
}
