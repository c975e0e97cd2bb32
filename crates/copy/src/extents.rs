//! Finds the data and the holes of a file: `SEEK_HOLE` and `SEEK_DATA` of lseek(2).
//!
//! Linux 3.1. The granularity depends on the file system; one without holes reports that all is
//! data. Cost: one call for a file without holes, none for a small one with blocks for all its bytes.
//!
//! A hole may be punched or filled between two calls. An extent that is empty by the time it is
//! asked for is therefore searched again, and only `ENXIO` of `SEEK_DATA` is the end of the data.
//! Data taken for a hole would be lost; a hole taken for data costs disk space.
//!
//! # Limitations
//!
//! It moves the file position of the descriptor. Data that is written meanwhile into a part already
//! passed is not copied. Preallocated space (fallocate(2)) is a hole, so the copy may use less space
//! than the original.

use karez_transfer::Calls;
use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::{self, Errno};
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// Maximum number of searches for an extent while another process punches holes.
const LOOKS: u32 = 8;

/// The number of bytes that count as data after the last search. To copy a hole as data is correct.
const UNSEEN: u64 = 64 << 10;

/// Returns whether a file is small, and has blocks for all its bytes, so that no hole is searched for. A hole beside
/// preallocated blocks is then copied as data.
pub(crate) fn is_small_and_full(stat: &Stat) -> bool {
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    size <= UNSEEN && blocks.saturating_mul(512) >= size
}

/// The extents of data of a file, in order. `S` makes the system call.
pub(crate) struct Extents<S> {
    seek: S,
    at: u64,
    size: u64,
    /// The file system supports the call: one has succeeded.
    answers: bool,
}

/// Returns the extents of the first `size` bytes of a file.
pub(crate) fn extents(
    file: BorrowedFd<'_>,
    size: u64,
) -> Extents<impl FnMut(SeekFrom) -> io::Result<u64>> {
    Extents { seek: move |to| seek(file, to), at: 0, size, answers: false }
}

impl<S: FnMut(SeekFrom) -> io::Result<u64>> Extents<S> {
    /// Returns the next extent. The bytes between two extents, and after the last, are a hole.
    pub(crate) fn next(&mut self, calls: &mut Calls) -> io::Result<Option<Range<u64>>> {
        for _ in 0..LOOKS {
            if self.at >= self.size {
                return Ok(None);
            }
            // Most files have no hole, so the end of the data is searched first. Without an end the file
            // ends before `at`, which the read there will detect.
            let end = self.seek(SeekFrom::Hole(self.at), calls)?.unwrap_or(self.size);
            if end > self.at {
                return Ok(Some(self.up_to(end)));
            }
            let start = self.seek(SeekFrom::Data(self.at), calls)?.unwrap_or(self.size);
            self.at = start.clamp(self.at, self.size);
        }
        Ok((self.at < self.size).then(|| self.up_to(self.at.saturating_add(UNSEEN))))
    }

    fn up_to(&mut self, end: u64) -> Range<u64> {
        let extent = self.at..end.min(self.size);
        self.at = extent.end;
        extent
    }

    /// Makes the call; returns `None` for `ENXIO`.
    fn seek(&mut self, to: SeekFrom, calls: &mut Calls) -> io::Result<Option<u64>> {
        calls.lseek += 1;
        let answer = (self.seek)(to);
        match answer {
            // Unsupported, which the first call reports: all of the file is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::SPIPE) if !self.answers => {
                Ok(Some(self.size))
            }
            Err(Errno::NXIO) => {
                self.answers = true;
                Ok(None)
            }
            answer => {
                self.answers |= answer.is_ok();
                answer.map(Some)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;

    fn all(file: &std::fs::File, size: u64) -> Vec<Range<u64>> {
        let (mut extents, mut calls) = (extents(file.as_fd(), size), Calls::default());
        std::iter::from_fn(|| extents.next(&mut calls).unwrap()).collect()
    }

    /// Returns the extents of a file of 1000 bytes for these results of lseek(2), each of which has to
    /// be used.
    fn extents_of(answers: &[(SeekFrom, Result<u64, Errno>)]) -> Vec<io::Result<Range<u64>>> {
        let mut answers = answers.iter();
        let seek = |to| {
            let (asked, answer) = answers.next().expect("a call too many");
            assert_eq!(to, *asked);
            *answer
        };
        let (mut extents, mut calls) =
            (Extents { seek, at: 0, size: 1000, answers: false }, Calls::default());
        let mut found = Vec::new();
        while let Some(extent) = extents.next(&mut calls).transpose() {
            found.push(extent.clone());
            if extent.is_err() {
                break;
            }
        }
        assert_eq!(answers.next(), None, "a call too few");
        found
    }

    #[test]
    fn hole_punched_between_two_calls_is_not_the_end() {
        use SeekFrom::{Data, Hole};
        let found = extents_of(&[
            (Hole(0), Ok(0)),
            (Data(0), Ok(100)),
            (Hole(100), Ok(100)), // punched
            (Data(100), Ok(200)),
            (Hole(200), Ok(300)),
            (Hole(300), Ok(300)),
            (Data(300), Ok(300)), // filled
            (Hole(300), Ok(400)),
            (Hole(400), Ok(400)),
            (Data(400), Err(Errno::NXIO)),
        ]);
        assert_eq!(found, [Ok(200..300), Ok(300..400)]);
    }

    #[test]
    fn bytes_are_data_after_the_last_search() {
        use SeekFrom::{Data, Hole};
        let mut answers = [(Hole(0), Ok(0)), (Data(0), Ok(0))].repeat(LOOKS as usize);
        assert_eq!(extents_of(&answers), [Ok(0..1000)]);
        answers.truncate(answers.len() - 1);
        answers.push((Data(0), Err(Errno::NXIO)));
        assert_eq!(extents_of(&answers), []);
    }

    #[test]
    fn errno_after_a_success_is_an_error() {
        use SeekFrom::{Data, Hole};
        for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::SPIPE] {
            assert_eq!(extents_of(&[(Hole(0), Err(errno))]), [Ok(0..1000)], "unsupported");
            assert_eq!(extents_of(&[(Hole(0), Ok(0)), (Data(0), Err(errno))]), [Err(errno)]);
            let answers = [(Hole(0), Ok(10)), (Hole(10), Err(errno))];
            assert_eq!(extents_of(&answers), [Ok(0..10), Err(errno)]);
            let beyond = [(Hole(0), Ok(0)), (Data(0), Ok(5)), (Hole(5), Err(errno))];
            assert_eq!(extents_of(&beyond), [Err(errno)]);
        }
        assert_eq!(extents_of(&[(Hole(0), Err(Errno::IO))]), [Err(Errno::IO)]);
    }

    #[test]
    fn a_file_of_data_is_one_extent_and_one_call() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 10_000], 0).unwrap();
        let (mut found, mut calls) = (extents(file.as_fd(), 10_000), Calls::default());
        assert_eq!(found.next(&mut calls), Ok(Some(0..10_000)));
        assert_eq!(found.next(&mut calls), Ok(None));
        assert_eq!(calls.total(), 1);
        let asked = all(&file, 100);
        assert_eq!((asked.len(), &asked[0]), (1, &(0..100)), "no more than was asked for");
    }

    #[test]
    fn file_without_data_has_no_extents() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(all(&file, 0), []);
        file.set_len(1 << 33).unwrap();
        assert_eq!(all(&file, 1 << 33), []);
    }

    #[test]
    fn truncated_file_ends_the_search() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        assert_eq!(all(&file, 1 << 20), [0..4096, 4096..1 << 20]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Extents are in order, disjoint, and contain all data, for every granularity of holes.
        #[test]
        fn every_byte_of_data_is_in_an_extent(
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
            for extent in all(&file, size) {
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
