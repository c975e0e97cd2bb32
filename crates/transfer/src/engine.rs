//! A via at work, with what it has to remember between two steps.

use rustix::io;

use crate::course::Ends;
use crate::direction::Direction;
use crate::offloaded_read::OffloadedReads;
use crate::report::{Calls, Report};
use crate::step::{Piece, Stop};
use crate::via::copy::Copy;
use crate::via::cow::Cow;
use crate::via::direct::Direct;
use crate::via::mmap::Mmap;
use crate::via::sendfile::Sendfile;
use crate::via::splice::Splice;
use crate::via::zerocopy::Zerocopy;
use crate::via::{Via, copy_range, reflink, splice_pipe};

#[derive(Debug)]
pub(crate) enum Engine {
    Copy(Copy),
    Sendfile(Sendfile),
    Splice(Splice),
    SplicePipe,
    Mmap(Mmap),
    Direct(Direct),
    Zerocopy(Zerocopy),
    Cow(Cow),
    Reflink,
    CopyRange,
    /// No via of its own: `copy` whose reads are made by a worker.
    OffloadedReads(OffloadedReads),
}

impl Engine {
    /// The engine of a via; that of `auto`, which is none of its own, is `copy`'s.
    pub(crate) fn of(via: Via, direction: Direction) -> Self {
        match via {
            Via::Splice if direction.has_pipe() => Self::SplicePipe,
            Via::Copy | Via::Auto => Self::Copy(Copy::default()),
            Via::Sendfile => Self::Sendfile(Sendfile::default()),
            Via::Splice => Self::Splice(Splice::default()),
            Via::Mmap => Self::Mmap(Mmap::default()),
            Via::Direct => Self::Direct(Direct::default()),
            Via::Zerocopy => Self::Zerocopy(Zerocopy::default()),
            Via::Cow => Self::Cow(Cow::default()),
            Via::Reflink => Self::Reflink,
            Via::CopyRange => Self::CopyRange,
        }
    }

    /// Moves up to a chunk; 0 means that the source ends there.
    pub(crate) fn step(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        match self {
            Self::Copy(copy) => copy.step(piece, report),
            Self::Sendfile(sendfile) => sendfile.step(piece, report),
            Self::Splice(splice) => splice.step(piece, report),
            Self::SplicePipe => splice_pipe::step(piece, report),
            Self::Mmap(mmap) => mmap.step(piece, report),
            Self::Direct(direct) => direct.step(piece, report),
            Self::Zerocopy(zerocopy) => zerocopy.step(piece, report),
            Self::Cow(cow) => cow.step(piece, report),
            Self::Reflink => reflink::step(piece, report),
            Self::CopyRange => copy_range::step(piece, report),
            Self::OffloadedReads(reads) => reads.step(piece, &mut report.calls),
        }
    }

    /// Whether its next step may wait for a page of the file it reads.
    pub(crate) fn reads_pages(&self) -> bool {
        match self {
            Self::Sendfile(_)
            | Self::SplicePipe
            | Self::Mmap(_)
            | Self::Zerocopy(_)
            | Self::Cow(_)
            | Self::CopyRange => true,
            Self::Splice(splice) => splice.in_flight() == 0,
            // It asks as it reads, where it can.
            Self::Copy(copy) => copy.cannot_tell,
            // One tells of each read, the other reads nothing.
            Self::Direct(_) | Self::OffloadedReads(_) | Self::Reflink => false,
        }
    }

    /// Bytes taken from the source that have not reached the other end.
    pub(crate) fn in_flight(&self) -> usize {
        match self {
            Self::Copy(copy) => copy.in_flight(),
            Self::Splice(splice) => splice.in_flight(),
            _ => 0,
        }
    }

    /// Takes those bytes out of it, for another via to go on with.
    pub(crate) fn salvage(self, calls: &mut Calls) -> io::Result<Vec<u8>> {
        match self {
            Self::Splice(splice) => splice.salvage(calls),
            _ => Ok(Vec::new()),
        }
    }

    /// After the last byte: whether the other end still refers to memory of ours.
    pub(crate) fn settle(&mut self, ends: Ends<'_>, report: &mut Report) -> Result<(), Stop> {
        match self {
            Self::Zerocopy(zerocopy) => zerocopy.settle(ends.to, report),
            _ => Ok(()),
        }
    }

    /// Whether no other end can refer to memory of ours.
    pub(crate) fn is_free(&self) -> bool {
        !matches!(self, Self::Zerocopy(_))
    }
}
