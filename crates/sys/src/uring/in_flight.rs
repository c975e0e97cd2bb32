//! Operations in flight in a ring, and the features of the kernel on which their entries depend.

use std::mem;

use crate::operation::Operation;

/// The features of this kernel that have not been refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    pub(super) accept_many: bool,
    pub(super) receive_many: bool,
    pub(super) zerocopy: bool,
}

/// An operation in flight, with the memory that the kernel may access.
pub(super) struct InFlight {
    pub(super) tag: u64,
    pub(super) operation: Operation,
    /// The buffer of a receive without a provided one.
    pub(super) own: Vec<u8>,
    /// The completions before it ends.
    pub(super) pending: u8,
    /// The result of the first of two completions.
    pub(super) first: i32,
    /// The result has been delivered; the kernel still refers to the buffer.
    pub(super) delivered: bool,
}

impl Features {
    /// Returns whether a refused operation was a multishot one, and disables these.
    pub(super) fn downgrade(&mut self, operation: &Operation) -> bool {
        match operation {
            Operation::Accept(_) => mem::take(&mut self.accept_many),
            Operation::Receive(_) => mem::take(&mut self.receive_many),
            _ => false,
        }
    }
}
