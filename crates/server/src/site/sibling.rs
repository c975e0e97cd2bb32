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
use super::resolve::{Node, Refusal};
use super::root::Effort;

impl Site {
    /// The best representation of `original` among `codings`, itself if there is no better. Fails
    /// only with [`Refusal::WouldWait`].
    pub(super) fn choose(
        &self,
        path: &[u8],
        original: Arc<OpenFile>,
        codings: &Codings,
        effort: Effort,
        now: Instant,
    ) -> Result<Arc<OpenFile>, Refusal> {
        if original.edits().is_some() {
            return Ok(original); // what is compressed beside it has no stamps
        }
        for coding in codings.iter() {
            let sibling = [path, coding.suffix().as_bytes()].concat();
            match self.reach(&sibling, Some(coding), effort, now) {
                Ok(Node::File(file)) if !file.identity().is_older_than(original.identity()) => {
                    return Ok(file);
                }
                Err(Refusal::WouldWait) => return Err(Refusal::WouldWait),
                // Whatever is wrong with a sibling, the original can be sent.
                _ => {}
            }
        }
        Ok(original)
    }
}
