//! A listing as text: a line for each entry, with the time of its last modification, its size in bytes and its link, which
//! has no space in it, so that `awk` and `xargs` can take the lines apart.

use super::html::href;
use super::run::{EntryKind, EntryMetadata};
use crate::rfc3339;

pub(super) fn row(out: &mut Vec<u8>, name: &[u8], kind: EntryKind, metadata: EntryMetadata) {
    let directory = kind == EntryKind::Directory;
    let size = if directory { "-".to_owned() } else { metadata.size.to_string() };
    out.extend_from_slice(format!("{} {size:>12} ", rfc3339::format(metadata.seconds)).as_bytes());
    out.extend_from_slice(&href(name, directory));
    out.push(b'\n');
}
