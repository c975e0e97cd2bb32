//! poll(2), as ppoll over an array that is kept in step with the connections. Since Linux 2.1.23;
//! ppoll since 2.6.16.
//!
//! # Limitations
//!
//! The array is copied into the kernel at every wait, eight bytes a descriptor, and both the kernel and
//! this model scan all of it: O(n), however few are ready. A closed descriptor that is still in the array
//! reports `POLLNVAL`, or the readiness of the next file of that number.

use karez_sys::{PollEntry, poll};
use rustix::event::PollFlags;
use rustix::io::{self, Errno};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::fd_table::{FdTable, number};
use crate::selector::{Interest, Ready, Selector, Token};

/// Waiting on an array.
#[derive(Debug)]
pub struct Poll {
    array: Vec<PollEntry>,
    /// As long as the array, and in its order.
    tokens: Vec<Token>,
    /// The index of each descriptor in the array.
    places: FdTable<usize>,
}

impl Selector for Poll {
    const EDGE: bool = false;
    const CLOSE_DEREGISTERS: bool = false;
    const WATCHES_EVENTFD: bool = true;

    fn new() -> io::Result<Self> {
        // An error of a sandbox is reported now.
        poll(&mut [], Some(Duration::ZERO))?;
        Ok(Self { array: Vec::new(), tokens: Vec::new(), places: FdTable::new() })
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        if self.places.get(number(fd)).is_some() {
            return Err(Errno::EXIST);
        }
        self.places.set(number(fd), self.array.len());
        self.array.push(PollEntry::new(fd, flags(interest)));
        self.tokens.push(token);
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let place = self.places.get(number(fd)).ok_or(Errno::NOENT)?;
        self.array[place].set_events(flags(interest));
        self.tokens[place] = token;
        Ok(())
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let place = self.places.take(number(fd)).ok_or(Errno::NOENT)?;
        self.array.swap_remove(place);
        self.tokens.swap_remove(place);
        if let Some(moved) = self.array.get(place) {
            self.places.set(moved.number(), place);
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut left = match poll(&mut self.array, timeout) {
            Ok(found) => found,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for (polled, &token) in self.array.iter().zip(&self.tokens) {
            if left == 0 {
                break;
            }
            let found = polled.revents();
            if !found.is_empty() {
                left -= 1;
                ready.push(report(token, found));
            }
        }
        Ok(())
    }
}

fn flags(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.readable);
    flags.set(PollFlags::OUT, interest.writable);
    // Always reported, but an entry without flags is skipped.
    flags.set(PollFlags::HUP, interest.hang_up);
    flags
}

/// Converts the flags of poll(2), which signals carry, too.
pub(crate) fn report(token: Token, found: PollFlags) -> Ready {
    let broken = found.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
    Ready {
        token,
        readable: broken || found.intersects(PollFlags::IN | PollFlags::RDHUP),
        writable: broken || found.contains(PollFlags::OUT),
        read_closed: broken || found.contains(PollFlags::RDHUP),
    }
}
