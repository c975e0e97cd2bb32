//! A file sent in the frames of HTTP/2 (RFC 9113), and in records of TLS that are sealed in user space
//! (RFC 8446).
//!
//! # Limitations
//! Headers are those of the protocol, but no peer reads them: there is no handshake and no stream. The
//! key is a fixed one.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustix::fs::sendfile;
use rustix::io::{pread, writev};
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use serde_json::{Value, json};
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::command::{number, size, text};
use super::sender::{UsageSnapshot, send_all};
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::mark;

/// Bytes of the header of an HTTP/2 frame, and of a TLS record.
const FRAME_HEADER: usize = 9;
const RECORD_HEADER: usize = 5;

/// The most plaintext of a TLS record.
const RECORD: usize = 16 << 10;

/// Sends a file in DATA frames, or in one piece with a frame of 0 bytes: by sendfile, with a header
/// before each frame; or by copying chunks, each of which holds several frames.
pub(super) fn send_frames(connection: &OwnedFd, command: &Value) -> Result<Value> {
    let path = text(command, "file")?;
    let file = File::open(path).context("open", path)?;
    let (bytes, chunk) = (number(command, "bytes")?, size(command, "chunk")?);
    let frame = size(command, "frame")?;
    let before = UsageSnapshot::now();
    mark::begin();
    let outcome = if text(command, "by")? == "sendfile" {
        by_sendfile(
            connection.as_fd(),
            &file,
            bytes,
            if frame == 0 { chunk } else { frame },
            frame > 0,
        )
    } else {
        by_copy(connection.as_fd(), &file, bytes, chunk, frame)
    };
    mark::end();
    let used = before.elapsed();
    shutdown(connection, Shutdown::Write).context("shut down", "the connection")?;
    outcome?;
    Ok(json!({ "usage": used }))
}

fn by_sendfile(
    to: BorrowedFd<'_>,
    file: &File,
    bytes: u64,
    piece: usize,
    has_header: bool,
) -> Result<()> {
    let mut offset = 0;
    while offset < bytes {
        if has_header {
            send(to, &[0; FRAME_HEADER], SendFlags::MORE).context("send", "a header")?;
        }
        let end = bytes.min(offset + piece as u64);
        while offset < end {
            let left = usize::try_from(end - offset).context("read", "a size")?;
            if sendfile(to, file, Some(&mut offset), left).context("send", "the file")? == 0 {
                return Err(Error::new("send", "the file", "it is shorter"));
            }
        }
    }
    Ok(())
}

fn by_copy(to: BorrowedFd<'_>, file: &File, bytes: u64, chunk: usize, frame: usize) -> Result<()> {
    let (mut buffer, mut offset) = (vec![1; chunk], 0);
    while offset < bytes {
        let count = pread(file, &mut buffer, offset).context("read", "the file")?;
        let mut parts = Vec::new();
        for piece in buffer[..count].chunks(if frame == 0 { chunk } else { frame }) {
            if frame > 0 {
                parts.push(IoSlice::new(&[0; FRAME_HEADER]));
            }
            parts.push(IoSlice::new(piece));
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // The socket is blocking, so it takes everything.
        if count == 0 || writev(to, &parts).context("send", "bytes")? < length {
            return Err(Error::new("send", "the file", "it is shorter"));
        }
        offset += count as u64;
    }
    Ok(())
}

/// Sends a file in records that are sealed here, and replies with the bytes that the cipher has passed
/// over.
pub(super) fn send_sealed(connection: &OwnedFd, command: &Value) -> Result<Value> {
    let path = text(command, "file")?;
    let file = File::open(path).context("open", path)?;
    let bytes = number(command, "bytes")?;
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]);
    let key = LessSafeKey::new(key.map_err(|_| Error::new("make", "a key", "wrong length"))?);
    let mut record = vec![1; RECORD_HEADER + RECORD + AES_128_GCM.tag_len()];
    let (mut offset, mut sealed) = (0, 0);
    mark::begin();
    while offset < bytes {
        let plain = &mut record[RECORD_HEADER..RECORD_HEADER + RECORD];
        let count = pread(&file, plain, offset).context("read", "the file")?;
        if count == 0 {
            return Err(Error::new("send", "the file", "it is shorter"));
        }
        let mut nonce = [9; NONCE_LEN];
        nonce[..8].copy_from_slice(&offset.to_ne_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(
            nonce,
            Aad::empty(),
            &mut record[RECORD_HEADER..][..count],
        );
        let tag = tag.map_err(|_| Error::new("seal", "a record", "the cipher has failed"))?;
        let end = RECORD_HEADER + count;
        record[end..end + tag.as_ref().len()].copy_from_slice(tag.as_ref());
        send_all(connection.as_fd(), &record[..end + tag.as_ref().len()])?;
        offset += count as u64;
        sealed += count;
    }
    mark::end();
    shutdown(connection, Shutdown::Write).context("shut down", "the connection")?;
    Ok(json!({ "sealed": sealed }))
}
