//! `SO_ZEROCOPY` and its notifications: socket(7), Documentation/networking/msg_zerocopy.rst.
//!
//! After a `send` with `MSG_ZEROCOPY` (Linux 4.14; TCP) the socket refers to the sender's pages.
//! The socket's error queue reports when they are released, and whether the kernel copied the bytes
//! after all.
//!
//! # Limitations
//!
//! Pinning pages and reading completions cost more than copying below some
//! 10 KiB. On loopback, and with a packet sniffer, the kernel copies anyway. Every poller reports an
//! entry in the error queue as an error (`EPOLLERR`).

use rustix::io;
use rustix::net::{RecvFlags, SendFlags};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::from_mut;

use crate::last_errno;

/// The flag of send(2).
pub const MSG_ZEROCOPY: SendFlags = SendFlags::from_bits_retain(libc::MSG_ZEROCOPY as u32);

/// `SO_ZEROCOPY` of asm-generic/socket.h, which libc lacks for some targets.
const SO_ZEROCOPY: i32 = 60;

/// `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED` of linux/errqueue.h.
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_COPIED: u8 = 1;

/// Reports that the pages of the sends `first..=last` of a socket, counted from 0 and wrapping, have been
/// released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZerocopyCompletion {
    /// The number of the first send.
    pub first: u32,
    /// The number of the last send.
    pub last: u32,
    /// The kernel copied the bytes instead of referring to them.
    pub copied: bool,
}

impl ZerocopyCompletion {
    /// Returns the number of sends.
    #[must_use]
    pub fn sends(&self) -> u32 {
        self.last.wrapping_sub(self.first).wrapping_add(1)
    }
}

/// Enables `MSG_ZEROCOPY` on `socket`.
///
/// # Errors
/// `EOPNOTSUPP` for a socket that does not support it, such as a UNIX socket; `ENOPROTOOPT`
/// before Linux 4.14.
pub fn enable_zerocopy(socket: BorrowedFd<'_>) -> io::Result<()> {
    let one: libc::c_int = 1;
    let (level, name) = (libc::SOL_SOCKET, SO_ZEROCOPY);
    let (value, length) = ((&raw const one).cast(), socklen::<libc::c_int>());
    // SAFETY: the kernel reads `length` bytes at `value`, which is the integer above.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) };
    if set == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Takes the next completion from the error queue of `socket`; `None` if there is none.
///
/// Never blocks. Other entries of the queue (ICMP errors) are dropped.
///
/// # Errors
/// As recvmsg(2).
pub fn next_zerocopy_completion(socket: BorrowedFd<'_>) -> io::Result<Option<ZerocopyCompletion>> {
    loop {
        match receive_error(socket) {
            Ok(Some(released)) => return Ok(Some(released)),
            Ok(None) | Err(io::Errno::INTR) => {}
            Err(io::Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// A buffer for the control messages of one error, with their alignment.
#[repr(C, align(8))]
struct ErrorControl([u8; 128]);

/// Returns one entry of the error queue; `None` if it is of another kind.
fn receive_error(socket: BorrowedFd<'_>) -> io::Result<Option<ZerocopyCompletion>> {
    let mut control = ErrorControl([0; 128]);
    // SAFETY: a message header of zeros is a valid one: no address, no bytes, no control.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_control = from_mut(&mut control).cast();
    message.msg_controllen = size_of::<ErrorControl>() as _;
    let flags = RecvFlags::ERRQUEUE.union(RecvFlags::DONTWAIT).bits().cast_signed();
    // SAFETY: the header points to nothing but `control`, which is as long as it says.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    if received < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has filled the header in; the control messages lie in `control`.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if first.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, so it points to a whole header inside `control`.
    let header = unsafe { *first };
    let expected = size_of::<libc::cmsghdr>() + size_of::<libc::sock_extended_err>();
    let of_ip = header.cmsg_level == libc::SOL_IP && header.cmsg_type == libc::IP_RECVERR;
    let of_ipv6 = header.cmsg_level == libc::SOL_IPV6 && header.cmsg_type == libc::IPV6_RECVERR;
    if !(of_ip || of_ipv6) || (header.cmsg_len as usize) < expected {
        return Ok(None);
    }
    // SAFETY: the message is long enough to have its data.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: an extended error is there, by level, type and length; `read_unaligned` because
    // control data promises less alignment than the struct wants.
    let error = unsafe { data.cast::<libc::sock_extended_err>().read_unaligned() };
    let ours = error.ee_origin == ORIGIN_ZEROCOPY && error.ee_errno == 0;
    Ok(ours.then_some(ZerocopyCompletion {
        first: error.ee_info,
        last: error.ee_data,
        copied: error.ee_code & CODE_COPIED != 0,
    }))
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_completion_has_the_numbers_of_its_sends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        enable_zerocopy(near.as_fd()).unwrap();
        assert_eq!(next_zerocopy_completion(near.as_fd()), Ok(None));

        let bytes = vec![7; 64 << 10];
        let mut sends = 0;
        for _ in 0..2 {
            let mut left = &bytes[..];
            while !left.is_empty() {
                left = &left[rustix::net::send(&near, left, MSG_ZEROCOPY).unwrap()..];
                sends += 1;
            }
        }
        far.read_exact(&mut vec![0; 2 * bytes.len()]).unwrap();
        let mut released = 0;
        while released < sends {
            poll(&mut [PollFd::new(&near, PollFlags::empty())], None).unwrap();
            while let Some(notice) = next_zerocopy_completion(near.as_fd()).unwrap() {
                assert_eq!(notice.first, released, "in order on TCP");
                released += notice.sends();
            }
        }
        assert_eq!(released, sends);
    }

    #[test]
    fn a_unix_socket_does_not_support_it() {
        let (near, _far) = UnixStream::pair().unwrap();
        assert_eq!(enable_zerocopy(near.as_fd()), Err(io::Errno::OPNOTSUPP));
    }

    #[test]
    fn numbers_wrap() {
        let released = ZerocopyCompletion { first: u32::MAX, last: 1, copied: false };
        assert_eq!(released.sends(), 3);
    }
}
