//! What was done.

use karez_http::Coding;

use crate::observer::Action;

/// What was done in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The files that were considered.
    pub files: u64,
    /// What was done in each coding.
    pub codings: Vec<CodingSummary>,
    /// The number of errors, each of which was reported.
    pub failures: u64,
    /// It was stopped by the observer.
    pub stopped: bool,
}

/// What was done in one coding, in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodingSummary {
    /// The coding.
    pub coding: Coding,
    /// Compressed files that were written, or would be in a dry run.
    pub written: u64,
    /// Compressed files that are not older than the original.
    pub current: u64,
    /// Files whose compressed content is not 5 % smaller.
    pub not_smaller: u64,
    /// Outdated compressed files that were removed, since a new one would not be smaller.
    pub removed: u64,
    /// The bytes of the originals of the written ones.
    pub bytes_before: u64,
    /// The bytes of the written ones.
    pub bytes_after: u64,
}

impl Summary {
    pub(crate) fn new(codings: &[Coding]) -> Self {
        let codings = codings.iter().map(|&coding| CodingSummary {
            coding,
            written: 0,
            current: 0,
            not_smaller: 0,
            removed: 0,
            bytes_before: 0,
            bytes_after: 0,
        });
        Self { files: 0, codings: codings.collect(), failures: 0, stopped: false }
    }

    /// Returns whether nothing failed and nothing was left.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failures == 0 && !self.stopped
    }

    pub(crate) fn add(&mut self, coding: Coding, length: u64, action: Action) {
        let Some(of) = self.codings.iter_mut().find(|of| of.coding == coding) else { return };
        match action {
            Action::Written { bytes } => {
                of.written += 1;
                of.bytes_before += length;
                of.bytes_after += bytes;
            }
            Action::Current => of.current += 1,
            Action::NotSmaller => of.not_smaller += 1,
            Action::Removed => of.removed += 1,
        }
    }
}
