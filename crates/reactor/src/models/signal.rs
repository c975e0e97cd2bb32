//! Signal-driven I/O: the kernel queues a real-time signal to this thread for every change of a
//! descriptor (`O_ASYNC`, `F_SETSIG` Linux 2.2, `F_SETOWN_EX` 2.6.32; fcntl(2), TLPI §63.3).
//!
//! # Limitations
//!
//! One signal a change and one call a signal, never a batch; three calls to register. The queue has the
//! length that `RLIMIT_SIGPENDING` allows the user, all processes together; further signals are lost, and
//! a SIGIO reports only that: then every connection is reported, busy or not. Signals also arrive for
//! bytes that have been read meanwhile. eventfds and regular files cannot signal. The owner is one for all duplicates, so of several reactors
//! that share a UNIX listener the last one to register accepts for all. Uses `SIGRTMIN + 1`.

use karez_sys::{ReadinessSignal, SignalEvent};
use rustix::io::{self, Errno};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::poll::report;
use crate::fd_table::{FdTable, number};
use crate::selector::{Interest, Ready, Selector, Token};

/// Signals thrown away in a row after an overflow, at most: more could come as fast as they go.
const STALE: usize = 1 << 16;

/// Waiting for signals, in the thread that made it.
#[derive(Debug)]
pub struct Signal {
    signal: ReadinessSignal,
    tokens: FdTable<Token>,
    /// Registered since the last wait: an earlier readiness is not signalled.
    fresh: Vec<Token>,
}

impl Signal {
    /// Reports every descriptor: signals were lost. Queued signals are dropped, for they report no more.
    fn report_all(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        for _ in 0..STALE {
            match self.signal.take(Some(Duration::ZERO)) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(errno) => return Err(errno),
            }
        }
        ready.extend(self.tokens.iter().map(Ready::everything));
        Ok(())
    }
}

impl Selector for Signal {
    const EDGE: bool = true;
    const CLOSE_DEREGISTERS: bool = true;
    const SHARES_REGISTRATION: bool = true;
    const WATCHES_EVENTFD: bool = false;

    fn new() -> io::Result<Self> {
        let signal = ReadinessSignal::block()?;
        // An error of a sandbox is reported now. Signals of an earlier model in this thread are dropped.
        while signal.take(Some(Duration::ZERO))?.is_some() {}
        Ok(Self { signal, tokens: FdTable::new(), fresh: Vec::new() })
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, _: Interest) -> io::Result<()> {
        self.signal.watch(fd).map_err(|errno| match errno {
            Errno::NOTTY => Errno::PERM,
            errno => errno,
        })?;
        // The descriptor that had the number before was closed.
        if let Some(closed) = self.tokens.take(number(fd)) {
            self.fresh.retain(|fresh| *fresh != closed);
        }
        self.tokens.set(number(fd), token);
        self.fresh.push(token);
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, _: Interest) -> io::Result<()> {
        self.tokens.get(number(fd)).ok_or(Errno::NOENT)?;
        self.tokens.set(number(fd), token);
        self.fresh.push(token);
        Ok(())
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let token = self.tokens.take(number(fd)).ok_or(Errno::NOENT)?;
        self.fresh.retain(|fresh| *fresh != token);
        self.signal.unwatch(fd)
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        if !self.fresh.is_empty() {
            ready.extend(self.fresh.drain(..).map(Ready::everything));
            return Ok(());
        }
        match self.signal.take(timeout) {
            Ok(Some(SignalEvent::Changed { number, band })) => {
                // A number without a token was closed since.
                ready.extend(self.tokens.get(number).map(|token| report(token, band)));
                Ok(())
            }
            Ok(Some(SignalEvent::Overflow)) => self.report_all(ready),
            Ok(None) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
