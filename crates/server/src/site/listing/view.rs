//! Format and order of a listing, and the query string that selects them: `?sort=-size&format=json`.
//!
//! # Limitations
//!
//! The query is not percent-decoded, because no valid value needs it.

/// ListingFormat and order of a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ListingView {
    pub(crate) format: ListingFormat,
    pub(crate) sort: Sort,
    pub(crate) descending: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ListingFormat {
    #[default]
    Html,
    Json,
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
                let ascending = key.strip_prefix(b"-");
                view.sort = Sort::from_key(ascending.unwrap_or(key));
                view.descending = ascending.is_some();
            } else if let Some(format) = pair.strip_prefix(b"format=") {
                view.format =
                    if format == b"json" { ListingFormat::Json } else { ListingFormat::Html };
            }
        }
        view
    }
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
        let view = |format, sort, descending| ListingView { format, sort, descending };
        for (query, expected) in [
            ("", ListingView::default()),
            ("sort=name", ListingView::default()),
            ("sort=-name", view(ListingFormat::Html, Sort::Name, true)),
            ("sort=-size&format=json", view(ListingFormat::Json, Sort::Size, true)),
            ("format=json&sort=time", view(ListingFormat::Json, Sort::Time, false)),
            ("sort=nonesuch", ListingView::default()),
            ("sort", ListingView::default()),
            ("sort=&format=&x=%00", ListingView::default()),
            ("sort=size&sort=time", view(ListingFormat::Html, Sort::Time, false)),
        ] {
            assert_eq!(ListingView::default().changed_by(query.as_bytes()), expected, "{query}");
        }
    }
}
