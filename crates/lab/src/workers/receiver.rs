//! The receiver: reads everything that a sender sends.

use karez_sys::TlsDirection;
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use serde_json::{Value, json};
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use super::command::text;
use super::sender::{UsageSnapshot, now, start_kernel_tls};
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::mark;

/// Size of one receive.
const RECEIVE_SIZE: usize = 256 << 10;

#[derive(Default)]
pub(super) struct Receiver {
    listener: Option<Listener>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Receiver {
    /// Listens and replies with the address.
    pub(super) fn listen(&mut self, command: &Value) -> Result<Value> {
        let at = text(command, "at")?;
        let (listener, address) = if let Some(path) = at.strip_prefix("unix:") {
            let _left_over = std::fs::remove_file(path);
            (UnixListener::bind(path).map(Listener::Unix).context("listen at", at)?, at.to_owned())
        } else {
            let listener = TcpListener::bind((at, 0)).context("listen at", at)?;
            let address =
                listener.local_addr().context("get the address of", "a socket")?.to_string();
            (Listener::Tcp(listener), address)
        };
        self.listener = Some(listener);
        Ok(json!(address))
    }

    /// Receives everything from the next connection.
    pub(super) fn receive(&mut self, command: &Value) -> Result<Value> {
        let mode = text(command, "mode")?;
        let listener = self.listener.take();
        let listener = listener.ok_or_else(|| Error::new("accept", "", "not listening"))?;
        let stream: OwnedFd = match &listener {
            Listener::Tcp(listener) => listener.accept().context("accept", "tcp")?.0.into(),
            Listener::Unix(listener) => listener.accept().context("accept", "unix")?.0.into(),
        };
        if mode == "decrypt" {
            start_kernel_tls(stream.as_fd(), TlsDirection::Rx)?;
        }
        let mut sink = Sink::new(mode)?;
        let before = UsageSnapshot::now();
        mark::begin();
        let outcome = sink.drain(stream.as_fd());
        mark::end();
        let ended = now();
        let used = before.elapsed();
        Ok(json!({ "bytes": outcome?, "ended": ended, "usage": used }))
    }
}

/// Method of receiving.
enum Sink {
    /// Into memory.
    Read(Vec<u8>),
    /// Discarded by TCP (`MSG_TRUNC`, tcp(7)).
    Truncate(Vec<u8>),
    /// Through a pipe to /dev/null.
    Splice(OwnedFd, OwnedFd, File),
}

impl Sink {
    fn new(mode: &str) -> Result<Self> {
        Ok(match mode {
            "read" | "decrypt" => Self::Read(vec![1; RECEIVE_SIZE]),
            "truncate" => Self::Truncate(vec![1; RECEIVE_SIZE]),
            "splice" => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).context("open", "a pipe")?;
                let null = File::options().write(true).open("/dev/null");
                Self::Splice(read, write, null.context("open", "/dev/null")?)
            }
            other => return Err(Error::new("receive by", other, "unknown receive mode")),
        })
    }

    fn drain(&mut self, from: BorrowedFd<'_>) -> Result<u64> {
        let mut total = 0;
        loop {
            let received = self.receive_some(from).context("receive", "bytes")?;
            if received == 0 {
                return Ok(total);
            }
            total += received as u64;
        }
    }

    fn receive_some(&mut self, from: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        match self {
            Self::Read(buffer) => rustix::io::retry_on_intr(|| {
                recv(from, &mut buffer[..], RecvFlags::empty()).map(|(_, received)| received)
            }),
            Self::Truncate(buffer) => rustix::io::retry_on_intr(|| {
                recv(from, &mut buffer[..], RecvFlags::TRUNC).map(|(_, received)| received)
            }),
            Self::Splice(read, write, null) => {
                let received = splice(from, None, &*write, None, RECEIVE_SIZE, SpliceFlags::MOVE)?;
                let mut left = received;
                while left > 0 {
                    left -= splice(&*read, None, &*null, None, left, SpliceFlags::MOVE)?;
                }
                Ok(received)
            }
        }
    }
}
