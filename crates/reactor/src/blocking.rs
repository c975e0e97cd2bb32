//! A thread per connection, whose calls block.

mod connection;
pub(crate) mod event_loop;
mod offload;
mod pool;
mod receive;
mod registry;
mod relay;
mod send;
mod wait;
