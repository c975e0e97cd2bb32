//! Bytes in memory in front of those of a socket, on their way into a file.
//!
//! They are written first, by pwrite(2), so that no via has to know of them.

use rustix::io::{Errno, pwrite};
use std::io;

use super::Transfer;
use crate::interrupted::retry;
use crate::step::{Descriptors, Progress};
use crate::via::Via;

impl Transfer {
    /// Writes these bytes before those of the source, as many as the transfer may move.
    pub(crate) fn start_with(&mut self, mut bytes: Vec<u8>) {
        bytes.truncate(usize::try_from(self.cursor.remaining).unwrap_or(usize::MAX));
        self.lead = bytes;
    }

    /// Writes some of the bytes in memory.
    pub(super) fn step_lead(&mut self, fds: Descriptors<'_>, at_most: u64) -> io::Result<Progress> {
        let Some(at) = self.cursor.to else {
            return Err(io::Error::other("only a file takes bytes in front of those of a socket"));
        };
        self.report.switch_to(Via::Copy);
        let most = usize::try_from(at_most.min(self.settings.max_per_step)).unwrap_or(usize::MAX);
        let count = self.lead.len().min(most.max(1));
        let written = retry(|| {
            self.report.calls.pwrite64 += 1;
            pwrite(fds.to, &self.lead[..count], at)
        });
        match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                self.lead.drain(..written);
                if self.lead.is_empty() {
                    self.lead = Vec::new();
                }
                self.advance(written as u64);
                Ok(Progress::Moved(written as u64))
            }
            Err(Errno::INTR) => Ok(Progress::Moved(0)),
            Err(errno) => Err(errno.into()),
        }
    }
}
