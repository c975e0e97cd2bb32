//! select(2), as pselect6 with bitmaps as large as they have to be. Since 4.2BSD; pselect6 since
//! Linux 2.6.16.
//!
//! # Limitations
//!
//! The result overwrites the sets, so both are copied before each call; the kernel scans every descriptor
//! in them at every wait, and this model every bit of the result: O(highest number), however few are
//! ready. A descriptor closed while it is still in a set fails the whole call with `EBADF`. A hang-up
//! looks like data. The limit of 1024 is glibc's and not the kernel's, and does not exist here.

use karez_sys::{FdSet, select};
use rustix::io::{self, Errno};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::fd_table::{FdTable, number};
use crate::selector::{Interest, Ready, Selector, Token};

/// Waiting on bitmaps.
#[derive(Debug)]
pub struct Select {
    tokens: FdTable<Token>,
    read: FdSet,
    write: FdSet,
    /// The sets of the last call, and its result.
    readable: FdSet,
    writable: FdSet,
}

impl Select {
    fn ask(&mut self, fd: BorrowedFd<'_>, interest: Interest) {
        for (set, wanted) in [
            (&mut self.read, interest.readable || interest.hang_up),
            (&mut self.write, interest.writable),
        ] {
            if wanted {
                set.insert(fd);
            } else {
                set.remove(fd);
            }
        }
    }
}

impl Selector for Select {
    const EDGE: bool = false;
    const CLOSE_DEREGISTERS: bool = false;
    const WATCHES_EVENTFD: bool = true;

    fn new() -> io::Result<Self> {
        let mut new = Self {
            tokens: FdTable::new(),
            read: FdSet::default(),
            write: FdSet::default(),
            readable: FdSet::default(),
            writable: FdSet::default(),
        };
        // An error of a sandbox is reported now.
        new.wait(Some(Duration::ZERO), &mut Vec::new())?;
        Ok(new)
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        if self.tokens.get(number(fd)).is_some() {
            return Err(Errno::EXIST);
        }
        self.tokens.set(number(fd), token);
        self.ask(fd, interest);
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.tokens.get(number(fd)).ok_or(Errno::NOENT)?;
        self.tokens.set(number(fd), token);
        self.ask(fd, interest);
        Ok(())
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.ask(fd, Interest::NONE);
        self.tokens.take(number(fd)).map(drop).ok_or(Errno::NOENT)
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.readable.copy(&self.read);
        self.writable.copy(&self.write);
        match select(&mut self.readable, &mut self.writable, timeout) {
            Ok(0) | Err(Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(errno),
        }
        for (set, readable) in [(&self.readable, true), (&self.writable, false)] {
            let tokens = set.iter().filter_map(|number| self.tokens.get(number));
            ready.extend(tokens.map(|token| Ready {
                token,
                readable,
                writable: !readable,
                read_closed: false,
            }));
        }
        Ok(())
    }
}
