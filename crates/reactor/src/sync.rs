//! State that threads share: queues that wake an event loop, the worker pool, mailboxes.

pub(crate) mod balancer;
pub(crate) mod inbox;
pub(crate) mod liveness;
pub(crate) mod mailbox;
pub(crate) mod offload;
pub(crate) mod pool;
pub(crate) mod wake_queue;
pub(crate) mod waker;
