//! The backend of each via as one value, so that choosing a via allocates no memory.

use std::ops::{Deref, DerefMut};

use crate::backend::Backend;
use crate::direction::Direction;
use crate::via::Via;
use crate::via::copy::Copy;
use crate::via::copy_range::CopyRange;
use crate::via::cow::Cow;
use crate::via::direct::Direct;
use crate::via::mmap::Mmap;
use crate::via::offloaded::OffloadedReads;
use crate::via::reflink::Reflink;
use crate::via::sendfile::Sendfile;
use crate::via::splice::Splice;
use crate::via::splice_pipe::SplicePipe;
use crate::via::zerocopy::Zerocopy;

/// Declares one variant for each backend, and the conversion to the trait.
macro_rules! methods {
    ($($name:ident),+ $(,)?) => {
        #[derive(Debug)]
        pub(crate) enum Method {
            $($name($name),)+
        }

        impl Deref for Method {
            type Target = dyn Backend;

            fn deref(&self) -> &(dyn Backend + 'static) {
                match self {
                    $(Self::$name(backend) => backend,)+
                }
            }
        }

        impl DerefMut for Method {
            fn deref_mut(&mut self) -> &mut (dyn Backend + 'static) {
                match self {
                    $(Self::$name(backend) => backend,)+
                }
            }
        }
    };
}

methods! {
    Copy,
    Sendfile,
    Splice,
    SplicePipe,
    Mmap,
    Direct,
    Zerocopy,
    Cow,
    Reflink,
    CopyRange,
    OffloadedReads,
}

impl Method {
    /// Returns the backend of a via. `auto`, which has none of its own, gets that of `copy`.
    pub(crate) fn of(via: Via, direction: Direction) -> Self {
        match via {
            Via::Splice if direction.has_pipe() => Self::SplicePipe(SplicePipe),
            Via::Copy | Via::Auto => Self::Copy(Copy::default()),
            Via::Sendfile => Self::Sendfile(Sendfile::default()),
            Via::Splice => Self::Splice(Splice::default()),
            Via::Mmap => Self::Mmap(Mmap::default()),
            Via::Direct => Self::Direct(Direct::default()),
            Via::Zerocopy => Self::Zerocopy(Zerocopy::default()),
            Via::Cow => Self::Cow(Cow::default()),
            Via::Reflink => Self::Reflink(Reflink),
            Via::CopyRange => Self::CopyRange(CopyRange),
        }
    }

    /// Returns the backend whose reads are all made by a worker thread.
    pub(crate) fn offloaded() -> Self {
        Self::OffloadedReads(OffloadedReads::default())
    }
}
