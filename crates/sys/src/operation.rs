//! Operations that own their descriptors and buffers until the kernel has completed them.
//!
//! A completion model takes descriptors and buffers *by value*. It keeps them as long as the kernel may
//! access them, even if the caller forgets the operation, and returns a buffer with the
//! [`Completion`]. That makes both io_uring and POSIX AIO safe to call with any arguments.

use rustix::io;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;

use crate::open_request::{OpenRequest, OpenedFile};
#[cfg(feature = "uring")]
use crate::provided_buffers::ProvidedBuffer;
use crate::shared_fd::SharedFd;

/// An operation for the kernel.
pub enum Operation {
    /// Accepts connections from a listening socket.
    Accept(SharedFd),
    /// Accepts one connection from a listening socket.
    AcceptOne(SharedFd),
    /// Waits until a read of this descriptor would not block.
    Readable(SharedFd),
    /// Waits until a write to this socket would not block.
    Writable(SharedFd),
    /// Receives bytes from this socket.
    Receive(SharedFd),
    /// Receives at most so many bytes from this socket, once; further bytes stay in the kernel.
    ReceiveAtMost(SharedFd, usize),
    /// Sends the bytes behind the first `from` of `bytes` to a socket. A ring sends as many as there is room
    /// for, and completes with `EAGAIN` if there is none; other models may wait.
    Send {
        /// The socket.
        socket: SharedFd,
        /// The buffer.
        bytes: Vec<u8>,
        /// How many bytes at its beginning are not sent.
        from: usize,
        /// More bytes follow at once (`MSG_MORE`).
        more: bool,
        /// The socket may refer to the bytes instead of copying them.
        zerocopy: bool,
    },
    /// Reads bytes of a file into `bytes` behind its first `from`.
    Read {
        /// The file.
        file: SharedFd,
        /// The offset in the file.
        offset: u64,
        /// The buffer.
        bytes: Vec<u8>,
        /// How many bytes at its beginning stay unchanged.
        from: usize,
        /// The file system may never answer: the submission must not try the read (`IOSQE_ASYNC`), because
        /// a non-blocking read of a FUSE file blocks all the same.
        remote: bool,
    },
    /// Reads likewise, and then sends all of `bytes` to a socket if the read was complete.
    ReadThenSend {
        /// The file.
        file: SharedFd,
        /// The offset in the file.
        offset: u64,
        /// The socket.
        socket: SharedFd,
        /// The buffer.
        bytes: Vec<u8>,
        /// How many bytes at its beginning the read leaves unchanged.
        from: usize,
        /// More bytes follow at once (`MSG_MORE`).
        more: bool,
    },
    /// Splices pages from a file into a pipe, or from a pipe into a socket: splice(2).
    Splice {
        /// The source.
        from: SharedFd,
        /// The offset in the source; `None` for a pipe.
        offset: Option<u64>,
        /// The sink.
        to: SharedFd,
        /// The most bytes.
        length: u32,
        /// More bytes follow at once.
        more: bool,
    },
    /// Opens a file and returns its metadata. Only a ring supports it.
    Open(Box<OpenRequest>),
}

/// Identifies an operation that has been started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) u64);

/// A completion of an operation.
#[derive(Debug)]
pub struct Completion {
    /// The tag that the caller gave it.
    pub tag: u64,
    /// The operation.
    pub key: Key,
    /// No further completion follows. ([`Operation::Accept`] and [`Operation::Receive`] may have several.)
    pub last: bool,
    /// Its result.
    pub outcome: Outcome,
}

/// The result of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// A connection, in blocking mode.
    Accepted(io::Result<OwnedFd>),
    /// The descriptor is readable, or has an error.
    Readable,
    /// The socket is writable, or has an error; `ECANCELED` after a cancellation.
    Writable(io::Result<()>),
    /// Received bytes; none at the end of the stream.
    Received(io::Result<Received>),
    /// Bytes have been sent.
    Sent {
        /// The buffer; empty if the kernel still refers to it.
        bytes: Vec<u8>,
        /// How many bytes were sent.
        sent: io::Result<usize>,
    },
    /// Bytes have been read.
    Read {
        /// The buffer.
        bytes: Vec<u8>,
        /// How many bytes were read.
        read: io::Result<usize>,
    },
    /// Bytes have been read, and then sent.
    ReadThenSent {
        /// The buffer.
        bytes: Vec<u8>,
        /// How many bytes were read.
        read: io::Result<usize>,
        /// How many bytes of the whole buffer were sent; `ECANCELED` after an incomplete read.
        sent: io::Result<usize>,
    },
    /// How many bytes were spliced.
    Spliced(io::Result<usize>),
    /// The opened file; `EINVAL` from a kernel without the operation.
    Opened(io::Result<OpenedFile>),
}

/// Bytes from a socket.
pub enum Received {
    /// In a buffer of the ring, which gets it back when this is dropped.
    #[cfg(feature = "uring")]
    Provided(ProvidedBuffer),
    /// In a separate buffer.
    Owned(Vec<u8>),
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            #[cfg(feature = "uring")]
            Self::Provided(buffer) => buffer,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl DerefMut for Received {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            #[cfg(feature = "uring")]
            Self::Provided(buffer) => buffer,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
