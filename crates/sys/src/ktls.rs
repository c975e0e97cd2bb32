//! Kernel TLS: Documentation/networking/tls.rst, linux/tls.h.
//!
//! After a handshake in user space the kernel can take over the record layer of a TCP socket, each
//! direction by itself (`TLS_TX` since Linux 4.13, `TLS_RX` since 4.17, TLS 1.3 since 5.1,
//! ChaCha20-Poly1305 since 5.11). Then send(2), sendfile(2), splice(2) and recv(2) move plaintext.
//! Records of another content type than `application_data` need a control message each way.
//!
//! # Limitations
//!
//! The module `tls` has to be loadable, which many containers do not allow. A socket
//! cannot return to plain TCP. Keys can be set once a direction until Linux 6.14 (then `EBUSY`), so the key
//! updates of TLS 1.3 cannot be followed before. The kernel counts no records: the caller
//! has to stop before a key is used up. A control record makes a plain recv(2) fail with `EIO`. After a
//! record that does not open (`EBADMSG`), sends fail, too, until `SO_ERROR` has been read.

use rustix::io;
use rustix::net::{RecvFlags, SendFlags};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::from_mut;

use crate::last_errno;

mod keys;
#[cfg(test)]
mod tests;

pub use keys::{TlsCipher, TlsKeys, TlsVersion};

/// Of linux/tcp.h and linux/tls.h, which libc names in part.
const TCP_ULP: i32 = 31;
const TLS_TX: i32 = 1;
const TLS_RX: i32 = 2;
const TLS_SET_RECORD_TYPE: i32 = 1;
const TLS_GET_RECORD_TYPE: i32 = 2;

/// A direction of a TLS connection, as the owner of the socket sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsDirection {
    /// Records that are sent.
    Tx,
    /// Records that are received.
    Rx,
}

/// Puts kernel TLS (`TCP_ULP`, tcp(7)) on a connected TCP socket. Nothing changes for its bytes until
/// keys are [set](set_tls_keys).
///
/// # Errors
/// `ENOENT` where the module is missing or cannot be loaded; `EEXIST` if it is there already;
/// `ENOTCONN` before the connection is established and after the peer's FIN; `EOPNOTSUPP` or `ENOPROTOOPT` for another kind of
/// socket.
pub fn enable_ktls(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, TCP_ULP, b"tls")
}

/// Has the kernel seal sent bytes, or open received ones, from the next byte on. The kernel needs every
/// byte behind the handshake, so the handshake must not read beyond its end.
///
/// # Errors
/// `ENOPROTOOPT` without [`enable_ktls`]; `EINVAL` or `ENOENT` for a version or cipher that this kernel
/// does not take; `EBUSY` if the direction has keys and the kernel cannot change them (before 6.14).
pub fn set_tls_keys(
    socket: BorrowedFd<'_>,
    direction: TlsDirection,
    keys: &TlsKeys,
) -> io::Result<()> {
    let name = match direction {
        TlsDirection::Tx => TLS_TX,
        TlsDirection::Rx => TLS_RX,
    };
    set(socket, libc::SOL_TLS, name, keys.info().as_bytes())
}

/// Has the kernel take over a direction: as [`enable_ktls`], unless the socket has kernel TLS already,
/// and [`set_tls_keys`].
///
/// # Errors
/// As those two.
pub fn start_ktls(
    socket: BorrowedFd<'_>,
    direction: TlsDirection,
    keys: &TlsKeys,
) -> io::Result<()> {
    match enable_ktls(socket) {
        Ok(()) | Err(io::Errno::EXIST) => set_tls_keys(socket, direction, keys),
        Err(errno) => Err(errno),
    }
}

fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let (pointer, length) = (value.as_ptr().cast(), socklen(value.len()));
    // SAFETY: the kernel reads `length` bytes at `pointer`, which are those of the slice.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, pointer, length) };
    if set == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Room for one control message of one byte, aligned as it has to be.
#[repr(C, align(8))]
struct Control([u8; 32]);

/// Sends a record of the content type `kind` on a socket whose `Tx` keys are set. As with send(2), less
/// than all of it may be sent; the rest then needs a record of its own.
///
/// # Errors
/// As sendmsg(2); `EINVAL` or `ENOPROTOOPT` where the kernel does not seal.
pub fn send_tls_record(
    socket: BorrowedFd<'_>,
    kind: u8,
    bytes: &[u8],
    flags: SendFlags,
) -> io::Result<usize> {
    let mut control = Control([0; 32]);
    let mut slice =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a message header of zeros is a valid one: no address, no bytes, no control.
    let mut message: libc::msghdr = unsafe { zeroed() };
    (message.msg_iov, message.msg_iovlen) = (from_mut(&mut slice), 1);
    message.msg_control = from_mut(&mut control).cast();
    // SAFETY: it computes a length and touches no memory.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(1) } as _;
    // SAFETY: the header says that `control` has room for a whole control message.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: as above.
    let length = unsafe { libc::CMSG_LEN(1) };
    let header = libc::cmsghdr {
        cmsg_len: length as _,
        cmsg_level: libc::SOL_TLS,
        cmsg_type: TLS_SET_RECORD_TYPE,
    };
    // SAFETY: `first` points into `control`, which is aligned and longer than a header.
    unsafe { first.write(header) };
    // SAFETY: the data of a control message follow its header, inside `control`.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: there is room for one byte: `CMSG_SPACE(1)` is at most 32.
    unsafe { data.write(kind) };
    let flags = flags.bits().cast_signed();
    // SAFETY: the kernel reads `bytes` and `control`, which are as long as the header says.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    usize::try_from(sent).map_err(|_| last_errno())
}

/// Receives from a socket whose `Rx` keys are set, and returns how many bytes, 0 at the end of the
/// stream, and the content type of the record they are of (`None`: the kernel named none, so they are
/// bytes of the stream). One call returns bytes of one type only. The rest of a record that is longer
/// than `buffer` is returned by the next call.
///
/// # Errors
/// As recvmsg(2); `EBADMSG` for a record that does not open, `EMSGSIZE` for one that is too long,
/// `EKEYEXPIRED` while the keys behind a key update are awaited (since 6.14).
pub fn receive_tls_record(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Option<u8>)> {
    let mut control = Control([0; 32]);
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a message header of zeros is a valid one: no address, no bytes, no control.
    let mut message: libc::msghdr = unsafe { zeroed() };
    (message.msg_iov, message.msg_iovlen) = (from_mut(&mut slice), 1);
    message.msg_control = from_mut(&mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = flags.bits().cast_signed();
    // SAFETY: the kernel writes to `buffer` and `control`, which are as long as the header says.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let received = usize::try_from(received).map_err(|_| last_errno())?;
    // SAFETY: the kernel has filled the header in; the control messages lie in `control`.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if first.is_null() {
        return Ok((received, None));
    }
    // SAFETY: not null, so it points to a whole header inside `control`.
    let header = unsafe { *first };
    if header.cmsg_level != libc::SOL_TLS || header.cmsg_type != TLS_GET_RECORD_TYPE {
        return Ok((received, None));
    }
    // SAFETY: the data of a control message follow its header.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: a message of this type has one byte.
    let kind = unsafe { data.read() };
    Ok((received, Some(kind)))
}

fn socklen(length: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(length).unwrap_or(libc::socklen_t::MAX)
}
