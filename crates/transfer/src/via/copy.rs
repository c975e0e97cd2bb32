//! `pread(2)` and `send(2)`: the bytes visit user space.
//!
//! Since always. It needs nothing of the file but that it can be read at an offset, and nothing
//! of the socket, so it is the last rung of the ladder.
//!
//! What it does badly: two system calls and two copies by the CPU per chunk, which also wash
//! through the caches. No unsent remainder is kept: what the socket did not take is read again,
//! so that ten thousand slow readers hold no buffer each.

use rustix::io;
use rustix::net::{SendFlags, send};

use crate::report::Calls;
use crate::scratch;
use crate::step::Piece;

/// Sends up to `len` bytes from `offset`; 0 means that the file ends there.
/// `more` says that the outbox has something behind these `len` bytes.
pub(crate) fn step(piece: Piece<'_>, calls: &mut Calls) -> io::Result<u64> {
    let Piece { file, offset, len, out, more } = piece;
    scratch::with(|buffer| {
        let count = usize::try_from(len).unwrap_or(usize::MAX).min(buffer.len());
        calls.pread += 1;
        let got = rustix::io::pread(file, &mut buffer[..count], offset)?;
        if got == 0 {
            return Ok(0);
        }
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, more || (got as u64) < len);
        calls.send += 1;
        send(out, &buffer[..got], flags).map(|sent| sent as u64)
    })
}
