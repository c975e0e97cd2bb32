//! Errors that name the failed call: `bind 127.0.0.1:80: Permission denied (os error 13)`.

use rustix::io::Errno;
use std::fmt::Display;
use std::io;

/// Puts the call and its object before the errno.
pub(crate) fn named(what: impl Display) -> impl Fn(Errno) -> io::Error {
    move |errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("{what}: {error}"))
    }
}

/// Names the thread that could not be made, and the call: glibc makes one by clone3(2), and older
/// ones by clone(2).
pub(crate) fn no_thread(name: impl Display) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("clone3, for thread {name}: {error}"))
}
