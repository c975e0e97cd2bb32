//! Precompressed siblings: `NAME.zst`, `NAME.br`, `NAME.gz` sent in place of `NAME` to a client
//! that accepts the coding (RFC 9110 §12.5.3). One openat2(2) or cached statx(2) per coding tried.
//!
//! A sibling older than the original is what a forgotten build step leaves behind: not served.
//!
//! What it does badly: that is told by mtime, so a tool that copies the original's time to an
//! outdated sibling deceives it. Each coding without a sibling costs a failed open per request.

use std::sync::Arc;

use karez_http::encoding::{Coding, Codings};

use super::media;
use super::open_file::OpenFile;
use super::resolve::{Node, Refusal};

/// Which representation of a file is to be sent.
pub(super) enum Choice {
    Made(Arc<OpenFile>),
    /// A sibling has to be looked at.
    Between(Box<Siblings>),
}

/// The siblings of a file that have not been ruled out.
pub(super) struct Siblings {
    original: Arc<OpenFile>,
    codings: Codings,
    /// Of the first of them.
    coding: Coding,
    /// Its name: the original's, which is so long, and its suffix.
    path: Vec<u8>,
    stem: usize,
}

impl Siblings {
    /// Those of the file at `path` among `codings`.
    pub(super) fn of(path: &[u8], original: Arc<OpenFile>, codings: Codings) -> Choice {
        match codings.iter().next() {
            // What is compressed beside a stamped one has no stamps, and a file that is compressed by
            // definition needs no second coding.
            Some(coding) if original.edits().is_none() && media::own_coding(path).is_none() => {
                let (stem, path) = (path.len(), [path, coding.suffix().as_bytes()].concat());
                Choice::Between(Box::new(Self { original, codings, coding, path, stem }))
            }
            _ => Choice::Made(original),
        }
    }

    /// The name that is looked at now, and its coding.
    pub(super) fn current(&self) -> (&[u8], Option<Coding>) {
        (&self.path, Some(self.coding))
    }

    /// Takes what that name is.
    pub(super) fn judge(mut self: Box<Self>, node: Result<Node, Refusal>) -> Choice {
        if let Ok(Node::File(file)) = node
            && !file.identity().is_older_than(self.original.identity())
        {
            return Choice::Made(file);
        }
        // Whatever is wrong with a sibling, the original can be sent.
        let Some(next) = self.codings.iter().skip_while(|&it| it != self.coding).nth(1) else {
            return Choice::Made(self.original);
        };
        self.coding = next;
        self.path.truncate(self.stem);
        self.path.extend_from_slice(next.suffix().as_bytes());
        Choice::Between(self)
    }
}
