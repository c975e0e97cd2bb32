//! Where a file has data, and where it has holes: `SEEK_HOLE` and `SEEK_DATA` of lseek(2).
//!
//! Linux 3.1; the file system decides how exact it is, and one that keeps no count of holes says
//! that all is data. Cost: one call for a file without holes.
//!
//! What it does badly: it is a walk over a file that may change meanwhile; it moves the position
//! of the descriptor; and space that was allocated and never written to (fallocate(2)) is a hole,
//! so the copy has less space than the original had.

use karez_transfer::Calls;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{self, Errno};
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// The extents of data of a file, in order.
pub(crate) struct Extents<'a> {
    file: BorrowedFd<'a>,
    at: u64,
    size: u64,
}

impl<'a> Extents<'a> {
    /// Those of the first `size` bytes.
    pub(crate) fn of(file: BorrowedFd<'a>, size: u64) -> Self {
        Self { file, at: 0, size }
    }

    /// The next one. What lies between two of them, or behind the last, is a hole.
    pub(crate) fn next(&mut self, calls: &mut Calls) -> io::Result<Option<Range<u64>>> {
        if self.at >= self.size {
            return Ok(None);
        }
        // Most files have no hole, so the end of the data is asked for first.
        let mut end = self.seek(SeekFrom::Hole(self.at), calls)?;
        if end == Some(self.at) {
            match self.seek(SeekFrom::Data(self.at), calls)? {
                Some(start) if start < self.size => self.at = start,
                _ => {
                    self.at = self.size;
                    return Ok(None);
                }
            }
            end = self.seek(SeekFrom::Hole(self.at), calls)?;
        }
        // No end: the file ends before `at`, and whoever reads there will find out.
        let end = end.unwrap_or(self.size).min(self.size);
        let extent = self.at..end;
        self.at = end;
        Ok((!extent.is_empty()).then_some(extent))
    }

    /// `None` where there is nothing of the kind.
    fn seek(&self, to: SeekFrom, calls: &mut Calls) -> io::Result<Option<u64>> {
        calls.lseek += 1;
        match seek(self.file, to) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that does not know: all of it is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::SPIPE) => match to {
                SeekFrom::Data(at) => Ok(Some(at)),
                _ => Ok(Some(self.size)),
            },
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;

    fn extents(file: &std::fs::File, size: u64) -> Vec<Range<u64>> {
        let (mut extents, mut calls) = (Extents::of(file.as_fd(), size), Calls::default());
        std::iter::from_fn(|| extents.next(&mut calls).unwrap()).collect()
    }

    #[test]
    fn a_file_of_data_is_one_extent_and_one_call() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 10_000], 0).unwrap();
        let (mut found, mut calls) = (Extents::of(file.as_fd(), 10_000), Calls::default());
        assert_eq!(found.next(&mut calls), Ok(Some(0..10_000)));
        assert_eq!(found.next(&mut calls), Ok(None));
        assert_eq!(calls.total(), 1);
        let asked = extents(&file, 100);
        assert_eq!((asked.len(), &asked[0]), (1, &(0..100)), "no more than was asked for");
    }

    #[test]
    fn a_file_of_nothing_has_none() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(extents(&file, 0), []);
        file.set_len(1 << 33).unwrap();
        assert_eq!(extents(&file, 1 << 33), []);
    }

    #[test]
    fn one_that_was_cut_off_is_not_waited_for() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        assert_eq!(extents(&file, 1 << 20), [0..4096, 4096..1 << 20]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Whatever a file system calls a hole: extents are in order, apart, and have all data.
        #[test]
        fn every_byte_of_data_is_in_one(
            writes in prop::collection::vec((0_u64..1 << 22, 1_usize..40_000), 0..12),
            size in 0_u64..1 << 23,
        ) {
            let file = tempfile::tempfile().unwrap();
            let mut content = vec![0; usize::try_from(size).unwrap()];
            for (at, length) in writes {
                let bytes = vec![b'x'; length];
                file.write_all_at(&bytes, at).unwrap();
                let at = usize::try_from(at).unwrap();
                for byte in content.iter_mut().skip(at).take(length) {
                    *byte = b'x';
                }
            }
            file.set_len(size).unwrap();
            let mut end = 0;
            for extent in extents(&file, size) {
                prop_assert!(extent.start >= end && extent.end > extent.start);
                let hole = usize::try_from(end).unwrap()..usize::try_from(extent.start).unwrap();
                prop_assert!(content[hole].iter().all(|&byte| byte == 0));
                end = extent.end;
            }
            prop_assert!(end <= size);
            prop_assert!(content[usize::try_from(end).unwrap()..].iter().all(|&byte| byte == 0));
        }
    }
}
