//! Ways to *wait* for I/O on Linux behind one contract.
//!
//! A [`Task`] is a protocol without I/O: it [handles](Task::handle) events and says through [`Io`]
//! what it wants. A [`Model`] waits and makes the calls; a [`Topology`] lays out threads. The same
//! task runs on every model.
//!
//! # Writing a task
//!
//! This is an echo server, whole. As a program that takes `--model` and `--topology` it is
//! `examples/echo.rs`.
//!
//! ```
//! use karez_reactor::{Bound, Event, Io, Layout, Limits, Mark, NoJob, Peer, Service, Stop, Task};
//! use karez_reactor::Wishes;
//! use std::convert::Infallible;
//! use std::time::{Duration, Instant};
//!
//! struct Echo;
//!
//! impl Task for Echo {
//!     type Job = NoJob;
//!     type Message = Infallible;
//!
//!     fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
//!         match event {
//!             Event::Opened(_) | Event::Sent(_) => {
//!                 io.receive(io.now() + Duration::from_secs(60), true, None);
//!             }
//!             Event::Received(bytes, _) => {
//!                 io.outbox().push_bytes(bytes.to_vec());
//!                 io.notify_sent(Mark(0));
//!             }
//!             _ => io.close(), // the peer closed, or something failed
//!         }
//!     }
//! }
//!
//! struct EchoService;
//!
//! impl Service for EchoService {
//!     type Task = Echo;
//!
//!     fn connect(&self, _: Peer, _: Instant) -> Echo {
//!         Echo
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::io::{Read, Write};
//! # use karez_reactor::Address;
//! let layout = Layout::choose(&Wishes::default(), std::thread::available_parallelism()?)?;
//! let bound = Bound::bind(layout, &["127.0.0.1:0".parse()?])?;
//! let limits = Limits { connections: 1000, grace: Duration::from_secs(10) };
//! let stop = Stop::new();
//! # let address = bound.addresses().next().cloned();
//! # let Some(Address::Tcp(address)) = address else { unreachable!() };
//! std::thread::scope(|scope| {
//!     let server = scope.spawn(|| bound.run(&EchoService, limits, &stop));
//!     // … until the server is to end:
//! #   let mut peer = std::net::TcpStream::connect(address)?;
//! #   peer.write_all(b"water")?;
//! #   let mut back = [0; 5];
//! #   peer.read_exact(&mut back)?;
//! #   assert_eq!(&back, b"water");
//!     stop.begin();
//!     server.join().expect("the server does not panic")
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Messages between tasks
//!
//! A task with a [message type](Task::Message) obtains a [`Mailbox`] from the context of
//! [`Event::Opened`]; any thread that holds a clone can send to it, and the task handles
//! [`Event::Message`]. `examples/chat.rs` is a chat room.
//!
//! # Relaying
//!
//! [`Io::relay`] hands over a second, connected socket, and what one side sends goes to the other until
//! both have ended: by splice(2) on readiness models and on `blocking`, through buffers on completion
//! models. `examples/proxy.rs` is a TCP proxy.
//!
//! # Names that wait for a disk
//!
//! A job that [might block](Job::try_run) may name the file that it has to have
//! [opened](Job::open_request) before it can go on. io_uring opens that asynchronously, with a pool or
//! without; elsewhere the job is [run](Job::run) by the pool.
//!
//! # Without tasks
//!
//! A [`Demultiplexer`] alone tells which descriptors are ready: [`EpollEdge`],
//! [`EpollLevel`], [`Poll`], [`Select`], [`Signal`], [`LinuxAio`] and [`Nonblocking`] have the same
//! five calls. [`AnyDemultiplexer`] is any of them, chosen when the program runs.

#![cfg_attr(karez_realtime, feature(sanitize))]

mod admission;
mod any_selector;
mod blocking;
mod completion;
mod config;
mod driver;
mod error;
mod fd_table;
mod io;
mod listener;
mod models;
mod outlet;
mod pin;
mod readiness;
mod selector;
mod send_limit;
mod server;
mod shutdown;
mod slab;
mod sync;
mod task;
pub mod testing;
mod timers;
mod topology;
mod transient;

pub use admission::Limits;
pub use any_selector::AnyDemultiplexer;
pub use config::{Choice, Layout, Refusal, Wishes};
pub use io::{Io, JobId, SocketOption};
pub use karez_sys::{Handle, Lookup, Opened};
pub use karez_transfer::{Device, Mark, Tag, UnitEvent};
pub use listener::{Address, Listener};
pub use models::epoll_edge::EpollEdge;
pub use models::epoll_level::EpollLevel;
pub use models::linux_aio::LinuxAio;
pub use models::nonblocking::Nonblocking;
pub use models::poll::Poll;
pub use models::select::Select;
pub use models::signal::Signal;
pub use models::{Model, UnknownModel};
pub use selector::{Demultiplexer, Interest, Ready, Token};
pub use server::Bound;
pub use shutdown::Stop;
pub use sync::mailbox::{Context, Mailbox};
pub use task::{
    Event, Job, JobError, NoJob, Peer, Reason, RecordType, RelayEnd, SendError, Service, Task,
};
pub use topology::{ALLOWED, Topology, UnknownTopology};
