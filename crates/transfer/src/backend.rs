//! The contract that each via implements: one bounded attempt to move bytes, and the state between two
//! attempts.

use std::io;
use std::os::fd::BorrowedFd;

use crate::calls::Calls;
use crate::device::Device;
use crate::page_in::PendingRead;
use crate::report::Report;
use crate::step::{Blocked, Request};

/// The most bytes asked of one call that passes pages: long enough that the cost of the call is
/// negligible, short enough that other connections of the thread do not starve.
pub(crate) const CHUNK: u64 = 1 << 20;

/// A via with the state that it keeps between two steps.
pub(crate) trait Backend {
    /// Moves up to a chunk and returns the bytes that reached the sink; 0 at the end of the source.
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked>;

    /// Returns the most bytes that one system call asks for if the settings have no limit.
    fn chunk(&self) -> u64 {
        CHUNK
    }

    /// Returns whether the next step may block to read a page of the source file.
    fn reads_pages(&self) -> bool {
        true
    }

    /// Returns whether a step [verifies](Request::verify) the source itself, between its read and its write. For
    /// the other backends it is verified before the last step.
    fn verifies(&self) -> bool {
        false
    }

    /// Returns how many bytes have been taken from the source and have not reached the sink.
    fn buffered(&self) -> usize {
        0
    }

    /// Removes the buffered bytes, so that another via can continue with them.
    fn take_buffered(&mut self, _calls: &mut Calls) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Continues with bytes that another via had buffered. Only the last via of each fallback chain
    /// gets any.
    fn put_buffered(&mut self, bytes: Vec<u8>) {
        debug_assert!(bytes.is_empty(), "this via has no buffer for them");
    }

    /// Restricts reads of the source file to bytes in the page cache, or lifts the restriction.
    fn set_nowait(&mut self, _nowait: bool, _device: Device) {}

    /// Checks, after the last byte, whether the socket still refers to memory of the transfer.
    fn poll_release(&mut self, _to: BorrowedFd<'_>, _report: &mut Report) -> Result<(), Blocked> {
        Ok(())
    }

    /// Returns whether the sink cannot refer to user memory of the transfer.
    fn holds_no_user_memory(&self) -> bool {
        true
    }

    /// Returns the read for which the last step would have had to block.
    fn pending_read(&self) -> Option<PendingRead> {
        None
    }
}
