//! `send(2)` with `MSG_ZEROCOPY` from a mapping: the socket refers to the pages of the file.
//!
//! Linux 4.14; TCP (Documentation/networking/msg_zerocopy.rst). The mapping stays in custody until
//! the error queue of the socket has released it, and the transfer is not done before: what is
//! written to the file after that no longer shows at the peer.
//!
//! # SIGPIPE
//! It raises none (`MSG_NOSIGNAL`), but [`sendfile`](super::sendfile#sigpipe) does, to which it
//! falls back on a UNIX socket.
//!
//! What it does badly: pinning pages, faulting them in and reading the notifications cost more
//! than copying what is short, so below 16 KiB it does not bother; the kernel copies after all on
//! loopback, to a device without scatter-gather and to whoever sniffs, and says so only in the
//! notification; the error queue looks like an error to every poller; a UNIX socket has no such
//! thing; and notifications are numbered by socket, so another that sends with this flag on the
//! same one must have been released first.

use karez_sys::{MSG_ZEROCOPY, Mapping, allow_zerocopy, take_released};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use super::mmap::deliver;
use crate::report::{Notifications, Report};
use crate::step::{Piece, Stop};
use crate::window::{Window, bytes_behind};

/// Below this many bytes copying is cheaper (msg_zerocopy.rst says about 10 KB).
const WORTH_IT: u64 = 16 << 10;

/// Sends whose notifications nobody has read, before somebody reads.
const UNREAD: u32 = 16;

/// The mappings that the socket may refer to.
#[derive(Debug, Default)]
pub(crate) struct Zerocopy {
    allowed: bool,
    window: Window<Mapping>,
    /// With each, how many sends must have been released before it may go.
    custody: VecDeque<(Mapping, u32)>,
}

impl Zerocopy {
    /// Sends up to a chunk; 0 means that the file ends there.
    pub(crate) fn step(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        let (from, offset) = (piece.from.fd, piece.from.at.ok_or(Errno::OPNOTSUPP)?);
        if !self.allowed {
            report.calls.setsockopt += 1;
            allow_zerocopy(piece.to.fd).map_err(|errno| Stop::Unavailable(no_such_thing(errno)))?;
            self.allowed = true;
        }
        if outstanding(&report.zerocopy) >= UNREAD {
            read_notifications(&mut self.custody, piece.to.fd, report)?;
        }
        let there = bytes_behind(from, offset, &mut report.calls)?;
        if there == 0 {
            return Ok(0);
        }
        let (custody, sends) = (&mut self.custody, report.zerocopy.sends);
        let keep = |mapping| custody.push_back((mapping, sends));
        let window = self.window.over(offset, piece.len, keep, |start, length| {
            report.calls.mmap += 1;
            let mapping = Mapping::of(from, start, length)?;
            report.calls.madvise += 1;
            Ok(mapping)
        });
        let (mapping, part) = window.map_err(Stop::Unavailable)?;
        let plain = SendFlags::empty();
        let flags = if piece.len.min(there) < WORTH_IT { plain } else { MSG_ZEROCOPY };
        match deliver(mapping, part.clone(), there, piece, flags, &mut report.calls) {
            // No room to pin or to notify (net.core.optmem_max): what is out must come back first,
            // and if that is nothing, a copy goes.
            Err(Stop::Refused(Errno::NOBUFS)) if flags == MSG_ZEROCOPY => {
                read_notifications(&mut self.custody, piece.to.fd, report)?;
                if outstanding(&report.zerocopy) > 0 {
                    return Err(Stop::Release);
                }
                deliver(mapping, part, there, piece, plain, &mut report.calls)
            }
            // Notifications that nobody reads wake every poller at once, whatever it waits for.
            Err(Stop::Writable) => {
                read_notifications(&mut self.custody, piece.to.fd, report)?;
                Err(Stop::Writable)
            }
            sent => {
                let lent = flags == MSG_ZEROCOPY && sent.is_ok_and(|sent| sent > 0);
                report.zerocopy.sends += u32::from(lent);
                sent
            }
        }
    }

    /// After the last byte: whether the socket has released everything.
    pub(crate) fn settle(&mut self, out: BorrowedFd<'_>, report: &mut Report) -> Result<(), Stop> {
        if outstanding(&report.zerocopy) > 0 {
            read_notifications(&mut self.custody, out, report)?;
        }
        if outstanding(&report.zerocopy) > 0 { Err(Stop::Release) } else { Ok(()) }
    }
}

fn read_notifications(
    custody: &mut VecDeque<(Mapping, u32)>,
    out: BorrowedFd<'_>,
    report: &mut Report,
) -> Result<(), Stop> {
    while outstanding(&report.zerocopy) > 0 {
        report.calls.recvmsg += 1;
        let Some(released) = take_released(out)? else {
            break;
        };
        report.zerocopy.released += released.sends();
        if released.copied {
            report.zerocopy.copied += released.sends();
        }
    }
    // TCP releases in order, so the oldest mapping is free when as many sends are.
    while custody.front().is_some_and(|&(_, sends)| sends <= report.zerocopy.released) {
        custody.pop_front();
    }
    Ok(())
}

/// Sends that the socket has not released.
fn outstanding(notifications: &Notifications) -> u32 {
    notifications.sends.saturating_sub(notifications.released)
}

/// Sockets say in several ways that they know nothing of it.
fn no_such_thing(errno: Errno) -> Errno {
    match errno {
        Errno::NOPROTOOPT | Errno::NOTSOCK => Errno::OPNOTSUPP,
        errno => errno,
    }
}
