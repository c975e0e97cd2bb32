//! Counters in the running kernel: BPF programs on BTF tracepoints, filtered by process, socket and
//! file.

pub(crate) mod attach;
mod counters;
mod counts;
mod layout;
pub(crate) mod mark;
mod names;
mod scope;

pub use attach::Unavailable;
pub use counters::{Counters, Missing};
pub use counts::{Counts, Disk, ProcessCounts, Provenance, SystemCall};
pub use names::call_name;
pub use scope::{FileId, Scope};
