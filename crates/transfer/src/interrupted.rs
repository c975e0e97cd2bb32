//! Repeats calls that a signal interrupted (`EINTR`, signal(7)), a bounded number of times.
//!
//! If the kernel, a file system in user space or a sandbox interrupts every call, a loop without
//! a bound would neither end nor allow its caller to react to the signal.

use rustix::io::{self, Errno};

/// The most attempts before the caller can react.
pub(crate) const ATTEMPTS: u32 = 16;

/// Repeats a call until it is not interrupted; returns `EINTR` if every attempt was.
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
    fn an_interrupted_call_is_repeated_a_bounded_number_of_times() {
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
