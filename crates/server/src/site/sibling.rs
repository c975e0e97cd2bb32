//! Precompressed siblings: `NAME.zst`, `NAME.br`, `NAME.gz` sent in place of `NAME` to a client
//! that accepts the coding (RFC 9110 §12.5.3). One openat2(2) or cached statx(2) per coding tried.
//!
//! A sibling older than the original is what a forgotten build step leaves behind: not served.
//!
//! What it does badly: that is told by mtime, so a tool that copies the original's time to an
//! outdated sibling deceives it. Each coding without a sibling costs a failed open per request.

use std::sync::Arc;
use std::time::Instant;

use karez_http::encoding::Codings;

use super::Site;
use super::open_file::OpenFile;
use super::resolve::Node;

impl Site {
    /// The best representation of `original` among `codings`, itself if there is no better.
    pub(super) fn choose(
        &self,
        path: &[u8],
        original: Arc<OpenFile>,
        codings: &Codings,
        now: Instant,
    ) -> Arc<OpenFile> {
        if original.edits().is_some() {
            return original; // what is compressed beside it has no stamps
        }
        for coding in codings.iter() {
            let sibling = [path, coding.suffix().as_bytes()].concat();
            // Whatever is wrong with a sibling, the original can be sent.
            if let Ok(Node::File(file)) = self.reach(&sibling, Some(coding), now)
                && !file.identity().is_older_than(original.identity())
            {
                return file;
            }
        }
        original
    }
}
