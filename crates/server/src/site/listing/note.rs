//! Files of a directory that are shown above and below its listing, such as `README.md` or `HEADER.html`.
//!
//! A name that ends with `.html` or `.htm` is inserted as it is, any other is shown as text. The file is opened as
//! any other that is served, so a link out of the root is none.
//!
//! # Limitations
//!
//! Markdown is shown as text. A file of more than 64 KiB is not shown. One that is being written may be shown in part.

use std::io;

use super::super::paths::join;
use super::super::root::Root;
use super::super::small_file;
use super::html;

/// The names of the files that are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListingNotes {
    /// Above the listing: the first that the directory has.
    pub(crate) header: Vec<Vec<u8>>,
    /// Below it.
    pub(crate) footer: Vec<Vec<u8>>,
}

/// Returns the first of these files that a directory has, as HTML; empty if it has none.
pub(super) fn read(root: &Root, directory: &[u8], names: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    for name in names {
        let path = join(directory, name);
        if let Some(content) = small_file::content(root, &path)? {
            return Ok(rendered(name, &content));
        }
    }
    Ok(Vec::new())
}

fn rendered(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 64);
    if name.ends_with(b".html") || name.ends_with(b".htm") {
        out.extend_from_slice(b"<div class=\"note\">\n");
        out.extend_from_slice(content);
        out.extend_from_slice(b"\n</div>\n");
    } else {
        // A line feed behind the tag is not shown.
        out.extend_from_slice(b"<pre class=\"note\">\n");
        html::preformatted(&mut out, content);
        out.extend_from_slice(b"</pre>\n");
    }
    out
}
