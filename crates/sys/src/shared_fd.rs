//! Descriptors that operations share with their callers.

use std::os::fd::AsFd;
use std::sync::Arc;

/// A descriptor that stays open as long as an operation needs it.
pub type SharedFd = Arc<dyn AsFd + Send + Sync>;
