//! Operations that own what the kernel works on until it is done with it.
//!
//! What a completion model is told to do goes in *by value*: descriptors, buffers. It stays with
//! the model as long as the kernel may look at it, whatever the caller forgets meanwhile, and a
//! buffer comes back with the [`Completion`]. That is what makes both io_uring and POSIX AIO safe
//! to call with any arguments.

use rustix::io;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::lookup::{Lookup, Opened};
use crate::provided_buffers::Lent;

/// A descriptor that stays open as long as an operation needs it.
pub type Handle = Arc<dyn AsFd + Send + Sync>;

/// One thing for the kernel to do.
pub enum Operation {
    /// Connections from this socket that listens.
    Accept(Handle),
    /// To say when reading this descriptor would not block.
    Readable(Handle),
    /// To say when writing to this socket would not block.
    Writable(Handle),
    /// Bytes from this socket, as they come.
    Receive(Handle),
    /// At most so many bytes from this socket, once; what does not fit stays in the kernel.
    ReceiveAtMost(Handle, usize),
    /// The bytes behind the first `from` of `bytes` into a socket.
    Send {
        /// Where to.
        socket: Handle,
        /// What.
        bytes: Vec<u8>,
        /// How many of them are not meant.
        from: usize,
        /// More follows at once (`MSG_MORE`).
        more: bool,
        /// The socket may refer to the bytes instead of copying them.
        lend: bool,
    },
    /// Bytes of a file, into `bytes` behind its first `from`.
    Read {
        /// Where from.
        file: Handle,
        /// Where in it.
        offset: u64,
        /// Where to.
        bytes: Vec<u8>,
        /// How many bytes of it stay as they are.
        from: usize,
        /// The file system may never answer: the submission must not try (`IOSQE_ASYNC`), because a
        /// read of a FUSE file blocks there even where it was told not to.
        remote: bool,
    },
    /// The same, and then all of `bytes` into a socket, if none are missing.
    ReadThenSend {
        /// Where from.
        file: Handle,
        /// Where in it.
        offset: u64,
        /// Where to, at last.
        socket: Handle,
        /// What, and where to at first.
        bytes: Vec<u8>,
        /// How many bytes of it stay as they are.
        from: usize,
        /// More follows at once (`MSG_MORE`).
        more: bool,
    },
    /// Pages from a file into a pipe, or from a pipe into a socket: splice(2).
    Splice {
        /// Where from.
        from: Handle,
        /// Where in it; `None` for a pipe.
        offset: Option<u64>,
        /// Where to.
        to: Handle,
        /// At most so many bytes.
        length: u32,
        /// More follows at once.
        more: bool,
    },
    /// To open a name, and to say what it found. Only a ring does.
    LookUp(Box<Lookup>),
}

/// The name of an operation that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) u64);

/// What came of an operation.
#[derive(Debug)]
pub struct Completion {
    /// What the caller called it.
    pub tag: u64,
    /// Which one.
    pub key: Key,
    /// It is over. (One of [`Operation::Accept`] or [`Operation::Receive`] may have more to say.)
    pub last: bool,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// A connection, which blocks.
    Accepted(io::Result<OwnedFd>),
    /// It is readable, or broken.
    Readable,
    /// It is writable, or broken; `ECANCELED` where that was not waited for.
    Writable(io::Result<()>),
    /// Bytes that came; none when there will be no more.
    Received(io::Result<Received>),
    /// How many were sent.
    Sent {
        /// What was sent; empty if the kernel still refers to them.
        bytes: Vec<u8>,
        /// How many of those that were meant.
        sent: io::Result<usize>,
    },
    /// How many were read.
    Read {
        /// What was read, behind what stayed.
        bytes: Vec<u8>,
        /// How many.
        read: io::Result<usize>,
    },
    /// How many were read, and how many were sent.
    ReadThenSent {
        /// What was read, behind what stayed.
        bytes: Vec<u8>,
        /// How many were read.
        read: io::Result<usize>,
        /// How many of all went; `ECANCELED` where too few were read.
        sent: io::Result<usize>,
    },
    /// How many bytes went.
    Spliced(io::Result<usize>),
    /// A name is open; `EINVAL` from a kernel that cannot do it so.
    LookedUp(io::Result<Opened>),
}

/// Bytes from a socket.
pub enum Received {
    /// In a buffer of the ring, which has it again when this is dropped.
    Lent(Lent),
    /// In a buffer of their own.
    Owned(Vec<u8>),
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(lent) => lent,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl DerefMut for Received {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Lent(lent) => lent,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// The count that an operation came to, or its errno, from what the kernel says: `-errno` or more.
pub(crate) fn counted(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Errno::from_raw_os_error(-result))
}
