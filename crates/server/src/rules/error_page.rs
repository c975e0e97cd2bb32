//! Bodies of errors from files of the site: the status stays, and neither conditions nor ranges apply.

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
        let known = PAGES.iter().find(|known| known.code().to_string() == status);
        let status = known.copied().ok_or_else(|| {
            let known: Vec<_> = PAGES.iter().map(|known| known.code().to_string()).collect();
            format!("\"{status}\" has no page: {}", known.join(", "))
        })?;
        let path = path.trim_start_matches('/');
        if path.is_empty() || path.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err("expected the path of a file below the root".to_owned());
        }
        Ok(Self { status, path: path.to_owned() })
    }
}

/// The statuses that may have a page.
const PAGES: &[Status] =
    &[Status::Unauthorized, Status::Forbidden, Status::NotFound, Status::InternalServerError];

/// The bodies of errors.
#[derive(Debug, Default)]
pub(crate) struct ErrorPages(Vec<ErrorPage>);

impl ErrorPages {
    pub(super) fn new(pages: &[ErrorPage]) -> Self {
        Self(pages.to_vec())
    }

    /// Returns the path of the last page for a status.
    pub(super) fn find(&self, status: Status) -> Option<&[u8]> {
        let page = self.0.iter().rev().find(|page| page.status == status)?;
        Some(page.path.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_files_below_the_root() {
        let page: ErrorPage = "404=/errors/404.html".parse().unwrap();
        assert_eq!((page.status, page.path()), (Status::NotFound, "errors/404.html"));
        for text in ["404", "404=", "404=../x", "200=x", "x=y", "404=/"] {
            assert!(text.parse::<ErrorPage>().is_err(), "{text}");
        }
    }
}
