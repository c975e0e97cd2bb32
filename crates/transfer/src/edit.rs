//! Replacements for parts of a file that is sent or copied with [`Via::Cow`](crate::Via::Cow) or below
//! it.

use std::sync::Arc;

/// Replaces a part of a file in the bytes that leave; the file itself stays unchanged. See
/// [`Via::Cow`](crate::Via::Cow).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The offset in the file at which the replacement begins.
    pub offset: u64,
    /// The replacement, as long as the bytes that it replaces.
    pub bytes: Arc<[u8]>,
}

impl Edit {
    /// Returns the part of this edit within the `len` bytes from `start`: its position relative to
    /// `start`, and its bytes.
    pub(crate) fn within(&self, start: u64, len: usize) -> Option<(usize, &[u8])> {
        let end = start.saturating_add(len as u64);
        let first = self.offset.max(start);
        let last = self.offset.saturating_add(self.bytes.len() as u64).min(end);
        let length = usize::try_from(last.checked_sub(first)?).ok().filter(|&length| length > 0)?;
        let skipped = usize::try_from(first - self.offset).ok()?;
        let at = usize::try_from(first - start).ok()?;
        Some((at, &self.bytes[skipped..skipped + length]))
    }
}

/// Applies the edits, which are sorted by offset, to `bytes`, which lie at `offset` in the file.
pub(crate) fn apply(edits: &[Edit], offset: u64, bytes: &mut [u8]) {
    let first = edits.partition_point(|edit| edit.offset + edit.bytes.len() as u64 <= offset);
    let end = offset + bytes.len() as u64;
    for edit in edits[first..].iter().take_while(|edit| edit.offset < end) {
        let Some((at, new)) = edit.within(offset, bytes.len()) else {
            continue; // an edit without bytes
        };
        bytes[at..at + new.len()].copy_from_slice(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_clipped_to_the_range() {
        let edit = Edit { offset: 10, bytes: Arc::from(&b"abcdef"[..]) };
        assert_eq!(edit.within(0, 20), Some((10, &b"abcdef"[..])));
        assert_eq!(edit.within(12, 2), Some((0, &b"cd"[..])));
        assert_eq!(edit.within(5, 7), Some((5, &b"ab"[..])));
        assert_eq!(edit.within(15, 9), Some((0, &b"f"[..])));
        assert_eq!(edit.within(0, 10), None);
        assert_eq!(edit.within(16, 10), None);
    }
}
