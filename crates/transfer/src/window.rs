//! A mapped window that moves along a file, so a file of a terabyte needs no more address space than a
//! small one.

use karez_sys::page_size;
use rustix::fs::fstat;
use rustix::io::{self, Errno};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::calls::Calls;

/// The size of a window in bytes.
const SIZE: u64 = 4 << 20;

/// A mapping of type `M`, and its range of the file.
#[derive(Debug)]
pub(crate) struct Window<M> {
    mapped: Option<(Range<u64>, M)>,
}

impl<M> Default for Window<M> {
    fn default() -> Self {
        Self { mapped: None }
    }
}

impl<M> Window<M> {
    /// Returns the mapping that contains `offset`, and the range within it from there on. If the current
    /// mapping does not contain it, passes that to `done_with` and has `map` make a new one from an
    /// offset and a length.
    pub(crate) fn over(
        &mut self,
        offset: u64,
        len: u64,
        done_with: impl FnOnce(M),
        map: impl FnOnce(u64, usize) -> io::Result<M>,
    ) -> io::Result<(&M, Range<usize>)> {
        let mapped = match self.mapped.take() {
            Some((range, mapping)) if range.contains(&offset) => (range, mapping),
            other => {
                if let Some((_, mapping)) = other {
                    done_with(mapping);
                }
                let start = offset - offset % page_size() as u64;
                let length = (offset - start).saturating_add(len).min(SIZE);
                let mapping = map(start, usize::try_from(length).map_err(|_| Errno::OVERFLOW)?)?;
                (start..start + length, mapping)
            }
        };
        let (range, mapping) = self.mapped.insert(mapped);
        let within = |at: u64| usize::try_from(at - range.start).map_err(|_| Errno::OVERFLOW);
        Ok((mapping, within(offset)?..within(range.end)?))
    }
}

/// Returns how many bytes `file` has behind `offset`.
pub(crate) fn bytes_behind(
    file: BorrowedFd<'_>,
    offset: u64,
    calls: &mut Calls,
) -> io::Result<u64> {
    calls.fstat += 1;
    let size = u64::try_from(fstat(file)?.st_size).map_err(|_| Errno::OVERFLOW)?;
    Ok(size.saturating_sub(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records the mappings instead of making them.
    fn walk(start: u64, len: u64, strides: &[u64]) -> Vec<(u64, usize)> {
        let (mut window, mut at, mut left) = (Window::<()>::default(), start, len);
        let mut mapped = Vec::new();
        for &stride in strides {
            let note = |start, length| {
                mapped.push((start, length));
                Ok(())
            };
            let (_, part) = window.over(at, left, drop, note).unwrap();
            let (start, length) = *mapped.last().unwrap();
            assert_eq!(start + part.start as u64, at, "the range begins at the offset");
            assert_eq!(part.end, length);
            at += stride;
            left -= stride;
        }
        mapped
    }

    #[test]
    fn a_terabyte_is_mapped_one_window_at_a_time() {
        let size = usize::try_from(SIZE).unwrap();
        let mapped = walk(5, 1 << 40, &[100, SIZE, 1 << 39, 1]);
        let page = page_size() as u64;
        let far = (SIZE + 105 + (1 << 39)) / page * page;
        assert_eq!(mapped, [(0, size), (SIZE, size), (far, size)]);
    }

    #[test]
    fn a_mapping_is_no_longer_than_requested() {
        let page = page_size() as u64;
        let start = 10_000 / page * page;
        let length = usize::try_from(10_003 - start).unwrap();
        assert_eq!(walk(10_000, 3, &[1, 1]), [(start, length)]);
        assert_eq!(walk(SIZE - 1, 2, &[1]), [(SIZE - page, page_size() + 1)]);
    }
}
