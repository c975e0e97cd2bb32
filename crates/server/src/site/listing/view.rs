//! How a listing is to look: its format and order, and the query string that asks for them,
//! `?sort=-size&format=json`.
//!
//! What it does badly: nothing is percent-decoded, as no value that means anything needs it.

/// Format and order of a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) format: Format,
    pub(crate) sort: Sort,
    pub(crate) descending: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
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

impl View {
    /// What a query string, without its question mark, makes of it. What is not known is passed
    /// over.
    pub(crate) fn changed_by(self, query: &[u8]) -> Self {
        let mut view = self;
        for pair in query.split(|&byte| byte == b'&') {
            if let Some(key) = pair.strip_prefix(b"sort=") {
                let ascending = key.strip_prefix(b"-");
                view.sort = Sort::from_key(ascending.unwrap_or(key));
                view.descending = ascending.is_some();
            } else if let Some(format) = pair.strip_prefix(b"format=") {
                view.format = if format == b"json" { Format::Json } else { Format::Html };
            }
        }
        view
    }
}

impl Sort {
    /// As it is written in a query.
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
        let view = |format, sort, descending| View { format, sort, descending };
        for (query, expected) in [
            ("", View::default()),
            ("sort=name", View::default()),
            ("sort=-name", view(Format::Html, Sort::Name, true)),
            ("sort=-size&format=json", view(Format::Json, Sort::Size, true)),
            ("format=json&sort=time", view(Format::Json, Sort::Time, false)),
            ("sort=nonesuch", View::default()),
            ("sort", View::default()),
            ("sort=&format=&x=%00", View::default()),
            ("sort=size&sort=time", view(Format::Html, Sort::Time, false)),
        ] {
            assert_eq!(View::default().changed_by(query.as_bytes()), expected, "{query}");
        }
    }
}
