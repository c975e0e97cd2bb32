//! Reads with a timeout: a silent server fails the test instead of blocking the run.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::AsFd;
use std::time::Duration;

/// A limit for every wait, longer than any step of a test.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A pipe whose reads time out.
pub struct TimedReader<R>(pub R);

impl<R: Read + AsFd> Read for TimedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if !is_readable(&self.0, TEST_TIMEOUT) {
            return Err(Error::new(ErrorKind::TimedOut, "timed out reading a pipe"));
        }
        self.0.read(buffer)
    }
}

/// Returns whether data or the end arrives within this time.
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
