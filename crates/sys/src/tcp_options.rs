//! Options of TCP sockets that rustix lacks: `SO_MAX_PACING_RATE` (Linux 3.13) and `TCP_NOTSENT_LOWAT`
//! (Linux 3.12), which no man page has.
//!
//! An accepted socket inherits both from its listener.
//!
//! # Limitations
//!
//! A rate is exact over seconds only: the kernel sends bursts of at least two segments.

use rustix::io;
use std::ffi::c_ulong;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::from_mut;

use crate::last_errno;

/// Sets the highest rate at which the kernel sends, in bytes per second. The packets are paced by the
/// queueing discipline `fq` if the interface has it, and otherwise by TCP itself (Linux 4.13).
///
/// # Errors
/// As setsockopt(2). Before Linux 5.0 the rate has 32 bits.
pub fn set_max_pacing_rate(socket: BorrowedFd<'_>, bytes_per_second: u64) -> io::Result<()> {
    let rate = c_ulong::try_from(bytes_per_second).unwrap_or(c_ulong::MAX);
    set(socket, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &rate.to_ne_bytes())
}

/// Returns the highest rate at which the kernel sends, in bytes per second; the largest number if there
/// is no limit.
///
/// # Errors
/// As getsockopt(2).
pub fn max_pacing_rate(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut rate = [0; size_of::<c_ulong>()];
    get(socket, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &mut rate)?;
    #[allow(clippy::useless_conversion, reason = "the width depends on the architecture")]
    Ok(c_ulong::from_ne_bytes(rate).into())
}

/// Sets how many bytes that have not been sent a socket may hold before it stops being writable; 0
/// stands for the system's value (`net.ipv4.tcp_notsent_lowat`).
///
/// # Errors
/// As setsockopt(2); `EOPNOTSUPP` or `ENOPROTOOPT` for another kind of socket.
pub fn set_notsent_lowat(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &bytes.to_ne_bytes())
}

/// Returns how many bytes that have not been sent a socket may hold; 0 for the system's value.
///
/// # Errors
/// As getsockopt(2).
pub fn notsent_lowat(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes = [0; size_of::<u32>()];
    get(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    let pointer = value.as_ptr().cast();
    // SAFETY: the kernel reads `length` bytes at `pointer`, which are those of the slice.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, pointer, length) };
    if set == 0 { Ok(()) } else { Err(last_errno()) }
}

fn get(socket: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    let pointer = value.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `length` bytes at `pointer`, which are those of the slice, and
    // the number of them to `length`.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, pointer, from_mut(&mut length))
    };
    if got == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(max_pacing_rate(listener.as_fd()), Ok(u64::MAX));
        set_max_pacing_rate(listener.as_fd(), 5 << 30).unwrap();
        set_notsent_lowat(listener.as_fd(), 12_345).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(max_pacing_rate(accepted.as_fd()), Ok(5 << 30));
        assert_eq!(notsent_lowat(accepted.as_fd()), Ok(12_345));
    }

    #[test]
    fn another_kind_of_socket_is_an_error() {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(set_notsent_lowat(socket.as_fd(), 1).is_err());
    }
}
