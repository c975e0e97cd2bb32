//! Precompressed files: `NAME.zst`, `NAME.br` or `NAME.gz` sent in place of `NAME` to a client that
//! accepts the coding (RFC 9110 §12.5.3). One openat2(2) or cached statx(2) for each coding tried.
//!
//! A compressed file that is older than the original is not served: a build step was forgotten.
//!
//! # Limitations
//!
//! The age is compared by mtime, so a tool that copies the time of the original to an outdated
//! compressed file defeats the check. Each coding without a file costs a failed open per request.

use std::sync::Arc;

use karez_http::encoding::{Coding, Codings};

use super::lookup_error::LookupError;
use super::mime;
use super::open_file::OpenFile;
use super::resolve::Resolved;

/// The representation of a file to be sent.
pub(super) enum Representation {
    Chosen {
        file: Arc<OpenFile>,
        /// The plain file, if `file` is a precompressed one.
        original: Option<Arc<OpenFile>>,
    },
    /// A precompressed file has to be looked up first.
    Undecided(Box<Siblings>),
}

/// The precompressed files beside an original that may still be sent.
pub(super) struct Siblings {
    original: Arc<OpenFile>,
    codings: Codings,
    /// The coding that is looked up now.
    coding: Coding,
    /// The name that is looked up now: the name of the original, which is `stem` bytes long, and the
    /// suffix of the coding.
    path: Vec<u8>,
    stem: usize,
}

impl Siblings {
    /// Returns the precompressed files of the file at `path` among `codings`.
    pub(super) fn of(path: &[u8], original: Arc<OpenFile>, codings: Codings) -> Representation {
        match codings.iter().next() {
            // Substitutions do not apply to a compressed file, and a file that is compressed by
            // definition needs no second coding.
            Some(coding) if original.edits().is_none() && mime::own_coding(path).is_none() => {
                let (stem, path) = (path.len(), [path, coding.suffix().as_bytes()].concat());
                Representation::Undecided(Box::new(Self { original, codings, coding, path, stem }))
            }
            _ => Representation::Chosen { file: original, original: None },
        }
    }

    /// Returns the name that is looked up now, and its coding.
    pub(super) fn current(&self) -> (&[u8], Option<Coding>) {
        (&self.path, Some(self.coding))
    }

    /// Returns the name of the original.
    pub(super) fn plain_path(&self) -> &[u8] {
        &self.path[..self.stem]
    }

    /// Takes the result for that name: it is chosen if it is a file that is not outdated, and otherwise
    /// the next coding is tried.
    pub(super) fn accept_sibling(
        mut self: Box<Self>,
        resolved: Result<Resolved, LookupError>,
    ) -> Representation {
        if let Ok(Resolved::File(file)) = resolved
            && !file.identity().is_older_than(self.original.identity())
        {
            return Representation::Chosen { file, original: Some(self.original) };
        }
        // After any error of a precompressed file, the original can be sent.
        let Some(next) = self.codings.iter().skip_while(|&it| it != self.coding).nth(1) else {
            return Representation::Chosen { file: self.original, original: None };
        };
        self.coding = next;
        self.path.truncate(self.stem);
        self.path.extend_from_slice(next.suffix().as_bytes());
        Representation::Undecided(self)
    }
}
