//! Which windows are small, and whether they are used: see [`small_windows`](super::small_windows).

/// DATA frames and window updates below this, where more is to be sent, are counted as control frames.
pub(super) const SMALL: u32 = 256;

/// The use of small windows while the rest of a window is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SmallWindows {
    /// They are not used.
    #[default]
    Avoided,
    /// The next one is used.
    Due,
    /// One has been used, and the client has not opened a window since.
    Used,
    /// All are used.
    Permitted,
}

impl SmallWindows {
    /// Notes that a frame has been sent which is as small as its window.
    pub(super) fn sent(&mut self) {
        if *self == Self::Due {
            *self = Self::Used;
        }
    }

    /// Notes that the client has opened a window whose initial size is `initial`.
    pub(super) fn opened(&mut self, increment: u32, initial: u32) {
        if *self == Self::Used {
            let waits_itself = increment >= (initial / 2).max(1);
            *self = if waits_itself { Self::Permitted } else { Self::Avoided };
        }
    }
}
