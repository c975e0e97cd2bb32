//! A readiness model whose reports a schedule puts off, reorders and adds to.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use karez_sys::simulation::{Point, below, happens};
use rustix::io;

use super::waited::Waited;
use crate::selector::{Interest, Ready, Selector, Token};

/// The descriptors for which there may be a spurious report.
const KNOWN: usize = 16;

/// A selector whose waits end at once.
pub(super) struct ScheduledSelector<D> {
    selector: D,
    late: Vec<Ready>,
    /// Tokens registered last.
    known: Vec<Token>,
    waited: Rc<Cell<Waited>>,
}

impl<D: Selector> ScheduledSelector<D> {
    pub(super) fn scheduled(waited: Rc<Cell<Waited>>) -> io::Result<Self> {
        Ok(Self { selector: D::new()?, late: Vec::new(), known: Vec::new(), waited })
    }
}

impl<D: Selector> Selector for ScheduledSelector<D> {
    const EDGE: bool = D::EDGE;
    const CLOSE_DEREGISTERS: bool = D::CLOSE_DEREGISTERS;
    const WATCHES_EVENTFD: bool = D::WATCHES_EVENTFD;

    fn new() -> io::Result<Self> {
        Self::scheduled(Rc::default())
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        if self.known.len() == KNOWN {
            self.known.remove(0);
        }
        self.known.push(token);
        self.selector.register(fd, token, interest)
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.selector.modify(fd, token, interest)
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.selector.deregister(fd)
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut waited = Waited::begin(&self.waited, timeout)?;
        let mut found = std::mem::take(&mut self.late);
        self.selector.wait(Some(Duration::ZERO), &mut found)?;
        merge(&mut found);
        while !found.is_empty() {
            let report = found.swap_remove(below(found.len()));
            if happens(Point::Late) {
                self.late.push(report);
            } else {
                waited.delivered += 1;
                ready.push(report);
            }
        }
        if !self.known.is_empty() && happens(Point::Spurious) {
            waited.delivered += 1;
            let (token, flags) = (self.known[below(self.known.len())], below(8));
            let [readable, writable, read_closed] = [1, 2, 4].map(|flag| flags & flag != 0);
            ready.push(Ready { token, readable, writable, read_closed });
        }
        waited.late += self.late.len();
        self.waited.set(waited);
        Ok(())
    }
}

/// Makes one report of all for a token.
fn merge(reports: &mut Vec<Ready>) {
    let mut merged: Vec<Ready> = Vec::with_capacity(reports.len());
    for report in reports.drain(..) {
        match merged.iter_mut().find(|other| other.token == report.token) {
            Some(other) => {
                other.readable |= report.readable;
                other.writable |= report.writable;
                other.read_closed |= report.read_closed;
            }
            None => merged.push(report),
        }
    }
    *reports = merged;
}
