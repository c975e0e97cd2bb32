//! Globs on paths, compiled into one set (globset): `*` stands for a part of a name, `**` for any number of
//! names, `?` for a character, `{a,b}` for one of several, `[a-z]` for a character of a set.
//!
//! A glob without a slash matches the last name of a path (`*.css`), any other the path below the root
//! (`/assets/**`). Paths are decoded, and compared as bytes, with upper and lower case.

use globset::{Candidate, Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// A glob on a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathGlob(Glob);

impl PathGlob {
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the glob is empty".to_owned());
        }
        let below_root = match text.strip_prefix('/') {
            Some(path) => path.to_owned(),
            None if text.contains('/') || text == "**" => text.to_owned(),
            None => format!("**/{text}"),
        };
        let mut builder = GlobBuilder::new(&below_root);
        let glob = builder.literal_separator(true).backslash_escape(true).build();
        glob.map(Self).map_err(|error| error.kind().to_string())
    }
}

/// Globs in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globs(GlobSet);

impl Globs {
    /// # Errors
    /// If the set is too large.
    pub(crate) fn new<'a>(globs: impl IntoIterator<Item = &'a PathGlob>) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for PathGlob(glob) in globs {
            set.add(glob.clone());
        }
        set.build().map(Self).map_err(|error| error.to_string())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the indexes of the globs that match a path below the root, in their order.
    pub(crate) fn matches(&self, path: &[u8]) -> Vec<usize> {
        let candidate = Candidate::from_bytes(path);
        let mut matches = Vec::new();
        self.0.matches_candidate_into(&candidate, &mut matches);
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_without_a_slash_matches_the_last_name() {
        for (glob, path, expected) in [
            ("*.css", "a.css", true),
            ("*.css", "x/y/a.css", true),
            ("*.css", "a.css/b", false),
            ("/*.css", "a.css", true),
            ("/*.css", "x/a.css", false),
            ("/assets/**", "assets/x/y", true),
            ("assets/**", "assets/x", true),
            ("/assets/**", "assets", false),
            ("/assets/**", "assets/", true),
            ("/assets/**", "x/assets/y", false),
            ("**", "", true),
            ("**", "a/b", true),
            ("/**", "a/b", true),
            ("/", "", true),
            ("/", "a", false),
            ("/docs/", "docs/", true),
            ("/docs/", "docs", false),
            ("/a/*/c", "a/b/c", true),
            ("/a/*/c", "a/b/b/c", false),
            ("/a/**/c", "a/b/b/c", true),
            ("/a/**/c", "a/c", true),
            ("*.{js,mjs}", "x/a.mjs", true),
            ("file?.txt", "file1.txt", true),
            ("[ab].txt", "b.txt", true),
            ("index.html", "docs/index.html", true),
            ("A.txt", "a.txt", false),
        ] {
            let globs = Globs::new([&PathGlob::new(glob).unwrap()]).unwrap();
            assert_eq!(globs.matches(path.as_bytes()) == [0], expected, "{glob} {path}");
        }
        for glob in ["", "[", "{a", "a[z-a]"] {
            assert!(PathGlob::new(glob).is_err(), "{glob}");
        }
    }

    #[test]
    fn matches_are_in_order() {
        let globs = ["*.html", "/a/**", "**", "b"].map(|glob| PathGlob::new(glob).unwrap());
        let globs = Globs::new(&globs).unwrap();
        assert_eq!(globs.matches(b"a/x.html"), [0, 1, 2]);
        assert_eq!(globs.matches(b"\xff/b"), [2, 3]);
    }
}
