//! `auto`: chooses a via by size, residency, ends and what was refused before.
//!
//! It is no way to move bytes of its own; the report says which one ran.
//!
//! # SIGPIPE
//! It may choose [`sendfile`](super::sendfile#sigpipe) or [`splice`](super::splice#sigpipe) into a
//! socket, which raise SIGPIPE where the peer has closed the connection.
//!
//! What it does badly: it decides before the first byte, and by what was measured on a few
//! machines. A range that is mostly in memory is taken for one that is, by its first page.

use crate::course::Ends;
use crate::direction::Direction;
use crate::ladder::was_refused;
use crate::report::Calls;
use crate::settings::CachePolicy;
use crate::step::Piece;
use crate::via::Via;

/// Up to this many bytes, if they are in memory, copying them to a socket costs less than passing
/// their pages, or little more. Measured on loopback (`bench/auto.py`) with files that are hot in
/// the caches of the CPU: 1.1 of `sendfile` at 64 KiB, 0.6 at 128 KiB, 1.2 at 192 KiB, 1.4 at 1 MiB.
const COPY_UP_TO: u64 = 160 << 10;

/// What to do, in order of preference.
pub(crate) fn choose(
    direction: Direction,
    piece: Piece<'_>,
    cache: CachePolicy,
    calls: &mut Calls,
) -> Via {
    let preferred: &[Via] = match direction {
        _ if !piece.edits.is_empty() => &[Via::Cow],
        _ if cache == CachePolicy::Uncached => &[Via::Copy],
        _ if cache == CachePolicy::Direct => &[Via::Direct],
        Direction::FileToSocket if piece.len <= COPY_UP_TO => &[Via::Copy],
        Direction::FileToSocket => &[Via::Sendfile],
        Direction::FileToFile => &[Via::Reflink, Via::CopyRange, Via::Sendfile],
        // What is short arrives as it comes: two pipes' descriptors would not be worth it.
        Direction::SocketToFile | Direction::SocketToSocket if piece.len <= COPY_UP_TO => {
            &[Via::Copy]
        }
        // Where an end is a pipe already, none is made.
        Direction::SocketToFile
        | Direction::SocketToSocket
        | Direction::FileToPipe
        | Direction::PipeToFile
        | Direction::PipeToPipe => &[Via::Splice],
    };
    let ends = Ends { from: piece.from.fd, to: piece.to.fd };
    let allowed = |via: &&Via| !was_refused(direction, **via, ends, calls);
    preferred.iter().find(allowed).copied().unwrap_or(Via::Copy)
}

/// What `choose` would choose for a part of a file on its way to a socket, of which so many bytes are
/// in the page cache, if nothing was refused before.
pub(crate) fn intended(len: u64, cached: u64) -> Via {
    if len <= COPY_UP_TO && cached > 0 { Via::Copy } else { Via::Sendfile }
}

/// Where `via` is refused: the next rung that was not refused before.
pub(crate) fn next_rung(direction: Direction, via: Via, ends: Ends<'_>, calls: &mut Calls) -> Via {
    let mut rung = via;
    while let Some(next) = rung.fallback() {
        rung = next;
        if direction.has(rung) && !was_refused(direction, rung, ends, calls) {
            break;
        }
    }
    rung
}
