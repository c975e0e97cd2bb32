//! A part of a file that is mapped, and moves along: so a file of a terabyte needs no more address
//! space than a small one.

use karez_sys::page_size;
use rustix::fs::fstat;
use rustix::io::{self, Errno};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::report::Calls;

/// How much is mapped at a time.
const SIZE: u64 = 4 << 20;

/// A mapping of type `M`, and which bytes of the file it is of.
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
    /// The mapping that has `offset` in it and how far into it that is; made by `map`, which is
    /// told where and how much, if the present one has not. The one before goes first: it is
    /// given to `done_with`.
    pub(crate) fn over(
        &mut self,
        offset: u64,
        len: u64,
        done_with: impl FnOnce(M),
        map: impl FnOnce(u64, usize) -> io::Result<M>,
    ) -> io::Result<(&M, Range<usize>)> {
        if !self.mapped.as_ref().is_some_and(|(range, _)| range.contains(&offset)) {
            if let Some((_, mapping)) = self.mapped.take() {
                done_with(mapping);
            }
            let start = offset - offset % page_size() as u64;
            let length = (offset - start).saturating_add(len).min(SIZE);
            let mapping = map(start, usize::try_from(length).map_err(|_| Errno::OVERFLOW)?)?;
            self.mapped = Some((start..start + length, mapping));
        }
        let (range, mapping) = self.mapped.as_ref().ok_or(Errno::INVAL)?;
        let within = |at: u64| usize::try_from(at - range.start).map_err(|_| Errno::OVERFLOW);
        Ok((mapping, within(offset)?..within(range.end)?))
    }
}

/// How many bytes `file` has behind `offset`.
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

    /// Who maps nothing, but notes where and how much.
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
            assert_eq!(start + part.start as u64, at, "the offset is where it is said to be");
            assert_eq!(part.end, length);
            at += stride;
            left -= stride;
        }
        mapped
    }

    #[test]
    fn a_terabyte_is_mapped_a_window_at_a_time() {
        let size = usize::try_from(SIZE).unwrap();
        let mapped = walk(5, 1 << 40, &[100, SIZE, 1 << 39, 1]);
        let page = page_size() as u64;
        let far = (SIZE + 105 + (1 << 39)) / page * page;
        assert_eq!(mapped, [(0, size), (SIZE, size), (far, size)]);
    }

    #[test]
    fn no_more_is_mapped_than_is_asked_for() {
        let page = page_size() as u64;
        let start = 10_000 / page * page;
        let length = usize::try_from(10_003 - start).unwrap();
        assert_eq!(walk(10_000, 3, &[1, 1]), [(start, length)]);
        assert_eq!(walk(SIZE - 1, 2, &[1]), [(SIZE - page, page_size() + 1)]);
    }
}
