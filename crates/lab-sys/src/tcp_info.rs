//! Counters of a TCP connection: `TCP_INFO`, tcp(7); data segments since Linux 4.6.
//!
//! # Limitations
//! A segment is one as TCP made it: the device may split it (TSO), and a retransmission counts
//! again.

use rustix::io::{Errno, Result};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::last_errno;

/// Offset of `tcpi_data_segs_out` in `struct tcp_info` of linux/tcp.h.
const DATA_SEGMENTS_OUT: usize = 156;

/// Above the size of the structure; the kernel returns how much of it it has written.
const SPACE: usize = 512;

/// Returns the number of segments with data that the connection has sent.
///
/// # Errors
/// `EOPNOTSUPP` if the socket is not TCP, `ENOSYS` if the kernel does not count them.
pub fn data_segments_sent(socket: BorrowedFd<'_>) -> Result<u32> {
    let mut info = [0_u8; SPACE];
    let mut length = libc::socklen_t::try_from(SPACE).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the array, and the
    // length itself; both live on this stack frame.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(last_errno());
    }
    let written = info.get(..length as usize).ok_or(Errno::INVAL)?;
    let counter = written.get(DATA_SEGMENTS_OUT..DATA_SEGMENTS_OUT + 4).ok_or(Errno::NOSYS)?;
    let mut number = [0; 4];
    number.copy_from_slice(counter);
    Ok(u32::from_ne_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd as _;

    #[test]
    fn each_send_is_a_segment_without_nagle() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(data_segments_sent(client.as_fd()), Ok(0));
        for sent in 1..=3 {
            client.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();
            assert_eq!(data_segments_sent(client.as_fd()), Ok(sent));
        }
    }

    #[test]
    fn other_sockets_are_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(data_segments_sent(socket.as_fd()).is_err());
    }
}
