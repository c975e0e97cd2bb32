//! The peers of a transfer's sockets, which send and receive random amounts.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use crate::random::Random;

/// Sends the bytes that a transfer receives.
pub struct Feeder {
    pub peer: OwnedFd,
    bytes: Vec<u8>,
    fed: usize,
    /// The end of the stream is behind the last byte.
    pub ended: bool,
}

impl Feeder {
    pub fn new(peer: OwnedFd, bytes: Vec<u8>) -> Self {
        Self { peer, bytes, fed: 0, ended: false }
    }

    /// Some bytes; whether there are more. Behind the last comes the end of the stream.
    pub fn feed(&mut self, chance: &mut Random) -> bool {
        let left = &self.bytes[self.fed..];
        if !left.is_empty() {
            match rustix::io::write(&self.peer, &left[..chance.amount(left.len())]) {
                Ok(count) => self.fed += count,
                Err(Errno::AGAIN) => {}
                // The transfer's side is gone.
                Err(_) => return false,
            }
        }
        if self.fed == self.bytes.len() {
            self.ended = true;
            let _gone = shutdown(&self.peer, Shutdown::Write);
        }
        !self.ended
    }
}

/// Receives the bytes that a transfer sends.
pub struct Drainer {
    pub peer: OwnedFd,
    pub drained: Vec<u8>,
}

impl Drainer {
    pub fn new(peer: OwnedFd) -> Self {
        Self { peer, drained: Vec::new() }
    }

    /// Some bytes; whether there may be more.
    pub fn drain(&mut self, chance: &mut Random) -> bool {
        let mut part = vec![0; chance.amount(1 << 18)];
        match rustix::io::read(&self.peer, &mut part) {
            Ok(0) => false,
            Ok(count) => {
                self.drained.extend_from_slice(&part[..count]);
                true
            }
            Err(Errno::AGAIN) => true,
            Err(errno) => panic!("the drainer: {errno}"),
        }
    }
}
