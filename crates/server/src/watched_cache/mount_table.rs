//! Changes of the mount table: a mount over a directory on a path changes its meaning without an
//! event of inotify. poll(2) reports POLLPRI and POLLERR on /proc/self/mountinfo once per open
//! description after each change (proc_pid_mountinfo(5), Linux 2.6.30).
//!
//! The report is consumed by the poll that returns it, and epoll polls as well. So there are two
//! descriptions: one for the event loop's wait, and one that only this module polls, which misses
//! no change that the wait consumed.
//!
//! # Limitations
//! The table is that of the process's mount namespace when it was opened; a thread with a namespace
//! of its own is not covered. Any change counts, also one far from the paths in use.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// The mount table of the process.
pub(super) struct MountTable {
    own: OwnedFd,
    waited: OwnedFd,
}

/// What one poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Polled {
    /// The inotify instance has events.
    pub(super) events: bool,
    /// The mount table changed since the poll before.
    pub(super) mounts: bool,
}

impl MountTable {
    pub(super) fn open() -> io::Result<Self> {
        let opened = || open(PATH, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let failed = |errno| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("open {PATH:?}: {error}"))
        };
        Ok(Self { own: opened().map_err(failed)?, waited: opened().map_err(failed)? })
    }

    /// Returns the description for the event loop's wait.
    pub(super) fn waited(&self) -> BorrowedFd<'_> {
        self.waited.as_fd()
    }

    /// Asks by one poll(2) whether there are events or changes of the table.
    pub(super) fn poll(&self, inotify: BorrowedFd<'_>) -> Result<Polled, Errno> {
        let mut fds = [
            PollFd::from_borrowed_fd(inotify, PollFlags::IN),
            PollFd::new(&self.own, PollFlags::PRI),
        ];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            match poll(&mut fds, Some(&now)) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => break,
            }
        }
        Ok(Polled {
            events: !fds[0].revents().is_empty(),
            mounts: fds[1].revents().intersects(PollFlags::PRI | PollFlags::ERR),
        })
    }
}

const PATH: &str = "/proc/self/mountinfo";
