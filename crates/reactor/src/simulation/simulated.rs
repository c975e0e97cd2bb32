//! What the two backends do for a simulation in their own ways.

use std::io;

/// The part of a simulated event loop that depends on the backend.
pub(crate) trait Simulated {
    fn step(&mut self) -> io::Result<()>;
    fn end(&mut self);
    fn find_lost_wakeup(&mut self) -> Option<String>;
}
