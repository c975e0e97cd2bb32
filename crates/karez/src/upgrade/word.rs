//! The words of the messages between a server, its launcher and its successor.

pub(super) const MORE: &str = "more";
pub(super) const LAST: &str = "last";
pub(super) const ACTIVATED: &str = "activated";
pub(super) const BOUND: &str = "bound";
pub(super) const PREPARED: &str = "prepared";
pub(super) const READY: &str = "ready";
pub(super) const FAULT: &str = "fault";
pub(super) const FAILED: &str = "failed";
