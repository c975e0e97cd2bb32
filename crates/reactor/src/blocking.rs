//! A thread per connection, whose calls block.

mod connection;
pub(crate) mod event_loop;
mod messages;
mod offload;
mod pool;
mod registry;
mod relay;
mod wait;
