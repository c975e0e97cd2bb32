//! Calls that a signal interrupted (`EINTR`, signal(7)) are made again, a bounded number of times.
//!
//! Where the kernel, a file system in user space or a sandbox interrupts every call, a loop without
//! a bound would neither end nor let its caller look at what the signal asked for.

use rustix::io::{self, Errno};

/// So often in a row; then the caller has a look.
pub(crate) const ATTEMPTS: u32 = 16;

/// Makes a call until it is not interrupted; `EINTR` means that it always was.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
    call()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_again_but_not_for_ever() {
        let mut calls = 0;
        let outcome = retry(|| {
            calls += 1;
            if calls < ATTEMPTS { Err(Errno::INTR) } else { Ok(7) }
        });
        assert_eq!((outcome, calls), (Ok(7), ATTEMPTS));
        let mut calls = 0;
        let outcome = retry(|| {
            calls += 1;
            Err::<(), _>(Errno::INTR)
        });
        assert_eq!((outcome, calls), (Err(Errno::INTR), ATTEMPTS));
        assert_eq!(retry(|| Err::<(), _>(Errno::IO)), Err(Errno::IO));
    }
}
