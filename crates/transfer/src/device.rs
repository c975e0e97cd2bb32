//! The device of a file, as far as a transfer has to know it.

/// A device (`st_dev` of stat(2)).
///
/// A refusal that holds for a whole file system is remembered by it, so that not every transfer
/// makes the refused call again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Device {
    /// The device number; 0 if it is not known.
    pub number: u64,
}
