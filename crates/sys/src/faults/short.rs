//! Arguments of a call with a smaller length than the caller asked for.

use libc::{iovec, msghdr};
use std::mem;

use super::calls::Length;

/// The size of a page: a read by `O_DIRECT` needs a multiple of it, so lengths that are one stay one.
const PAGE: u64 = 4096;

/// Copies of the structures that shortened arguments point to.
pub(super) struct Shortened {
    pub(super) arguments: [u64; 6],
    vector: iovec,
    message: msghdr,
    /// The message of the caller, which gets the results.
    original: *mut msghdr,
}

impl Shortened {
    pub(super) fn new(arguments: [u64; 6]) -> Self {
        Self {
            arguments,
            vector: iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
            // SAFETY: a structure of numbers and pointers, for which zeros are valid.
            message: unsafe { mem::zeroed() },
            original: std::ptr::null_mut(),
        }
    }

    /// Makes the length smaller, if it can be. `self` must not move until the call has returned.
    pub(super) fn shorten(&mut self, length: Length, random: u64) {
        match length {
            Length::None | Length::Entry => {}
            Length::Argument(at) => self.shorten_argument(at, 1, random),
            Length::AtLeast(at, least) => self.shorten_argument(at, least, random),
            Length::Vector(at) => {
                let count = self.arguments[at + 1];
                if let Some(vector) =
                    first_vector(self.arguments[at] as *const iovec, count, random)
                {
                    self.vector = vector;
                    self.arguments[at] = &raw const self.vector as u64;
                    self.arguments[at + 1] = 1;
                }
            }
            Length::Message(at) => self.shorten_message(at, random),
        }
    }

    fn shorten_argument(&mut self, at: usize, least: u64, random: u64) {
        if let Some(shorter) = shorter(self.arguments[at], least, random) {
            self.arguments[at] = shorter;
        }
    }

    fn shorten_message(&mut self, at: usize, random: u64) {
        let original = self.arguments[at] as *mut msghdr;
        // SAFETY: the caller passes a message to the kernel, which would read it likewise.
        self.message = unsafe { *original };
        let count = self.message.msg_iovlen as u64;
        if let Some(vector) = first_vector(self.message.msg_iov, count, random) {
            self.vector = vector;
            self.message.msg_iov = &raw mut self.vector;
            self.message.msg_iovlen = 1;
            self.original = original;
            self.arguments[at] = &raw mut self.message as u64;
        }
    }

    /// Passes on what the kernel has written to a copied message.
    pub(super) fn finish(&self) {
        // SAFETY: it is null or the message of the call, which the caller lets the kernel write.
        let Some(original) = (unsafe { self.original.as_mut() }) else { return };
        original.msg_namelen = self.message.msg_namelen;
        original.msg_controllen = self.message.msg_controllen;
        original.msg_flags = self.message.msg_flags;
    }
}

/// Returns a part of the first buffer of several.
fn first_vector(vectors: *const iovec, count: u64, random: u64) -> Option<iovec> {
    if count == 0 {
        return None;
    }
    // SAFETY: the caller passes that many to the kernel, which would read them likewise.
    let mut first = unsafe { *vectors };
    match shorter(first.iov_len as u64, 1, random) {
        // Sometimes it is cut between two buffers.
        _ if count > 1 && random & 1 == 0 => {}
        Some(shorter) => first.iov_len = usize::try_from(shorter).ok()?,
        None if count > 1 => {}
        None => return None,
    }
    (first.iov_len > 0).then_some(first)
}

/// Returns a smaller length of at least `least`.
fn shorter(length: u64, least: u64, random: u64) -> Option<u64> {
    if length.is_multiple_of(PAGE) {
        let pages = length / PAGE;
        return (pages > 1).then(|| PAGE * (1 + random % (pages - 1)));
    }
    (length > least).then(|| least + random % (length - least))
}
