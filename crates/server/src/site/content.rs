//! The hash of a file's content, and the key of the version that has it. [Content tags](super::content_tags) find it.

use sha2::{Digest as _, Sha256};

/// The SHA-256 hash of a content.
pub(super) type ContentHash = [u8; 32];

/// Identifies a version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct VersionKey(pub(super) [u8; 16]);

/// The hash of a file that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The file gets none.
    Unhashed,
    Known(ContentHash),
    /// It is not known yet.
    Awaited(VersionKey),
}

impl VersionKey {
    /// Returns the key of these attributes.
    pub(super) fn of(attributes: impl IntoIterator<Item = u64>) -> Self {
        let mut hasher = Sha256::new();
        attributes.into_iter().for_each(|number| hasher.update(number.to_le_bytes()));
        let hash: ContentHash = hasher.finalize().into();
        Self(std::array::from_fn(|index| hash[index]))
    }
}

/// Returns the hash of bytes.
pub(super) fn hash_of_bytes(bytes: &[u8]) -> ContentHash {
    Sha256::digest(bytes).into()
}
