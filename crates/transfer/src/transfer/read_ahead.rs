//! Reading bytes in front of the cursor for an outbox, which sends them together with other segments.

use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;

use super::Transfer;
use crate::endpoint_io::read_file;
use crate::interrupted::ATTEMPTS;
use crate::nowait;
use crate::settings::OnMiss;
use crate::via::Via;

impl Transfer {
    /// Reads the bytes that begin `ahead` bytes in front of the cursor into `buffer`; the caller sends
    /// them. `None` if the read would block and the transfer reports misses.
    pub(crate) fn read_ahead(
        &mut self,
        from: BorrowedFd<'_>,
        ahead: u64,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        self.report.switch_to(Via::Copy);
        if self.offloads_reads() && !self.retries_exhausted() {
            return Ok(None);
        }
        let Some(at) = self.cursor.from.map(|at| at + ahead) else {
            return Err(io::Error::other("only a file can be read ahead"));
        };
        let (device, len) = (self.settings.device, buffer.len() as u64);
        let mut nowait = self.settings.on_miss == OnMiss::Report;
        let mut interrupted = 0;
        if nowait && nowait::is_refused(device) {
            nowait = false;
            let there = self.ready_bytes(from, at, len)?;
            if there < len && !self.retries_exhausted() {
                return Ok(None);
            }
        }
        loop {
            let calls = &mut self.report.calls;
            let miss = match read_file(from, at, buffer, (nowait, false), calls) {
                Ok(read) => return Ok(Some(read)),
                // A file system over a network or in user space.
                Err(Errno::INTR) if interrupted < ATTEMPTS => {
                    interrupted += 1;
                    false
                }
                Err(Errno::AGAIN) if nowait => true,
                Err(errno) if nowait && errno != Errno::INTR => {
                    nowait::remember(device, errno);
                    nowait = false;
                    self.ready_bytes(from, at, len)? < len
                }
                Err(errno) => return Err(errno.into()),
            };
            if miss && !self.retries_exhausted() {
                return Ok(None);
            }
            nowait &= !miss;
        }
    }
}
