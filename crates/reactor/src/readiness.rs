//! Connections on a readiness model: the selector reports which sockets can be read or written, and the
//! event loop makes the calls.

mod accept;
mod connection;
pub(crate) mod event_loop;
mod listeners;
mod overdue;
mod peer_watch;
mod receive;
pub(crate) mod relay;
mod send;
mod upstream;
