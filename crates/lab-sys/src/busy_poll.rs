//! Busy polling of network sockets: a receive polls the queue of the device before it sleeps.
//! `SO_BUSY_POLL`, socket(7), Linux 3.11; `SO_INCOMING_NAPI_ID`, 4.12; `EPIOCSPARAMS`,
//! ioctl_eventpoll(2), 6.9.
//!
//! # Limitations
//! It acts only on a device whose driver uses NAPI, and after the first packet, which tells the
//! socket the queue. The kernel accepts the options for every socket all the same.

use rustix::io::{Errno, Result};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::last_errno;

/// `EPIOCSPARAMS` of linux/eventpoll.h: `_IOW(0x8A, 1, struct epoll_params)`.
const EPIOCSPARAMS: u32 = 0x4008_8a01;

/// `struct epoll_params` of linux/eventpoll.h.
#[repr(C)]
struct EpollParameters {
    microseconds: u32,
    budget: u16,
    prefer: u8,
    padding: u8,
}

/// Makes blocking receives on the socket poll for as many microseconds before they sleep.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN on some kernels, `EINVAL` for more than `i32::MAX`, `ENOPROTOOPT` if
/// the kernel has no busy polling.
pub fn set_socket_busy_poll(socket: BorrowedFd<'_>, microseconds: u32) -> Result<()> {
    let value = i32::try_from(microseconds).map_err(|_| Errno::INVAL)?;
    let length = libc::socklen_t::try_from(size_of_val(&value)).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel reads one integer, which lives on this stack frame.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BUSY_POLL,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Returns the id of the NAPI instance that delivered the last packet of the socket; 0 if the device
/// has none, or no packet has arrived.
///
/// # Errors
/// `ENOPROTOOPT` if the kernel has no busy polling.
pub fn incoming_napi_id(socket: BorrowedFd<'_>) -> Result<u32> {
    let mut id = 0_u32;
    let length = libc::socklen_t::try_from(size_of_val(&id));
    let mut length = length.map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the integer, and the
    // length itself; both live on this stack frame.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_NAPI_ID,
            (&raw mut id).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(id) } else { Err(last_errno()) }
}

/// Makes waits on the epoll instance poll for as many microseconds before they sleep, for at most
/// `budget` packets at a time.
///
/// # Errors
/// `ENOTTY` before Linux 6.9 or if the descriptor is no epoll instance, `EINVAL` for more than
/// `i32::MAX` microseconds, `EPERM` for more than 64 packets without CAP_NET_ADMIN, `EOPNOTSUPP` if
/// the kernel has no busy polling.
pub fn set_epoll_busy_poll(epoll: BorrowedFd<'_>, microseconds: u32, budget: u16) -> Result<()> {
    let parameters = EpollParameters { microseconds, budget, prefer: 0, padding: 0 };
    // SAFETY: the kernel reads the structure, which lives on this stack frame and has the layout and
    // the size of this request. Other descriptors reject the request.
    let result =
        unsafe { libc::ioctl(epoll.as_raw_fd(), EPIOCSPARAMS as _, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    #[test]
    fn loopback_has_no_napi_instance() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        match set_socket_busy_poll(server.as_fd(), 50) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(Errno::NOPROTOOPT) => return println!("skipped: the kernel has no busy polling"),
            Err(errno) => panic!("{errno}"),
        }
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        assert_eq!(incoming_napi_id(server.as_fd()), Ok(0));
        assert_eq!(set_socket_busy_poll(server.as_fd(), u32::MAX), Err(Errno::INVAL));
    }

    #[test]
    fn parameters_of_epoll_need_an_epoll_instance() {
        let other = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        assert_eq!(set_epoll_busy_poll(other.as_fd(), 50, 8), Err(Errno::NOTTY));
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC);
        let epoll = epoll.unwrap();
        match set_epoll_busy_poll(epoll.as_fd(), 50, 8) {
            Ok(()) => {
                let too_long = set_epoll_busy_poll(epoll.as_fd(), u32::MAX, 8);
                assert_eq!(too_long, Err(Errno::INVAL));
            }
            Err(Errno::NOTTY | Errno::OPNOTSUPP) => {
                println!("skipped: the kernel has no parameters of epoll");
            }
            Err(errno) => panic!("{errno}"),
        }
    }
}
