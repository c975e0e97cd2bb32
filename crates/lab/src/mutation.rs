//! The mutation probe: tests whether sent data still refers to the file.
//!
//! It sends a part of a file and overwrites the file before the receiver reads. If the old bytes
//! arrive, they were copied; if the new bytes arrive, the socket refers to the page cache. This
//! proves a copy, or its absence, without privileges. It relies on the notes in sendfile(2).
//!
//! # Limitations
//! It tests 16 KiB and generalises. It cannot distinguish one copy from two. A copy made between
//! the send and the overwrite (loopback copies data of `MSG_ZEROCOPY`) looks like an immediate
//! copy.

use karez_transfer::{Direction, FileToSocket, Progress, Via};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorContext as _, Result};
use crate::language::msg;
use crate::transport::Transport;

/// Size that every socket buffer accepts and every via handles with its own method.
const PIECE: usize = 16 << 10;

const OLD: u8 = b'A';
const NEW: u8 = b'B';

/// Result of the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyVerdict {
    /// The receiver got the new bytes: the old ones were not copied.
    Aliased,
    /// The receiver got the old bytes: they were copied.
    Copied,
    /// The kernel does not support this via here: its error.
    Refused(String),
}

impl fmt::Display for CopyVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aliased => f.pad(msg!("aliased")),
            Self::Copied => f.pad(msg!("copied")),
            Self::Refused(why) => write!(f, "unsupported: {why}"),
        }
    }
}

/// Result for one via over one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// The via.
    pub via: Via,
    /// The transport.
    pub transport: Transport,
    /// The result.
    pub verdict: CopyVerdict,
}

/// Probes every via over a UNIX socket and over loopback, with a file in `directory`.
///
/// # Errors
/// If no file or socket can be created.
pub fn mutations(directory: &Path) -> Result<Vec<Mutation>> {
    let mut all = Vec::new();
    for transport in [Transport::Unix, Transport::Loopback] {
        for &via in Direction::FileToSocket.vias().iter().filter(|&&via| via != Via::Auto) {
            all.push(Mutation {
                via,
                transport,
                verdict: mutation_probe(via, transport, directory)?,
            });
        }
    }
    Ok(all)
}

/// Sends a part of a file in `directory` by `via`, overwrites the file and checks the received
/// bytes.
///
/// # Errors
/// If no file or socket can be created, or a mixture of old and new bytes arrives.
pub fn mutation_probe(via: Via, transport: Transport, directory: &Path) -> Result<CopyVerdict> {
    let mut file =
        tempfile::tempfile_in(directory).context("make a file in", directory.display())?;
    file.write_all(&[OLD; PIECE]).context("write", "a file")?;
    rustix::fs::fdatasync(&file).context("sync", "a file")?;
    let writer = file.try_clone().context("duplicate", "a file")?;
    let (out, mut peer) = connected(transport)?;

    let mut transfer = FileToSocket::new(Arc::new(file), 0..PIECE as u64, via);
    loop {
        match transfer.step(out.as_fd()).context("send by", via)? {
            Progress::Moved(_) => {}
            Progress::Done | Progress::NeedsZerocopyCompletion => break,
            other => return Err(Error::new("send by", via, format_args!("{other:?}"))),
        }
    }
    if let Some(refused) = transfer.report().fallbacks.first() {
        return Ok(CopyVerdict::Refused(refused.reason.to_string()));
    }
    // The kernel may still copy data in transit, so it waits for the arrival.
    let there = &mut [PollFd::new(&peer, PollFlags::IN)];
    poll(there, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).context("wait for", "the bytes")?;
    writer.write_all_at(&[NEW; PIECE], 0).context("overwrite", "a file")?;

    let mut arrived = vec![0; PIECE];
    peer.read_exact(&mut arrived).context("receive", "the bytes")?;
    if arrived.iter().all(|&byte| byte == OLD) {
        return Ok(CopyVerdict::Copied);
    }
    if arrived.iter().all(|&byte| byte == NEW) {
        return Ok(CopyVerdict::Aliased);
    }
    Err(Error::new("send by", via, "old and new bytes arrived"))
}

/// Opens a connection; the second end can be read like a file.
fn connected(transport: Transport) -> Result<(OwnedFd, File)> {
    if !transport.is_tcp() {
        let (out, peer) = UnixStream::pair().context("open", "a socket pair")?;
        return Ok((out.into(), OwnedFd::from(peer).into()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on", "loopback")?;
    let address = listener.local_addr().context("get the address of", "a socket")?;
    let out = TcpStream::connect(address).context("connect to", address)?;
    let (peer, _) = listener.accept().context("accept from", address)?;
    Ok((out.into(), OwnedFd::from(peer).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vias_by_reference_are_aliased_and_the_rest_copied() {
        // Not a temporary directory, which may be tmpfs.
        for one in mutations(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap() {
            let expected = match one.via {
                Via::Sendfile | Via::Splice => CopyVerdict::Aliased,
                _ => CopyVerdict::Copied,
            };
            let refused = matches!(one.verdict, CopyVerdict::Refused(_));
            assert!(one.verdict == expected || refused, "{one:?}");
            assert!(!refused || matches!(one.via, Via::Zerocopy | Via::Direct), "{one:?}");
        }
    }
}
