//! Fault injection: a plan makes chosen system calls fail, move fewer bytes, or wait. For tests only (the
//! cargo feature `fault-injection`).
//!
//! A seccomp(2) filter sends the calls of a table (`calls.rs`) to a handler of `SIGSYS`, which consults the
//! plan and makes the call itself, so every call is covered that the program, its libraries or the C library
//! make, and the program under test is the one that ships. Operations of a [`Ring`](crate::Ring) are
//! no system calls: one that is to fail is replaced by one that cannot succeed, and its completion gets the
//! errno of the plan (io_uring(7)). Nothing is injected after a call: bytes of a failed one have not
//! moved, so the caller sees only results that the kernel could have returned.
//!
//! The plan is in a [`Board`], a file that a test shares with the process under test: it arms another plan
//! between two runs, and reads how often each call was made.
//!
//! ```
//! use karez_sys::faults::Plan;
//!
//! let plan: Plan = "sendfile:3=EIO,accept4:*=EMFILE/10%,pread64:2-9=short".parse().unwrap();
//! assert_eq!(plan.to_string(), "sendfile:3=EIO,accept4:*=EMFILE/10%,pread64:2-9=short");
//! ```
//!
//! # Limitations
//!
//! Calls are trapped on x86-64 with glibc only. A process made by execve(2) inherits the filter without the handler, and is
//! killed. clone(2) is not trapped, because a handler cannot make it; neither is mmap(2) of memory without
//! a file, which only the allocator uses. A multishot operation fails when it is started, not later.

mod board;
mod calls;
mod plan;
mod random;
#[cfg(feature = "uring")]
pub(crate) mod ring;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod short;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod trap;

pub use board::Board;
pub use calls::Count;
pub use plan::{Effect, Plan, PlanError, Rule};

use std::io;
use std::path::Path;

/// Injects faults into this process from now on: `text` is a [`Plan`], or `@` and the name of a [`Board`].
///
/// # Errors
/// The text is not a plan; the board cannot be opened; the kernel or the architecture cannot trap calls.
pub fn inject(text: &str) -> io::Result<()> {
    let board = match text.strip_prefix('@') {
        Some(path) => Board::open(Path::new(path))?,
        None => {
            let plan: Plan = text.parse().map_err(io::Error::other)?;
            let board = Board::anonymous()?;
            board.arm(&plan);
            board
        }
    };
    board::set_current(board);
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    return trap::install().map_err(io::Error::from);
    #[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
    Err(io::ErrorKind::Unsupported.into())
}
