//! Gathering on a completion model: ranges of files are read into one buffer behind other bytes, and sent
//! together.
//!
//! # Limitations
//!
//! A gather reads one range at a time.

use karez_sys::{Operation, SharedFd};
use karez_transfer::{Changed, FileRange, Gather, Gathered, Outbox, Via};
use rustix::io;
use std::sync::Arc;

use super::send::{SendContext, SendProgress, Sender, effective_via};
use super::stage::{InFlight, Stage, Unsent};
use crate::driver::{Driver, DriverSocket as _};
use crate::task::SendError;

impl Sender {
    /// Starts the next read of a gather, or sends it when it is complete.
    pub(super) fn gather<C: Driver>(
        &mut self,
        mut gather: Gather,
        zerocopy: bool,
        cx: &mut SendContext<'_, C>,
    ) -> Result<SendProgress, SendError> {
        let copy_only = self.copy_only;
        let via = |file: &_| effective_via::<C>(copy_only, file);
        if let Some(range) = cx.outbox.gather_next(&mut gather, via) {
            let zerocopy = zerocopy || range.via == Via::Zerocopy;
            self.read(range, gather, zerocopy, cx);
            return Ok(SendProgress::InFlight);
        }
        if let Some(unsent) = self.finish_gather(gather, zerocopy, cx)? {
            self.send(unsent, cx);
            return Ok(SendProgress::InFlight);
        }
        self.next(cx)
    }

    /// Ends a gather: the bytes to be sent, unless there are none or the outbox made a record of them.
    pub(super) fn finish_gather<C: Driver>(
        &mut self,
        mut gather: Gather,
        zerocopy: bool,
        cx: &mut SendContext<'_, C>,
    ) -> Result<Option<Unsent>, SendError> {
        let more = cx.outbox.seal(&mut gather).map_err(SendError::Failed)?;
        if cx.outbox.is_sealed() || gather.bytes().is_empty() {
            cx.drop_gather(gather);
            return Ok(None);
        }
        Ok(Some(Unsent { bytes: gather.into_bytes(), from: 0, more, zerocopy }))
    }

    /// Starts a read into a gather, and with it the send where the two are linked.
    fn read<C: Driver>(
        &mut self,
        range: FileRange,
        mut gather: Gather,
        zerocopy: bool,
        cx: &mut SendContext<'_, C>,
    ) {
        let (last, more) = cx.outbox.is_last(&gather);
        let remote = range.device.remote;
        // A read that is linked to a send would hold the socket for as long as it hangs.
        let links =
            C::LINKED_READ_SEND && !remote && last && range.is_linkable() && range.via == Via::Copy;
        let (file, offset): (SharedFd, _) = (range.source, range.offset);
        let (bytes, from) = gather.take_buffer();
        let (operation, in_flight) = if links && !cx.outbox.is_sealed() {
            let socket = Arc::clone(cx.socket.sender());
            let operation = Operation::ReadThenSend { file, offset, socket, bytes, from, more };
            (operation, InFlight::ReadThenSend { gather, more })
        } else {
            let operation = Operation::Read { file, offset, bytes, from, remote };
            (operation, InFlight::Read { gather, zerocopy })
        };
        let key = self.start(operation, cx);
        self.set_stage(Stage::InFlight(key, in_flight), cx.backend);
    }

    /// Takes the result of a read into a gather. False if it has to be repeated.
    pub(super) fn take_read(
        &mut self,
        gather: &mut Gather,
        read: io::Result<usize>,
        outbox: &mut Outbox,
    ) -> Result<bool, SendError> {
        match read {
            Ok(count) => match outbox.gathered(gather, Some(count)) {
                Gathered::Next | Gathered::Cold => Ok(true),
                Gathered::Changed => Err(SendError::Failed(Changed.into())),
                Gathered::Truncated { missing } => Err(SendError::Truncated { missing }),
            },
            Err(errno) => self.failed(errno).map(|()| false),
        }
    }
}
