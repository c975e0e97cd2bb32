//! No waiting at all: every descriptor is asked on every lap whether it is ready, by trying
//! (`O_NONBLOCK`, open(2); since always).
//!
//! # Limitations
//!
//! A lap makes a call for each connection, nearly all of which return `EAGAIN`, and one lap follows the
//! other, so it burns a whole core while nothing happens. It exists for comparison: every other model
//! avoids this loop. [`Nonblocking::yielding`] yields the core to another thread after each lap
//! (sched_yield(2)), which still burns an otherwise idle core.

use rustix::io::{self, Errno};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::fd_table::{FdTable, number};
use crate::selector::{Interest, Ready, Selector, Token};

/// Busy polling.
#[derive(Debug)]
pub struct Nonblocking {
    asked: Vec<Asked>,
    /// Where in `asked` a descriptor stands.
    places: FdTable<usize>,
    yields: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    number: usize,
    token: Token,
    interest: Interest,
}

impl Nonblocking {
    /// Returns a model that yields the core after each lap.
    #[must_use]
    pub fn yielding() -> Self {
        Self { asked: Vec::new(), places: FdTable::new(), yields: true }
    }

    fn asked(&mut self, fd: BorrowedFd<'_>) -> io::Result<&mut Asked> {
        let place = self.places.get(number(fd)).ok_or(Errno::NOENT)?;
        self.asked.get_mut(place).ok_or(Errno::NOENT)
    }
}

impl Selector for Nonblocking {
    const EDGE: bool = false;
    const CLOSE_DEREGISTERS: bool = false;
    const WATCHES_EVENTFD: bool = true;

    fn new() -> io::Result<Self> {
        Ok(Self { yields: false, ..Self::yielding() })
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let number = number(fd);
        if self.places.get(number).is_some() {
            return Err(Errno::EXIST);
        }
        self.places.set(number, self.asked.len());
        self.asked.push(Asked { number, token, interest });
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let asked = self.asked(fd)?;
        (asked.token, asked.interest) = (token, interest);
        Ok(())
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let place = self.places.take(number(fd)).ok_or(Errno::NOENT)?;
        self.asked.swap_remove(place);
        if let Some(moved) = self.asked.get(place) {
            self.places.set(moved.number, place);
        }
        Ok(())
    }

    fn wait(&mut self, _: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        if self.yields {
            rustix::thread::sched_yield();
        }
        let lap = self.asked.iter().filter(|asked| asked.interest != Interest::NONE);
        ready.extend(lap.map(
            |&Asked { token, interest: Interest { readable, writable, .. }, .. }| Ready {
                token,
                readable,
                writable,
                read_closed: false,
            },
        ));
        Ok(())
    }
}
