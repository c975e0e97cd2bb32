//! Splices on a completion model: from a file into a pipe, and from the pipe to the socket.
//!
//! # Limitations
//!
//! A thread of the kernel makes a call that blocks, so each splice to the socket is limited in time, and
//! a slow reader costs a wait for room besides.

use karez_sys::{Operation, SharedFd};
use rustix::io::{self, Errno};
use std::sync::Arc;

use super::pipes::Pipe;
use super::send::{SendContext, Sender};
use super::stage::{InFlight, Stage};
use crate::driver::{Driver, DriverSocket as _};
use crate::task::SendError;

/// The most bytes of one splice: as many as fit into a pipe.
const MOST_SPLICED: u64 = 1 << 20;

impl Sender {
    /// Starts a splice from the file in front of the outbox into a pipe.
    ///
    /// # Errors
    /// As pipe2(2).
    pub(super) fn fill<C: Driver>(&mut self, cx: &mut SendContext<'_, C>) -> io::Result<()> {
        let pipe = cx.backend.pipes.take()?;
        let part = cx.outbox.file().ok_or(Errno::INVAL)?.range_to_splice();
        let length = part.remaining.min(MOST_SPLICED).min(pipe.capacity);
        let operation = Operation::Splice {
            from: Arc::clone(&part.source),
            offset: Some(part.offset),
            to: Arc::clone(&pipe.write) as SharedFd,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            more: false,
        };
        let key = self.start(operation, cx);
        self.set_stage(Stage::InFlight(key, InFlight::Fill { pipe }), cx.backend);
        Ok(())
    }

    /// Takes the result of a splice into a pipe.
    pub(super) fn filled<C: Driver>(
        &mut self,
        pipe: Pipe,
        moved: io::Result<usize>,
        cx: &mut SendContext<'_, C>,
    ) -> Result<(), SendError> {
        match moved {
            // The file may end there, or cannot be read at all: a plain read finds out.
            Ok(0) => {
                cx.backend.pipes.give_back(pipe);
                self.copy_only = true;
            }
            Ok(held) => self.pipe = Some(Box::new((pipe, held))),
            Err(errno) => match self.failed(errno) {
                Err(SendError::Failed(_)) => self.copy_only = true,
                interrupted => interrupted?,
            },
        }
        Ok(())
    }

    /// Starts a splice from a pipe, which holds so many bytes, to the socket. If they are the last of the file,
    /// it is verified first.
    pub(super) fn drain<C: Driver>(
        &mut self,
        pipe: Pipe,
        held: usize,
        cx: &mut SendContext<'_, C>,
    ) -> Result<(), SendError> {
        let verified = cx.outbox.file().map_or(Ok(()), |file| file.verify(0, held));
        verified.map_err(|changed| SendError::Failed(changed.into()))?;
        cx.socket.limit_sends();
        let operation = Operation::Splice {
            from: Arc::clone(&pipe.read) as SharedFd,
            offset: None,
            to: Arc::clone(cx.socket.sender()),
            length: u32::try_from(held).unwrap_or(u32::MAX),
            more: cx.outbox.queued() > held as u64 && !cx.outbox.has_socket_records(),
        };
        let key = self.start(operation, cx);
        self.set_stage(Stage::InFlight(key, InFlight::Drain { held, pipe }), cx.backend);
        Ok(())
    }

    /// Takes the result of a splice from a pipe.
    pub(super) fn drained<C: Driver>(
        &mut self,
        pipe: Pipe,
        held: usize,
        moved: io::Result<usize>,
        cx: &mut SendContext<'_, C>,
    ) -> Result<(), SendError> {
        match moved {
            Ok(count) => {
                self.moved(count, cx);
                match held.saturating_sub(count) {
                    0 => cx.backend.pipes.give_back(pipe),
                    left => (self.pipe, self.full) = (Some(Box::new((pipe, left))), true),
                }
            }
            // The bytes in the pipe are read from the file once more.
            Err(errno) if refuses_splice(errno) => self.copy_only = true,
            Err(errno) => {
                self.failed(errno)?;
                (self.pipe, self.full) = (Some(Box::new((pipe, held))), errno == Errno::AGAIN);
            }
        }
        Ok(())
    }
}

/// Returns whether bytes in a pipe cannot be spliced from it. After `EIO`, where the page of a file could
/// not be read, a plain read reports the error.
fn refuses_splice(errno: Errno) -> bool {
    let unknown = matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM);
    unknown || matches!(errno, Errno::ACCESS | Errno::IO)
}
