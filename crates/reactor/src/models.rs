//! The models: their names, and one file for each.

use std::fmt;

pub(crate) mod blocking;
pub(crate) mod epoll_edge;
pub(crate) mod uring;

/// A way to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// A thread per connection and calls that block.
    Blocking,
    /// epoll(7), edge-triggered.
    EpollEdge,
    /// io_uring(7).
    Uring,
}

impl Model {
    /// Every model, in the order in which help and tests show them.
    pub const ALL: &'static [Self] = &[Self::EpollEdge, Self::Uring, Self::Blocking];

    /// The name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::EpollEdge => "epoll-edge",
            Self::Uring => "uring",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
