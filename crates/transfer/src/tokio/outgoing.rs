//! The bytes that [`send`](super::send) sends: a part of a file, or an outbox.

use std::io;
use std::os::fd::BorrowedFd;

use crate::file_to_socket::FileToSocket;
use crate::outbox::Outbox;
use crate::page_in::PageIn;
use crate::step::Progress;

/// Bytes that are sent step by step: a [`FileToSocket`] or an [`Outbox`]. It is sealed: no other type
/// implements it.
pub trait Outgoing: Steps {}

impl Outgoing for FileToSocket {}
impl Outgoing for Outbox {}

/// The methods that both have in common.
pub trait Steps {
    /// Moves some bytes, at most so many if it is a part of a file.
    fn step_at_most(&mut self, out: BorrowedFd<'_>, at_most: u64) -> io::Result<Progress>;

    /// Returns the page-in for the next step.
    fn next_page_in(&self) -> Option<PageIn>;

    /// Makes later steps block on a page-cache miss.
    fn block_on_misses(&mut self);

    /// Returns whether all bytes have been sent.
    fn is_sent(&self) -> bool;
}

impl Steps for FileToSocket {
    fn step_at_most(&mut self, out: BorrowedFd<'_>, at_most: u64) -> io::Result<Progress> {
        self.step_at_most(out, at_most)
    }

    fn next_page_in(&self) -> Option<PageIn> {
        Some(self.page_in())
    }

    fn block_on_misses(&mut self) {
        self.block_on_misses();
    }

    fn is_sent(&self) -> bool {
        self.remaining() == 0
    }
}

impl Steps for Outbox {
    fn step_at_most(&mut self, out: BorrowedFd<'_>, _at_most: u64) -> io::Result<Progress> {
        self.step(out)
    }

    fn next_page_in(&self) -> Option<PageIn> {
        self.page_in()
    }

    fn block_on_misses(&mut self) {
        self.block_on_misses();
    }

    fn is_sent(&self) -> bool {
        self.queued() == 0
    }
}
