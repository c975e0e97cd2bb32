//! Descriptors that this process got from the one that started it, by number (sd_listen_fds(3)).

use rustix::io::{self, Errno};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use crate::last_errno;

/// Takes inherited descriptors with consecutive numbers, and sets their `FD_CLOEXEC`. A second call for the same
/// numbers fails, because the flag is set then.
///
/// # Errors
/// `EBADF` for a number that is not open, or that this program has opened itself: all that it opens have
/// `FD_CLOEXEC` from the first.
pub fn inherited_descriptors(first: RawFd, count: usize) -> io::Result<Vec<OwnedFd>> {
    (first..).take(count).map(take).collect()
}

fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag of a number, whether it is open or not.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(last_errno());
    }
    if number <= libc::STDERR_FILENO || flags & libc::FD_CLOEXEC != 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: F_SETFD changes a flag of a descriptor that no value of this program owns: the standard library,
    // rustix and this crate set FD_CLOEXEC on each that they open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(last_errno());
    }
    // SAFETY: it is open, and from now on this value owns it alone: another call sees the flag.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_setfd};
    use std::os::fd::{AsRawFd as _, IntoRawFd as _};

    #[test]
    fn a_descriptor_is_taken_once() {
        let file = tempfile::tempfile().unwrap();
        let number = file.as_raw_fd();
        assert_eq!(
            inherited_descriptors(number, 1).unwrap_err(),
            Errno::BADF,
            "this program's own"
        );
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        // As after execve(2), no value owns the number.
        let number_of_file = file.into_raw_fd();
        let taken = inherited_descriptors(number_of_file, 1).unwrap();
        assert_eq!(taken[0].as_raw_fd(), number);
        assert_eq!(inherited_descriptors(number, 1).unwrap_err(), Errno::BADF);
    }

    #[test]
    fn standard_streams_and_closed_numbers_are_refused() {
        assert_eq!(inherited_descriptors(0, 1).unwrap_err(), Errno::BADF);
        assert_eq!(inherited_descriptors(1 << 20, 1).unwrap_err(), Errno::BADF);
    }
}
