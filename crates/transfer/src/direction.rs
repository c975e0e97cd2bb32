//! The directions, and the vias of each.

use std::fmt;

use crate::via::Via;

/// The kinds of the two ends of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// A part of a file is sent to a socket.
    FileToSocket,
    /// The bytes that a socket receives are written to a file.
    SocketToFile,
    /// The bytes that a socket receives are sent to another socket.
    SocketToSocket,
    /// A part of a file is copied to another file.
    FileToFile,
    /// A part of a file is written to a pipe, or to another stream.
    FileToPipe,
    /// The content of a pipe, or of another stream, is written to a file.
    PipeToFile,
    /// The content of a pipe, or of another stream, is written to another.
    PipeToPipe,
}

impl Direction {
    /// Every direction.
    pub const ALL: &'static [Self] = &[
        Self::FileToSocket,
        Self::SocketToFile,
        Self::SocketToSocket,
        Self::FileToFile,
        Self::FileToPipe,
        Self::PipeToFile,
        Self::PipeToPipe,
    ];

    /// Returns the vias of this direction, in the order of the help texts.
    #[must_use]
    pub const fn vias(self) -> &'static [Via] {
        match self {
            Self::FileToSocket => &[
                Via::Auto,
                Via::Sendfile,
                Via::Splice,
                Via::Zerocopy,
                Via::Mmap,
                Via::Cow,
                Via::Direct,
                Via::Copy,
            ],
            Self::SocketToFile | Self::SocketToSocket | Self::PipeToFile | Self::PipeToPipe => {
                &[Via::Auto, Via::Splice, Via::Copy]
            }
            Self::FileToPipe => &[Via::Auto, Via::Splice, Via::Sendfile, Via::Copy],
            Self::FileToFile => &[
                Via::Auto,
                Via::Reflink,
                Via::CopyRange,
                Via::Sendfile,
                Via::Splice,
                Via::Mmap,
                Via::Cow,
                Via::Direct,
                Via::Copy,
            ],
        }
    }

    /// Returns whether this direction has the via.
    #[must_use]
    pub fn has(self, via: Via) -> bool {
        self.vias().contains(&via)
    }

    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FileToSocket => "file-to-socket",
            Self::SocketToFile => "socket-to-file",
            Self::SocketToSocket => "socket-to-socket",
            Self::FileToFile => "file-to-file",
            Self::FileToPipe => "file-to-pipe",
            Self::PipeToFile => "pipe-to-file",
            Self::PipeToPipe => "pipe-to-pipe",
        }
    }

    /// Returns whether the ends without an offset are pipes and not sockets.
    pub(crate) const fn has_pipe(self) -> bool {
        matches!(self, Self::FileToPipe | Self::PipeToFile | Self::PipeToPipe)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
