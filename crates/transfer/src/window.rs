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
