//! The memory that stands for bytes of a file between a body and its socket.
//!
//! hyper passes the slices of a body to the socket as they are (`writev`), so the socket recognises a
//! slice by its address. The memory is zero pages that are never written and, unless something between
//! the two reads them, never touched.
//!
//! # Limitations
//!
//! If something reads them, it gets zeros; the [queue](crate::queue) notices that the slices do not
//! arrive and fails the connection before anything made from them is sent.

use bytes::Bytes;
use std::io::IoSlice;

/// The most bytes that one slice stands for: about as many as a step of a transfer moves.
pub(crate) const MAX: usize = 1 << 20;

static PLACEHOLDER: [u8; MAX] = [0; MAX];

/// Returns a slice that stands for this many bytes, at most [`MAX`].
pub(crate) fn standing_for(count: usize) -> Bytes {
    Bytes::from_static(&PLACEHOLDER[..count.min(MAX)])
}

/// Returns whether a slice stands for bytes of a file.
pub(crate) fn is_placeholder(slice: &[u8]) -> bool {
    PLACEHOLDER.as_ptr_range().contains(&slice.as_ptr()) && !slice.is_empty()
}

/// Returns for how many bytes of files the slices stand.
pub(crate) fn total(slices: &[IoSlice<'_>]) -> u64 {
    slices.iter().filter(|slice| is_placeholder(slice)).map(|slice| slice.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_and_its_rest_are_recognised() {
        let (whole, memory) = (standing_for(usize::MAX), [0; 10]);
        assert_eq!(whole.len(), MAX);
        let rest = whole.slice(MAX - 1..);
        assert!(is_placeholder(&whole) && is_placeholder(&rest));
        assert!(!is_placeholder(&memory) && !is_placeholder(&whole.slice(7..7)));
        let slices = [IoSlice::new(&memory), IoSlice::new(&rest), IoSlice::new(&whole)];
        assert_eq!(total(&slices), MAX as u64 + 1);
    }
}
