//! The worker that takes what is sent.

use rustix::net::{RecvFlags, recv};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use serde_json::{Value, json};
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use super::order::text;
use super::sender::{Spent, now};
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::mark;

/// What is taken at a time.
const MOUTHFUL: usize = 256 << 10;

#[derive(Default)]
pub(super) struct Receiver {
    listener: Option<Listener>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Receiver {
    /// Listens; the answer is where.
    pub(super) fn listen(&mut self, order: &Value) -> Result<Value> {
        let at = text(order, "at")?;
        let (listener, address) = if let Some(path) = at.strip_prefix("unix:") {
            let _of_the_last = std::fs::remove_file(path);
            (UnixListener::bind(path).map(Listener::Unix).context("listen at", at)?, at.to_owned())
        } else {
            let listener = TcpListener::bind((at, 0)).context("listen at", at)?;
            let address = listener.local_addr().context("ask for", "an address")?.to_string();
            (Listener::Tcp(listener), address)
        };
        self.listener = Some(listener);
        Ok(json!(address))
    }

    /// Takes everything from the next who connects.
    pub(super) fn take(&mut self, order: &Value) -> Result<Value> {
        let how = text(order, "how")?;
        let listener = self.listener.take();
        let listener = listener.ok_or_else(|| Error::new("accept", "", "nobody listens"))?;
        let stream: OwnedFd = match &listener {
            Listener::Tcp(listener) => listener.accept().context("accept", "tcp")?.0.into(),
            Listener::Unix(listener) => listener.accept().context("accept", "unix")?.0.into(),
        };
        let mut sink = Sink::of(how)?;
        let before = Spent::so_far();
        mark::begin();
        let outcome = sink.drain(stream.as_fd());
        mark::end();
        let ended = now();
        let used = before.until_now();
        Ok(json!({ "bytes": outcome?, "ended": ended, "used": used }))
    }
}

/// How bytes are taken.
enum Sink {
    /// Into memory.
    Read(Vec<u8>),
    /// TCP throws them away (`MSG_TRUNC`, tcp(7)).
    Truncate(Vec<u8>),
    /// Through a pipe to /dev/null.
    Splice(OwnedFd, OwnedFd, File),
}

impl Sink {
    fn of(how: &str) -> Result<Self> {
        Ok(match how {
            "read" => Self::Read(vec![1; MOUTHFUL]),
            "truncate" => Self::Truncate(vec![1; MOUTHFUL]),
            "splice" => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).context("open", "a pipe")?;
                let null = File::options().write(true).open("/dev/null");
                Self::Splice(read, write, null.context("open", "/dev/null")?)
            }
            other => return Err(Error::new("take by", other, "nobody knows how")),
        })
    }

    fn drain(&mut self, from: BorrowedFd<'_>) -> Result<u64> {
        let mut total = 0;
        loop {
            let taken = self.take(from).context("take", "bytes")?;
            if taken == 0 {
                return Ok(total);
            }
            total += taken as u64;
        }
    }

    fn take(&mut self, from: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        match self {
            Self::Read(buffer) => rustix::io::retry_on_intr(|| {
                recv(from, &mut buffer[..], RecvFlags::empty()).map(|(_, taken)| taken)
            }),
            Self::Truncate(buffer) => rustix::io::retry_on_intr(|| {
                recv(from, &mut buffer[..], RecvFlags::TRUNC).map(|(_, taken)| taken)
            }),
            Self::Splice(read, write, null) => {
                let taken = splice(from, None, &*write, None, MOUTHFUL, SpliceFlags::MOVE)?;
                let mut left = taken;
                while left > 0 {
                    left -= splice(&*read, None, &*null, None, left, SpliceFlags::MOVE)?;
                }
                Ok(taken)
            }
        }
    }
}
