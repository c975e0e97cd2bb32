//! Connections on a completion model: the event loop starts operations, and the driver reports what has
//! been done.

mod accept;
mod connection;
mod context;
pub(crate) mod event_loop;
mod open;
mod pipes;
mod relay;
mod send;
mod wakeup;
