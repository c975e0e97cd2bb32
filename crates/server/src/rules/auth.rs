//! Passwords by path: `[GLOB=]FILE` names a file of users (htpasswd) that may see the paths of a glob. Of
//! several rules that match a path the last counts; one without a file (`/public/**=`) asks for no password.
//!
//! The path of each lookup is matched, so that of a request, that to which a rule rewrites it, and that of the
//! file with `.html` which answers it; of a directory also that of its index file.
//!
//! # Limitations
//!
//! A file that has another name, by a symbolic or hard link or in another coding (`page.html.gz`), is
//! matched by that name.

pub(crate) mod credentials;
pub(crate) mod password_hash;
mod permits;
pub(crate) mod user_file;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::globs::{Globs, PathGlob};
use user_file::UserFile;

/// A file of users for the paths of a glob, such as `/private/**=/etc/karez/users`. Without a glob: all paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRule {
    glob: PathGlob,
    /// `None`: no password is needed.
    file: Option<PathBuf>,
}

impl AuthRule {
    /// Returns the file of users; `None` for a rule that needs none.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file, and drops what it has.
    ///
    /// # Errors
    /// As read(2); a line that is malformed. The text names file and line.
    pub fn check(&self) -> io::Result<()> {
        self.file().map_or(Ok(()), |file| UserFile::read(file).map(drop))
    }
}

impl FromStr for AuthRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (glob, file) = match text.split_once('=') {
            Some((glob, file)) => (glob, (!file.is_empty()).then(|| file.into())),
            None if text.is_empty() => return Err("expected [GLOB=]FILE".to_owned()),
            None => ("**", Some(text.into())),
        };
        Ok(Self { glob: PathGlob::new(glob)?, file })
    }
}

/// The password rules of a site.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    globs: Globs,
    /// By the index of the glob.
    files: Vec<Option<Arc<UserFile>>>,
}

impl Auth {
    /// Reads the files that rules name.
    ///
    /// # Errors
    /// As [`AuthRule::check`]; if there are too many rules.
    pub(super) fn read(rules: &[AuthRule]) -> io::Result<Self> {
        let globs = Globs::new(rules.iter().map(|rule| &rule.glob));
        let globs = globs.map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
        let mut files: Vec<Option<Arc<UserFile>>> = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            // One file that several rules name remembers passwords for all of them.
            let same = rules[..index].iter().position(|before| before.file == rule.file);
            files.push(match (same.and_then(|same| files.get(same)), rule.file()) {
                (Some(same), _) => same.clone(),
                (None, Some(file)) => Some(Arc::new(UserFile::read(file)?)),
                (None, None) => None,
            });
        }
        Ok(Self { globs, files })
    }

    /// Returns the users that may see a path; `None` if it needs no password.
    pub(super) fn users(&self, path: &[u8]) -> Option<&Arc<UserFile>> {
        let last = self.globs.matches(path).into_iter().next_back()?;
        self.files.get(last)?.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.globs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_counts() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, "").unwrap();
            path.display().to_string()
        };
        let (one, two) = (file("one"), file("two"));
        let rules = [
            one.clone(),
            format!("/private/**={two}"),
            "/public/**=".to_owned(),
            format!("x={one}"),
        ];
        let auth = Auth::read(&rules.map(|rule| rule.parse().unwrap())).unwrap();
        let users = |path: &str| auth.users(path.as_bytes()).map(Arc::as_ptr);
        assert!(users("").is_some() && users("a/b") == users(""));
        assert!(users("private/a").is_some() && users("private/a") != users(""));
        assert_eq!(users("public/a"), None);
        assert_eq!(users("public/x"), users(""));
    }

    #[test]
    fn malformed_rules_are_rejected() {
        for rule in ["", "=users", "[=users"] {
            assert!(rule.parse::<AuthRule>().is_err(), "{rule}");
        }
        assert_eq!("**=".parse::<AuthRule>().unwrap().file(), None);
        let missing: AuthRule = "/nonexistent/users".parse().unwrap();
        assert!(missing.check().is_err() && Auth::read(&[missing]).is_err());
    }
}
