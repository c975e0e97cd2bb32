//! Linux AIO's poll (`IOCB_CMD_POLL`): io_submit(2) submits polls, io_getevents(2) waits.
//!
//! Linux 4.18. A poll is one-shot, so completed polls are resubmitted before each wait, all by one call:
//! two calls a turn, however many connections. Readiness semantics on a completion API: files are sent by
//! any via.
//!
//! # Limitations
//!
//! A poll that is resubmitted costs a walk through its file's wait queue even if nothing has changed. Room
//! is reserved in advance from a limit that all processes share
//! (`fs.aio-max-nr`; `EAGAIN` at the start where it is used up), so connections beyond 3,072 a
//! reactor, or fewer where less is left, and descriptors that the kernel will not poll in this way
//! go to an epoll(7) that is polled in their place, as in libev; and a closed descriptor has to be
//! cancelled by hand.
//! `IOCB_CMD_PREAD` is asynchronous on `O_DIRECT` files only, so it reads for the via `direct`, in
//! every topology, and for no other.

use karez_sys::{AioContext, CompletedRead, SharedFd, Slot};
use karez_transfer::{DirectRead, PageIn};
use rustix::event::PollFlags;
use rustix::io::{self, Errno};
use std::collections::HashMap;
use std::mem;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use super::epoll_level::EpollLevel;
use super::poll::report;
use crate::fd_table::{FdTable, number};
use crate::selector::{Interest, Ready, Selector, Token};

/// Descriptors polled by one reactor; the next where so much room is not left.
const CAPACITIES: [u32; 4] = [3072, 1024, 256, 64];

/// The tag of the epoll instance with the remaining descriptors. No connection's token is as high.
const OTHERS: u64 = u64::MAX - (1 << 32);

/// Polling by Linux AIO.
#[derive(Debug)]
pub struct LinuxAio {
    polls: AioContext,
    places: FdTable<Option<Slot>>,
    /// Those that are refused, if any.
    others: Option<EpollLevel>,
    news: Vec<(u64, PollFlags)>,
    /// Reads in flight, by number.
    reads: HashMap<u64, Reading>,
    next_read: u64,
}

#[derive(Debug)]
struct Reading {
    token: Token,
    part: PageIn,
    /// The read without its memory.
    read: DirectRead,
}

impl Selector for LinuxAio {
    const EDGE: bool = false;
    const CLOSE_DEREGISTERS: bool = false;
    const WATCHES_EVENTFD: bool = true;
    const OFFLOADS_READS: bool = true;

    fn new() -> io::Result<Self> {
        let mut made = Err(Errno::AGAIN);
        for capacity in CAPACITIES {
            made = Self::with_capacity(capacity);
            if !matches!(made, Err(Errno::AGAIN)) {
                break;
            }
        }
        made
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        if self.places.get(number(fd)).is_some() {
            return Err(Errno::EXIST);
        }
        let place = match self.polls.add(fd, token.0, flags(interest)) {
            Ok(place) => Some(place),
            Err(Errno::AGAIN | Errno::INVAL) => {
                self.others()?.register(fd, token, interest)?;
                None
            }
            Err(errno) => return Err(errno),
        };
        self.places.set(number(fd), place);
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        match self.places.get(number(fd)).ok_or(Errno::NOENT)? {
            Some(place) => {
                self.polls.change(place, token.0, flags(interest));
                Ok(())
            }
            None => self.others()?.modify(fd, token, interest),
        }
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match self.places.take(number(fd)).ok_or(Errno::NOENT)? {
            Some(place) => {
                self.polls.remove(place);
                Ok(())
            }
            None => self.others()?.deregister(fd),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.news.clear();
        self.polls.wait(timeout, &mut self.news)?;
        for &(tag, found) in &self.news {
            match (&mut self.others, tag) {
                (Some(others), OTHERS) => others.wait(Some(Duration::ZERO), ready)?,
                _ => ready.push(report(Token(tag), found)),
            }
        }
        Ok(())
    }

    fn offload_read(&mut self, token: Token, part: PageIn) -> Result<(), PageIn> {
        let Some(mut read) = part.direct_read() else { return Err(part) };
        let (file, memory) = (Arc::clone(&read.file) as SharedFd, mem::take(&mut read.memory));
        self.next_read += 1;
        match self.polls.read(self.next_read, file, read.offset, memory, read.range.clone()) {
            Ok(()) => {
                self.reads.insert(self.next_read, Reading { token, part, read });
                Ok(())
            }
            Err((_, memory)) => {
                part.finish_direct_read(DirectRead { memory, ..read }, None);
                Err(part)
            }
        }
    }

    fn next_completed_read(&mut self) -> Option<Token> {
        loop {
            let CompletedRead { tag, memory, outcome } = self.polls.next_completed_read()?;
            if let Some(Reading { token, part, read }) = self.reads.remove(&tag) {
                part.finish_direct_read(DirectRead { memory, ..read }, Some(outcome));
                return Some(token);
            }
        }
    }
}

impl LinuxAio {
    fn with_capacity(capacity: u32) -> io::Result<Self> {
        let polls = AioContext::new(capacity)?;
        Ok(Self {
            polls,
            places: FdTable::new(),
            others: None,
            news: Vec::new(),
            reads: HashMap::new(),
            next_read: 0,
        })
    }

    /// Returns the epoll instance for descriptors that are refused here, made for the first of them.
    fn others(&mut self) -> io::Result<&mut EpollLevel> {
        if self.others.is_none() {
            let epoll = EpollLevel::new()?;
            self.polls.add_beyond(epoll.as_fd(), OTHERS, PollFlags::IN)?;
            self.others = Some(epoll);
        }
        self.others.as_mut().ok_or(Errno::NOENT)
    }
}

fn flags(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.readable);
    flags.set(PollFlags::OUT, interest.writable);
    // Reported unasked, but an entry without flags is passed over.
    flags.set(PollFlags::HUP, interest.hang_up);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_beyond_the_capacity_are_reported() {
        let mut model = LinuxAio::with_capacity(2).unwrap();
        let pairs: Vec<_> = (0..5).map(|_| UnixStream::pair().unwrap()).collect();
        for ((near, _), number) in pairs.iter().zip(0..) {
            model.register(near.as_fd(), Token(number), Interest::READ).unwrap();
        }
        assert!(model.others.is_some());
        for ((near, far), number) in pairs.iter().zip(0..) {
            { far }.write_all(b"x").unwrap();
            let mut ready = Vec::new();
            while ready.is_empty() {
                model.wait(None, &mut ready).unwrap();
            }
            assert!(ready.iter().all(|one| one.token == Token(number) && one.readable));
            model.deregister(near.as_fd()).unwrap();
        }
    }
}
