//! Connections on a completion model: the event loop starts operations, and the driver reports which of
//! them are complete.

mod accept;
mod backend;
mod connection;
pub(crate) mod event_loop;
mod gather;
mod listeners;
mod open;
mod pipes;
mod receive;
mod relay;
mod send;
mod splice;
mod stage;
