//! `send(2)` with `MSG_ZEROCOPY` from a mapping: the socket refers to the pages of the file.
//!
//! Linux 4.14; TCP (Documentation/networking/msg_zerocopy.rst). The mapping is kept until
//! the error queue of the socket reports its release, and the transfer is not done before: a later
//! write to the file does not show at the peer.
//!
//! # SIGPIPE
//! It raises none (`MSG_NOSIGNAL`), but [`sendfile`](super::sendfile#sigpipe) does, to which it
//! falls back on a UNIX socket.
//!
//! # Limitations
//!
//! Pinning pages, faulting them in and reading completions cost more than copying a short message, so
//! below 16 KiB it copies. The kernel copies after all on loopback, to a device without scatter-gather
//! and to packet sniffers, and reports that only in the completion. Every poller reports the error
//! queue as an error. A UNIX socket does not support it. Completions are numbered per socket, so
//! another transfer with this flag on the same socket must have been released first.

use karez_sys::{MSG_ZEROCOPY, Mapping, enable_zerocopy, next_zerocopy_completion};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use super::mmap::send_chunk;
use crate::backend::Backend;
use crate::report::{Notifications, Reason, Report};
use crate::step::{Blocked, Request};
use crate::window::{Window, bytes_behind};

/// Below this many bytes copying is cheaper (msg_zerocopy.rst gives about 10 KB).
const MIN: u64 = 16 << 10;

/// The number of unread completions at which the error queue is read.
const MAX_UNREAD: u32 = 16;

/// The mappings to which the socket may refer.
#[derive(Debug, Default)]
pub(crate) struct Zerocopy {
    enabled: bool,
    window: Window<Mapping>,
    /// Each with the number of sends that must have been released before it may be unmapped.
    kept: VecDeque<(Mapping, u32)>,
}

impl Backend for Zerocopy {
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let (from, offset) = (request.from.fd, request.source_offset()?);
        let unavailable = |errno| Blocked::Unavailable(Reason::Errno(errno));
        if !self.enabled {
            report.calls.setsockopt += 1;
            enable_zerocopy(request.to.fd).map_err(unavailable)?;
            self.enabled = true;
        }
        if outstanding(&report.zerocopy) >= MAX_UNREAD {
            read_completions(&mut self.kept, request.to.fd, report)?;
        }
        let there = bytes_behind(from, offset, &mut report.calls)?;
        if there == 0 {
            return Ok(0);
        }
        let (kept, sends) = (&mut self.kept, report.zerocopy.sends);
        let keep = |mapping| kept.push_back((mapping, sends));
        let window = self.window.over(offset, request.len, keep, |start, length| {
            report.calls.mmap += 1;
            let mapping = Mapping::of(from, start, length)?;
            report.calls.madvise += 1;
            Ok(mapping)
        });
        let (mapping, part) = window.map_err(unavailable)?;
        let plain = SendFlags::empty();
        let flags = if request.len.min(there) < MIN { plain } else { MSG_ZEROCOPY };
        match send_chunk(mapping, part.clone(), there, request, flags, &mut report.calls) {
            // No memory to pin or to notify (net.core.optmem_max): waits for outstanding sends, and
            // copies if there are none.
            Err(Blocked::Rejected(Errno::NOBUFS)) if flags == MSG_ZEROCOPY => {
                read_completions(&mut self.kept, request.to.fd, report)?;
                if outstanding(&report.zerocopy) > 0 {
                    return Err(Blocked::ZerocopyCompletion);
                }
                send_chunk(mapping, part, there, request, plain, &mut report.calls)
            }
            // Unread completions wake every poller at once, whatever it waits for.
            Err(Blocked::Writable) => {
                read_completions(&mut self.kept, request.to.fd, report)?;
                Err(Blocked::Writable)
            }
            sent => {
                let zerocopy = flags == MSG_ZEROCOPY && sent.is_ok_and(|sent| sent > 0);
                report.zerocopy.sends += u32::from(zerocopy);
                sent
            }
        }
    }

    fn poll_release(&mut self, out: BorrowedFd<'_>, report: &mut Report) -> Result<(), Blocked> {
        if outstanding(&report.zerocopy) > 0 {
            read_completions(&mut self.kept, out, report)?;
        }
        match outstanding(&report.zerocopy) {
            0 => Ok(()),
            _ => Err(Blocked::ZerocopyCompletion),
        }
    }

    fn holds_no_user_memory(&self) -> bool {
        false
    }
}

fn read_completions(
    kept: &mut VecDeque<(Mapping, u32)>,
    out: BorrowedFd<'_>,
    report: &mut Report,
) -> Result<(), Blocked> {
    while outstanding(&report.zerocopy) > 0 {
        report.calls.recvmsg += 1;
        let Some(completion) = next_zerocopy_completion(out)? else {
            break;
        };
        report.zerocopy.released += completion.sends();
        if completion.copied {
            report.zerocopy.copied += completion.sends();
        }
    }
    // TCP releases in order, so the oldest mapping is free when that many sends are.
    while kept.front().is_some_and(|&(_, sends)| sends <= report.zerocopy.released) {
        kept.pop_front();
    }
    Ok(())
}

/// Returns the number of sends that the socket has not released.
fn outstanding(notifications: &Notifications) -> u32 {
    notifications.sends.saturating_sub(notifications.released)
}
