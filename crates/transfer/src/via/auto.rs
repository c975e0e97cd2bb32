//! `auto`: chooses a via by size, page-cache residency, ends, known unsupported vias and measured cost.
//!
//! It moves no bytes itself; the report gives the via that ran. From a file to a socket it copies up to
//! 16 KiB, passes pages from 1 MiB on, and learns between the two which method costs less CPU on
//! this machine.
//!
//! # SIGPIPE
//! It may choose [`sendfile`](super::sendfile#sigpipe) or [`splice`](super::splice#sigpipe) into a
//! socket, which raise SIGPIPE if the peer has closed the connection.
//!
//! # Limitations
//! It decides before the first byte. A range counts as resident if its first page is.

use crate::calls::Calls;
use crate::direction::Direction;
use crate::fallback::Ends;
use crate::settings::CachePolicy;
use crate::step::Descriptors;
use crate::via::Via;

pub(crate) mod learned;

use learned::Sample;

/// The longest message between sockets, or from a socket to a file, that is copied: it does not pay for
/// the two descriptors of a pipe.
const COPY_MAX: u64 = 160 << 10;

/// The inputs of the choice.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) direction: Direction,
    pub(crate) len: u64,
    pub(crate) edited: bool,
    pub(crate) cache: CachePolicy,
}

impl Choice {
    /// Returns the first preferred via that is not known to be unsupported, and a sample if its cost is
    /// to be measured.
    pub(crate) fn choose(self, fds: Descriptors<'_>, calls: &mut Calls) -> (Via, Option<Sample>) {
        let direction = self.direction;
        let mut ends = Ends::new(direction, fds);
        let mut supported = |via: Via| !ends.is_known_unsupported(via, calls);
        let fixed = self.preferred();
        if fixed.is_empty() {
            let (via, sample) = learned::choose(self.len);
            return if supported(via) { (via, sample) } else { (Via::Copy, None) };
        }
        (fixed.iter().copied().find(|&via| supported(via)).unwrap_or(Via::Copy), None)
    }

    /// Returns the vias to try, the best first; empty where the measured cost decides.
    fn preferred(self) -> &'static [Via] {
        match self.direction {
            _ if self.edited => &[Via::Cow],
            _ if self.cache == CachePolicy::Uncached => &[Via::Copy],
            _ if self.cache == CachePolicy::Direct => &[Via::Direct],
            Direction::FileToSocket => &[],
            Direction::FileToFile => &[Via::Reflink, Via::CopyRange, Via::Sendfile],
            Direction::SocketToFile | Direction::SocketToSocket if self.len <= COPY_MAX => {
                &[Via::Copy]
            }
            // If an end is a pipe already, none is made.
            Direction::SocketToFile
            | Direction::SocketToSocket
            | Direction::FileToPipe
            | Direction::PipeToFile
            | Direction::PipeToPipe => &[Via::Splice],
        }
    }
}

/// Returns the via that [`Choice::choose`] would choose for a part of a file on its way to a socket, with
/// so many bytes in the page cache and no via known as unsupported.
pub(crate) fn intended(len: u64, cached: u64) -> Via {
    if cached > 0 { learned::next(len) } else { Via::Sendfile }
}

/// Returns the next via of the fallback chain that is not known to be unsupported.
pub(crate) fn next_via(
    direction: Direction,
    via: Via,
    ends: &mut Ends<'_>,
    calls: &mut Calls,
) -> Via {
    let mut current = via;
    while let Some(next) = current.fallback() {
        current = next;
        if direction.has(next) && !ends.is_known_unsupported(next, calls) {
            break;
        }
    }
    current
}
