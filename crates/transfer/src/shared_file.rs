//! The files that a transfer owns or shares, and the ranges of their bytes.

use karez_sys::SharedFd;
use rustix::fs::fstat;
use std::fmt;
use std::fs::File;
use std::ops::{Bound, Range, RangeBounds};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A file that a transfer owns, or shares with other transfers. Converts from a `File`, an `OwnedFd` and
/// an `Arc` of anything with a descriptor. A borrowed file converts after `try_clone`.
///
/// ```
/// use karez_transfer::{FileToSocket, Via};
/// # use std::{io::Write, os::unix::net::UnixStream, sync::Arc};
/// # fn main() -> std::io::Result<()> {
/// # let mut file = tempfile::tempfile()?;
/// # file.write_all(b"water under the desert")?;
/// let first = FileToSocket::new(file.try_clone()?, ..6, Via::Auto);
/// let shared = Arc::new(file);
/// let rest = FileToSocket::new(shared, 6.., Via::Auto);
/// assert_eq!((first.remaining(), rest.remaining()), (6, 16));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedFile(pub(crate) SharedFd);

impl From<SharedFd> for SharedFile {
    fn from(file: SharedFd) -> Self {
        Self(file)
    }
}

impl<F: AsFd + Send + Sync + 'static> From<Arc<F>> for SharedFile {
    fn from(file: Arc<F>) -> Self {
        Self(file)
    }
}

impl From<File> for SharedFile {
    fn from(file: File) -> Self {
        Self(Arc::new(file))
    }
}

impl From<OwnedFd> for SharedFile {
    fn from(file: OwnedFd) -> Self {
        Self(Arc::new(file))
    }
}

impl AsFd for SharedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.0).as_fd()
    }
}

impl fmt::Debug for SharedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedFile").field(&self.as_fd()).finish()
    }
}

/// Returns the offsets of a range. One without an end ends where the file does now (fstat(2)); if that is
/// unknown, at the largest offset, so that the end of the file is reported as truncation.
pub(crate) fn offsets(range: &impl RangeBounds<u64>, file: &SharedFd) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => fstat(&**file)
            .ok()
            .and_then(|stat| u64::try_from(stat.st_size).ok())
            .unwrap_or(u64::MAX),
    };
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_range_has_offsets() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        let file: SharedFd = Arc::new(file);
        assert_eq!(offsets(&(3..7), &file), 3..7);
        assert_eq!(offsets(&(3..=7), &file), 3..8);
        assert_eq!(offsets(&(..7), &file), 0..7);
        assert_eq!(offsets(&.., &file), 0..100);
        assert_eq!(offsets(&(30..), &file), 30..100);
        assert_eq!(offsets(&(3..=u64::MAX), &file), 3..u64::MAX);
        let behind = (Bound::Excluded(9), Bound::Unbounded);
        assert_eq!(offsets(&behind, &file), 10..100);
    }
}
