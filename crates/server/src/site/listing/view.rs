//! Format, order and filter of a listing, and the query string that selects them: `?sort=-size&format=json&filter=a`.
//! `?format=tar` asks for an archive.
//!
//! # Limitations
//!
//! Only the filter is decoded, because no other valid value needs it. Beyond ASCII, upper and lower case differ.

/// Format, order and filter of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListingView {
    pub(crate) format: ListingFormat,
    pub(crate) order: ListingOrder,
    /// An archive is asked for, where there are some; `format` is that of the listing elsewhere.
    pub(crate) archive: bool,
    /// The text that the listed names contain, in upper or lower case; empty for all names.
    pub(crate) filter: Box<[u8]>,
}

/// The order of a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ListingOrder {
    pub(crate) sort: Sort,
    pub(crate) descending: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ListingFormat {
    #[default]
    Html,
    Json,
    Text,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Name,
    Size,
    Time,
}

impl ListingView {
    /// Returns the view that a query string, without its question mark, selects. Unknown keys and values
    /// are ignored.
    pub(crate) fn changed_by(self, query: &[u8]) -> Self {
        let mut view = self;
        for pair in query.split(|&byte| byte == b'&') {
            if let Some(key) = pair.strip_prefix(b"sort=") {
                let descending = key.strip_prefix(b"-");
                let sort = Sort::from_key(descending.unwrap_or(key));
                view.order = ListingOrder { sort, descending: descending.is_some() };
            } else if let Some(format) = pair.strip_prefix(b"format=") {
                view.format = ListingFormat::from_key(format);
                view.archive = format == b"tar";
            } else if let Some(filter) = pair.strip_prefix(b"filter=") {
                view.filter = decoded(filter).into_boxed_slice();
            }
        }
        view
    }

    /// Returns whether a name passes the filter.
    pub(super) fn admits(&self, name: &[u8]) -> bool {
        let Some(last) = name.len().checked_sub(self.filter.len()) else { return false };
        let part = |start| &name[start..start + self.filter.len()];
        (0..=last).any(|start| part(start).eq_ignore_ascii_case(&self.filter))
    }
}

impl ListingFormat {
    fn from_key(key: &[u8]) -> Self {
        match key {
            b"json" => Self::Json,
            b"text" => Self::Text,
            _ => Self::Html,
        }
    }
}

impl ListingOrder {
    /// Returns the value of `sort` in a query.
    pub(super) fn key(self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.sort.key())
    }
}

/// Decodes a value of a form (`application/x-www-form-urlencoded`). A percent sign without two digits stays.
fn decoded(value: &[u8]) -> Vec<u8> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut out, mut rest) = (Vec::with_capacity(value.len()), value);
    while let [first, tail @ ..] = rest {
        let pair = tail.first().and_then(digit).zip(tail.get(1).and_then(digit));
        let (byte, used) = match (first, pair) {
            (b'%', Some((high, low))) => (high << 4 | low, 3),
            (b'+', _) => (b' ', 1),
            _ => (*first, 1),
        };
        out.push(byte);
        rest = &rest[used..];
    }
    out
}

impl Sort {
    /// Returns the key in a query.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Time => "time",
        }
    }

    fn from_key(key: &[u8]) -> Self {
        match key {
            b"size" => Self::Size,
            b"time" => Self::Time,
            _ => Self::Name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let view = |format, sort, descending| {
            let order = ListingOrder { sort, descending };
            ListingView { format, order, ..ListingView::default() }
        };
        for (query, expected) in [
            ("", ListingView::default()),
            ("sort=name", ListingView::default()),
            ("sort=-name", view(ListingFormat::Html, Sort::Name, true)),
            ("sort=-size&format=json", view(ListingFormat::Json, Sort::Size, true)),
            ("format=json&sort=time", view(ListingFormat::Json, Sort::Time, false)),
            ("format=text", view(ListingFormat::Text, Sort::Name, false)),
            ("sort=nonesuch", ListingView::default()),
            ("sort", ListingView::default()),
            ("sort=&format=&x=%00", ListingView::default()),
            ("format=tar", ListingView { archive: true, ..ListingView::default() }),
            ("format=tar&format=json", view(ListingFormat::Json, Sort::Name, false)),
            ("sort=size&sort=time", view(ListingFormat::Html, Sort::Time, false)),
        ] {
            assert_eq!(ListingView::default().changed_by(query.as_bytes()), expected, "{query}");
        }
    }

    #[test]
    fn filters() {
        for (query, filter) in [
            ("filter=", &b""[..]),
            ("filter=a+b%2Bc", b"a b+c"),
            ("filter=%c3%A9&sort=size", b"\xc3\xa9"),
            ("filter=100%&x", b"100%"),
            ("filter=%4", b"%4"),
            ("filter=%zz%", b"%zz%"),
        ] {
            assert_eq!(
                ListingView::default().changed_by(query.as_bytes()).filter[..],
                *filter,
                "{query}"
            );
        }
        let admits = |filter: &str, name: &str| {
            let filter = filter.as_bytes().into();
            ListingView { filter, ..ListingView::default() }.admits(name.as_bytes())
        };
        for name in ["", "a", "Karez-1.deb"] {
            assert!(admits("", name));
        }
        for (filter, expected) in [
            ("karez", true),
            (".DEB", true),
            ("z-1", true),
            ("deb.", false),
            ("karez-1.deb.", false),
        ] {
            assert_eq!(admits(filter, "Karez-1.deb"), expected, "{filter}");
        }
    }
}
