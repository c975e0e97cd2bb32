//! Bodies of errors from files of the site: the status stays, and neither conditions nor ranges apply.
//!
//! The pages of the errors that a lookup leads to (401, 403, 404, 500) are looked up for each response, as any other
//! file. A response that no lookup precedes, or whose lookup does not end, cannot wait for one: the pages of all other
//! errors are read with the configuration, and kept.
//!
//! # Limitations
//!
//! A page that is kept has at most 64 KiB, and changes with the next reload. A 403 for a user agent has no page. Nor has
//! the 503 of a [health path](crate::HealthPath).

use std::str::FromStr;

use karez_http::Status;

/// A file that is the body of an error, such as `404=404.html`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    status: Status,
    /// Relative to the root.
    path: String,
}

impl ErrorPage {
    /// Returns the path of the file, relative to the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for ErrorPage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (status, path) = text.split_once('=').ok_or("expected STATUS=FILE")?;
        let status = pages().find(|known| known.code().to_string() == status).ok_or_else(|| {
            let known: Vec<_> = pages().map(|known| known.code().to_string()).collect();
            format!("\"{status}\" has no page: {}", known.join(", "))
        })?;
        let path = path.trim_start_matches('/');
        if path.is_empty() || path.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err("expected the path of a file below the root".to_owned());
        }
        Ok(Self { status, path: path.to_owned() })
    }
}

/// Returns the statuses that may have a page: all errors that are sent.
fn pages() -> impl Iterator<Item = Status> {
    let is_sent = |status: &Status| *status != Status::ClientClosedRequest;
    Status::ALL.iter().copied().filter(|status| status.code() >= 400).filter(is_sent)
}

/// The statuses whose pages are looked up.
const LOOKED_UP: &[Status] =
    &[Status::Unauthorized, Status::Forbidden, Status::NotFound, Status::InternalServerError];

/// A page that has been read.
#[derive(Debug)]
pub(crate) struct KeptPage {
    pub(crate) content_type: String,
    pub(crate) content: Vec<u8>,
}

/// The bodies of errors.
#[derive(Debug, Default)]
pub(crate) struct ErrorPages {
    pages: Vec<ErrorPage>,
    kept: Vec<(Status, KeptPage)>,
}

impl ErrorPages {
    pub(super) fn new(pages: &[ErrorPage]) -> Self {
        Self { pages: pages.to_vec(), kept: Vec::new() }
    }

    /// Returns the path of the last page for a status that is looked up.
    pub(super) fn find(&self, status: Status) -> Option<&[u8]> {
        let page = self.pages.iter().rev().find(|page| page.status == status)?;
        LOOKED_UP.contains(&status).then_some(page.path.as_bytes())
    }

    /// Reads the pages that are kept. `read` returns the file at a path, or reports why there is none.
    pub(super) fn keep(&mut self, read: impl Fn(Status, &str) -> Option<KeptPage>) {
        let kept = self.pages.iter().filter(|page| !LOOKED_UP.contains(&page.status));
        let read = |page: &ErrorPage| Some((page.status, read(page.status, &page.path)?));
        self.kept = kept.filter_map(read).collect();
    }

    /// Returns the last page that is kept for a status.
    pub(super) fn kept(&self, status: Status) -> Option<&KeptPage> {
        self.kept.iter().rev().find(|(of, _)| *of == status).map(|(_, page)| page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_files_below_the_root() {
        let page: ErrorPage = "404=/errors/404.html".parse().unwrap();
        assert_eq!((page.status, page.path()), (Status::NotFound, "errors/404.html"));
        for text in ["404", "404=", "404=../x", "200=x", "304=x", "499=x", "x=y", "404=/"] {
            assert!(text.parse::<ErrorPage>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_error_has_a_page_either_looked_up_or_kept() {
        let mut parsed = Vec::new();
        for status in pages() {
            parsed.push(format!("{}=page", status.code()).parse().unwrap());
        }
        let mut all = ErrorPages::new(&parsed);
        all.keep(|status, path| {
            let content = format!("{path} {}", status.code()).into_bytes();
            Some(KeptPage { content_type: "text/plain".to_owned(), content })
        });
        assert_eq!(parsed.len(), 17);
        for status in pages() {
            assert!(all.find(status).is_some() != all.kept(status).is_some(), "{status:?}");
            let expected = format!("page {}", status.code()).into_bytes();
            assert!(all.kept(status).is_none_or(|page| page.content == expected));
        }
    }
}
