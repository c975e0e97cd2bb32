//! What happens to the pages of a file when they have been sent, by its path: the first rule that matches
//! counts. It is found when the file is opened, so a request for an open file costs nothing.
//!
//! # Limitations
//!
//! Only pages are dropped that no socket refers to (with a via by reference, until the client has
//! acknowledged them), and that no other program has mapped.

use std::str::FromStr;

use karez_transfer::CachePolicy;

use super::globs::{Globs, PathGlob};

/// A rule for the page cache, such as `/videos/**=drop`, or `drop` for all files without another rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageCacheRule {
    glob: Option<PathGlob>,
    policy: CachePolicy,
}

impl FromStr for PageCacheRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (glob, policy) = match text.rsplit_once('=') {
            Some((glob, policy)) => (Some(PathGlob::new(glob)?), policy),
            None => (None, text),
        };
        let policy = policy.parse::<CachePolicy>().map_err(|error| error.to_string())?;
        Ok(Self { glob, policy })
    }
}

/// The rules of a site.
#[derive(Debug, Default)]
pub(super) struct PageCache {
    globs: Globs,
    policies: Vec<CachePolicy>,
    /// Of files that no glob matches.
    others: CachePolicy,
}

impl PageCache {
    /// # Errors
    /// If the set is too large.
    pub(super) fn new(rules: &[PageCacheRule]) -> Result<Self, String> {
        let with_glob = || rules.iter().filter(|rule| rule.glob.is_some());
        let others = rules.iter().find(|rule| rule.glob.is_none());
        Ok(Self {
            globs: Globs::new(with_glob().filter_map(|rule| rule.glob.as_ref()))?,
            policies: with_glob().map(|rule| rule.policy).collect(),
            others: others.map_or(CachePolicy::Keep, |rule| rule.policy),
        })
    }

    /// Returns the policy of the file at a path below the root.
    pub(super) fn policy(&self, path: &[u8]) -> CachePolicy {
        if self.globs.is_empty() {
            return self.others;
        }
        let first = self.globs.matches(path).first().and_then(|index| self.policies.get(*index));
        first.copied().unwrap_or(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_glob_that_matches_counts() {
        let rules =
            ["sequential", "/videos/**/intro.*=keep", "/videos/**=drop", "*.{iso,img}=direct"];
        let rules = rules.map(|rule| rule.parse().unwrap());
        let cache = PageCache::new(&rules).unwrap();
        for (path, policy) in [
            (&b"videos/a/intro.mp4"[..], CachePolicy::Keep),
            (b"videos/intro.mp4", CachePolicy::Keep),
            (b"videos/a/b\xff.mp4", CachePolicy::Drop),
            (b"videos/debian.iso", CachePolicy::Drop),
            (b"images/debian.iso", CachePolicy::Direct),
            (b"videos", CachePolicy::Sequential),
        ] {
            assert_eq!(cache.policy(path), policy, "{}", path.escape_ascii());
        }
        assert_eq!(PageCache::new(&[]).unwrap().policy(b"a"), CachePolicy::Keep);
    }

    #[test]
    fn rules_are_validated() {
        for text in ["", "always", "*.iso=always", "[=drop", "=drop", "*.iso=", "/a/**"] {
            assert!(text.parse::<PageCacheRule>().is_err(), "{text}");
        }
    }
}
