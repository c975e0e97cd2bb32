//! Confines a process after it has bound its sockets and read its keys.
//!
//! [`User`] and [`drop_privileges`] change to another user, without capabilities and without a way to gain
//! some. [`Permissions`] are enforced by Landlock: files outside the named directories cannot be opened, no
//! file can be written or executed, no TCP connection made, no signal sent to another process. [`SystemCalls`]
//! leaves the system calls that a server makes (seccomp).
//! [`disable_core_dumps`] keeps memory out of files.
//!
//! All of it acts on the calling thread and is inherited by threads that it makes later, so it is called
//! while the process has no other thread. Nothing can be undone.
//!
//! ```
//! use karez_sandbox::Permissions;
//!
//! let directory = tempfile::tempdir()?;
//! let mut permissions = Permissions::default();
//! permissions.read(directory.path());
//! // On a thread of its own, so that the rest of the process is not confined.
//! let confined = std::thread::spawn(move || permissions.enforce(false)).join().expect("no panic")?;
//! println!("Landlock: {confined}");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Limitations
//!
//! A thread that exists already keeps its rights. Code that runs in one thread can change the memory of
//! another, so a thread with more rights weakens the whole process.

mod core_dumps;
mod landlock;
mod privileges;
mod seccomp;

pub use crate::landlock::{Enforced, Permissions};
pub use core_dumps::{disable_core_dumps, forbid_tracing};
pub use privileges::{User, drop_privileges};
pub use seccomp::SystemCalls;

/// Adds the call to an error.
fn failed(call: &str) -> impl Fn(rustix::io::Errno) -> std::io::Error {
    move |errno| {
        let error = std::io::Error::from(errno);
        std::io::Error::new(error.kind(), format!("{call}: {error}"))
    }
}

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
