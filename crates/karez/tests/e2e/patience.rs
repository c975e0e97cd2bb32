//! Waiting that ends: a server that says nothing fails the test, not the run.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::AsFd;
use std::time::Duration;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A pipe that is read with patience.
pub struct Patient<R>(pub R);

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if !is_readable(&self.0, PATIENCE) {
            return Err(Error::new(ErrorKind::TimedOut, "the pipe stays silent"));
        }
        self.0.read(buffer)
    }
}

/// Whether there is something to read, or an end, within this time.
pub fn is_readable(fd: &impl AsFd, patience: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let timeout = patience.try_into().unwrap();
    loop {
        match poll(&mut fds, Some(&timeout)) {
            Err(Errno::INTR) => {}
            ready => return ready.unwrap() > 0,
        }
    }
}
