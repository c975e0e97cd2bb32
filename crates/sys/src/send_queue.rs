//! The fill of a socket's send queue: `SIOCOUTQ` (tcp(7), unix(7)).

use rustix::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::last_errno;

/// Returns how much of what was written to a socket its peer has not acknowledged: bytes of TCP; of a UNIX socket the
/// memory of what the peer has not read.
///
/// # Errors
/// As ioctl(2); `EINVAL` for a listener.
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which lives here.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) } {
        -1 => Err(last_errno()),
        _ => Ok(usize::try_from(count).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    #[test]
    fn bytes_that_the_peer_cannot_take_are_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut ours, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(ours.as_fd()), Ok(0));
        ours.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = ours.write(&[0; 4096]) {
            sent += count;
        }
        assert!(unacknowledged(ours.as_fd()).unwrap() > 0);
        peer.read_exact(&mut vec![0; sent]).unwrap();
        // The acknowledgement may be on its way.
        while unacknowledged(ours.as_fd()).unwrap() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(unacknowledged(listener.as_fd()), Err(io::Errno::INVAL));
    }
}
