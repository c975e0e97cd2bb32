//! A listing as HTML: one page without external resources, for wide screens and phones, light and dark. Its only
//! script hides rows while the filter is typed; without it the filter is a form. Every name is escaped in text, and percent-encoded behind "./" in a link, so that no name is
//! taken for markup, a scheme or a query.
//!
//! # Limitations
//!
//! A browser has to lay out a table of 100,000 rows. Bytes that are not UTF-8 are shown as U+FFFD; the
//! link is exact.

use karez_http::target::encode_path;

use super::run::{EntryKind, EntryMetadata};
use super::view::{ListingOrder, ListingView, Sort};
use crate::rfc3339;

/// Appends the page up to its first row. `above` is HTML; with `archives` there is a link to the archive.
pub(super) fn head(
    out: &mut Vec<u8>,
    path: &[u8],
    view: &ListingView,
    above: &[u8],
    archives: bool,
) {
    out.extend_from_slice(BEFORE_TITLE.as_bytes());
    out.extend_from_slice(b"<title>Index of /");
    if !path.is_empty() {
        text(out, path);
        out.push(b'/');
    }
    out.extend_from_slice(b"</title>\n<style>");
    out.extend_from_slice(STYLE.as_bytes());
    out.extend_from_slice(b"</style>\n</head>\n<body>\n");
    breadcrumb(out, path);
    out.extend_from_slice(above);
    filter(out, view);
    if archives {
        out.extend_from_slice(ARCHIVE.as_bytes());
    }
    out.extend_from_slice(b"<table>\n<thead><tr>");
    column(out, "Name", Sort::Name, view);
    column(out, "Size", Sort::Size, view);
    column(out, "Modified (UTC)", Sort::Time, view);
    out.extend_from_slice(b"</tr></thead>\n<tbody>\n");
    if !path.is_empty() {
        out.extend_from_slice(PARENT.as_bytes());
    }
}

pub(super) fn row(out: &mut Vec<u8>, name: &[u8], kind: EntryKind, metadata: EntryMetadata) {
    let directory = kind == EntryKind::Directory;
    out.extend_from_slice(b"<tr><td><a href=\"");
    // Percent-encoding keeps "&" and "'", which have to be escaped in an attribute.
    text(out, &href(name, directory));
    out.extend_from_slice(b"\">");
    text(out, name);
    out.extend_from_slice(if directory { b"/</a></td>" } else { b"</a></td>" });
    let size = match kind {
        EntryKind::Directory => "<td></td>".to_owned(),
        EntryKind::File => {
            format!("<td title=\"{} bytes\">{}</td>", metadata.size, human(metadata.size))
        }
    };
    out.extend_from_slice(size.as_bytes());
    let modified = rfc3339::format(metadata.seconds);
    let shown = modified.get(..16).unwrap_or(&modified).replace('T', " ");
    let time = format!("<td><time datetime=\"{modified}\">{shown}</time></td></tr>\n");
    out.extend_from_slice(time.as_bytes());
}

/// Appends the page behind its last row. `below` is HTML.
pub(super) fn foot(out: &mut Vec<u8>, below: &[u8]) {
    out.extend_from_slice(b"</tbody>\n</table>\n");
    out.extend_from_slice(below);
    out.extend_from_slice(SCRIPT.as_bytes());
    out.extend_from_slice(b"</body>\n</html>\n");
}

/// Returns the reference from the directory to an entry.
pub(super) fn href(name: &[u8], directory: bool) -> Vec<u8> {
    let mut out = b"./".to_vec();
    encode_path(name, &mut out);
    if directory {
        out.push(b'/');
    }
    out
}

/// Appends "Index of / a / b /", each name a link to its directory.
fn breadcrumb(out: &mut Vec<u8>, path: &[u8]) {
    let segments: Vec<_> = path.split(|&byte| byte == b'/').filter(|s| !s.is_empty()).collect();
    let up = |levels: usize| {
        if levels == 0 { "./".to_owned() } else { "../".repeat(levels) }
    };
    let root = format!("<h1>Index of <a href=\"{}\">/</a>", up(segments.len()));
    out.extend_from_slice(root.as_bytes());
    for (index, segment) in segments.iter().enumerate() {
        let link = format!(" <a href=\"{}\">", up(segments.len() - index - 1));
        out.extend_from_slice(link.as_bytes());
        text(out, segment);
        out.extend_from_slice(b"</a> /");
    }
    out.extend_from_slice(b"</h1>\n");
}

/// Appends the form that filters by name and keeps the order.
fn filter(out: &mut Vec<u8>, view: &ListingView) {
    out.extend_from_slice(b"<form role=\"search\">");
    if view.order != ListingOrder::default() {
        let sort = view.order.key();
        out.extend_from_slice(
            format!("<input type=\"hidden\" name=\"sort\" value=\"{sort}\">").as_bytes(),
        );
    }
    out.extend_from_slice(FILTER.as_bytes());
    text(out, &view.filter);
    out.extend_from_slice(b"\"></form>\n");
}

/// Appends the part of a query that keeps a filter.
fn filter_query(out: &mut Vec<u8>, filter: &[u8]) {
    if filter.is_empty() {
        return;
    }
    out.extend_from_slice(b"&amp;filter=");
    for byte in filter {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(*byte),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

/// Appends the head of a column: a link that sorts by it, or reverses the order if it is sorted by it.
fn column(out: &mut Vec<u8>, title: &str, sort: Sort, view: &ListingView) {
    let ListingOrder { sort: by, descending } = view.order;
    let current = by == sort;
    let (order, arrow) = match (current, descending) {
        (false, _) => ("", ""),
        (true, false) => (" aria-sort=\"ascending\"", " \u{2191}"),
        (true, true) => (" aria-sort=\"descending\"", " \u{2193}"),
    };
    let key = ListingOrder { sort, descending: current && !descending }.key();
    out.extend_from_slice(format!("<th{order}><a href=\"?sort={key}").as_bytes());
    filter_query(out, &view.filter);
    out.extend_from_slice(format!("\">{title}{arrow}</a></th>").as_bytes());
}

/// Appends text of several lines, escaped for a `<pre>`.
pub(super) fn preformatted(out: &mut Vec<u8>, shown: &[u8]) {
    for line in shown.split_inclusive(|&byte| byte == b'\n') {
        let (line, end) = match line.strip_suffix(b"\n") {
            Some(line) => (line.strip_suffix(b"\r").unwrap_or(line), &b"\n"[..]),
            None => (line, &b""[..]),
        };
        for (number, piece) in line.split(|&byte| byte == b'\t').enumerate() {
            out.extend_from_slice(if number == 0 { b"" } else { b"\t" });
            text(out, piece);
        }
        out.extend_from_slice(end);
    }
}

/// Appends text, escaped for a place between tags or inside quotes.
fn text(out: &mut Vec<u8>, shown: &[u8]) {
    for character in String::from_utf8_lossy(shown).chars() {
        match character {
            '&' => out.extend_from_slice(b"&amp;"),
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '"' => out.extend_from_slice(b"&quot;"),
            '\'' => out.extend_from_slice(b"&#39;"),
            // A control character would be invisible.
            c if c.is_control() => out.extend_from_slice("\u{fffd}".as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Returns a size as 999 B, 1.0 KiB or 12 MiB: at least two digits, rounded down.
fn human(size: u64) -> String {
    let power = size.checked_ilog2().unwrap_or(0) / 10;
    let Some(unit) = power.checked_sub(1) else {
        return format!("{size} B");
    };
    let (whole, tenths) = (size >> (10 * power), (size >> (10 * unit)) % 1024 * 10 / 1024);
    let unit = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].get(unit as usize).unwrap_or(&"");
    if whole < 10 { format!("{whole}.{tenths} {unit}") } else { format!("{whole} {unit}") }
}

const BEFORE_TITLE: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
";

const PARENT: &str = "<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n";

/// Robots do not follow it: an archive of each directory would be the whole site several times.
const ARCHIVE: &str =
    "<p class=\"note\"><a href=\"?format=tar\" rel=\"nofollow\" download>Download as tar</a></p>\n";
const FILTER: &str = "<input type=\"search\" name=\"filter\" placeholder=\"Filter\" aria-label=\"Filter by name\" value=\"";

const SCRIPT: &str = "<script>
const filter = document.querySelector('input[type=search]');
filter.addEventListener('input', () => {
  const wanted = filter.value.toLowerCase();
  for (const row of document.querySelectorAll('tbody tr')) {
    const name = row.cells[0].textContent.toLowerCase();
    row.hidden = name !== '../' && !name.includes(wanted);
  }
});
</script>
";

const STYLE: &str = "
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem;
  background: #fff; color: #1c1e21 }
h1 { font-size: 1.25rem; font-weight: 600; overflow-wrap: anywhere; padding: 0 .5rem }
a { color: #0a58ca; text-decoration: none; unicode-bidi: isolate }
a:hover { text-decoration: underline }
form { padding: 0 .5rem .5rem }
input { font: inherit; box-sizing: border-box; width: 100%; max-width: 20rem; padding: .25rem .5rem;
  color: inherit; background: transparent; border: 1px solid #8888; border-radius: .25rem }
.note { padding: 0 .5rem; overflow-wrap: anywhere }
pre.note { font: .875rem/1.5 ui-monospace, monospace; white-space: pre-wrap }
table { width: 100%; border-collapse: collapse }
th, td { padding: .35rem .5rem; text-align: right; white-space: nowrap; vertical-align: top;
  font-variant-numeric: tabular-nums }
tr { border-bottom: 1px solid #8884 }
tbody tr:hover { background: #8881 }
th { font-weight: 600 }
td { color: #62676d }
th:first-child, td:first-child { width: 100%; text-align: left; white-space: normal;
  overflow-wrap: anywhere }
td a { white-space: pre-wrap }
@media (prefers-color-scheme: dark) {
  body { background: #15181c; color: #e4e6e8 }
  a { color: #8ab4f8 }
  td { color: #9aa0a6 }
}
@media (max-width: 36rem) {
  tr { display: flex; flex-wrap: wrap; padding: .35rem 0 }
  th, td { padding: 0 .5rem }
  td:first-child { flex: 0 0 100%; box-sizing: border-box }
  th:first-child { flex: 1; width: auto }
  td { font-size: .875rem }
  td:first-child { font-size: 1rem }
  td:empty { display: none }
}
tr[hidden] { display: none }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (size, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 * 1024 - 1, "9.9 KiB"),
            (10 * 1024, "10 KiB"),
            ((1 << 20) - 1, "1023 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(human(size), expected);
        }
    }

    #[test]
    fn columns_toggle() {
        let cell = |view: &ListingView| {
            let mut out = Vec::new();
            column(&mut out, "Size", Sort::Size, view);
            String::from_utf8(out).unwrap()
        };
        let order = ListingOrder { sort: Sort::Size, descending: false };
        let view = ListingView { order, ..ListingView::default() };
        assert!(cell(&ListingView::default()).contains("<th><a href=\"?sort=size\">Size</a>"));
        assert!(cell(&view).contains("ascending\"><a href=\"?sort=-size\">Size \u{2191}</a>"));
        let order = ListingOrder { descending: true, ..order };
        let filter = Box::from(*b"a &b");
        let view = ListingView { order, filter, ..view };
        assert!(
            cell(&view).contains(
                "descending\"><a href=\"?sort=size&amp;filter=a%20%26b\">Size \u{2193}</a>"
            )
        );
    }

    #[test]
    fn links_to_parents_are_relative() {
        let crumbs = |path: &[u8]| {
            let mut out = Vec::new();
            breadcrumb(&mut out, path);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(crumbs(b""), "<h1>Index of <a href=\"./\">/</a></h1>\n");
        assert_eq!(
            crumbs(b"a/<b>"),
            "<h1>Index of <a href=\"../../\">/</a> <a href=\"../\">a</a> / \
             <a href=\"./\">&lt;b&gt;</a> /</h1>\n"
        );
    }
}
