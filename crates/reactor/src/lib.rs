//! Event loops on Linux: ten I/O models behind one contract.
//!
//! A [`Task`] is a protocol without I/O: it [handles](Task::handle) events and says through [`Io`]
//! what it wants next. A [`Model`] waits and makes the calls; a [`Topology`] lays out threads. The same
//! task runs on every model.
//!
//! Features: `uring` (io_uring) and `aio` (Linux AIO and POSIX AIO) compile these models; `all-models`,
//! the default, is both.
//!
//! # Writing a task
//!
//! This is a complete echo server. `examples/echo.rs` is the same as a program that takes `--model` and
//! `--topology`.
//!
//! ```
//! use karez_reactor::{Config, Event, Io, Limits, Mark, NoJob, Peer, Server, Service, Shutdown, Task};
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
//!             _ => io.close(), // the peer closed, or an error
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
//! let config = Config::builder().build(std::thread::available_parallelism()?)?;
//! let server = Server::bind(config, &["127.0.0.1:0".parse()?])?;
//! let shutdown = Shutdown::new();
//! # let address = server.addresses().next().cloned();
//! # let Some(Address::Tcp(address)) = address else { unreachable!() };
//! std::thread::scope(|scope| {
//!     let running = scope.spawn(|| server.run(&EchoService, Limits::default(), &shutdown));
//!     // … until the server has to end:
//! #   let mut peer = std::net::TcpStream::connect(address)?;
//! #   peer.write_all(b"water")?;
//! #   let mut back = [0; 5];
//! #   peer.read_exact(&mut back)?;
//! #   assert_eq!(&back, b"water");
//!     shutdown.trigger();
//!     running.join().expect("the server does not panic")
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
//! [`Io::relay`] takes a second, connected socket, and relays the bytes of each side to the other until
//! both streams have ended: by splice(2) on readiness models and on `blocking`, through buffers on completion
//! models. `examples/proxy.rs` is a TCP proxy.
//!
//! # Opening files
//!
//! A job that [might block](Job::try_run) may return the file that has to be
//! [opened](Job::open_request) before it can go on. io_uring opens it asynchronously, with a pool or
//! without; on other models the pool [runs](Job::run) the job.
//!
//! # Selectors
//!
//! A [`Selector`] alone reports which descriptors are ready: [`EpollEdge`],
//! [`EpollLevel`], [`Poll`], [`Select`], [`Signal`], [`LinuxAio`] and [`Nonblocking`] have the same
//! five calls. [`AnySelector`] is any of them, chosen at run time. [`Server::run_with`] runs a server on
//! a selector of your own.

#![cfg_attr(karez_realtime, feature(sanitize))]

mod admission;
mod any_selector;
mod blocking;
mod clock;
#[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
mod completion;
mod config;
mod connection;
#[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
mod driver;
mod error;
mod event_loop;
mod fd_table;
mod handover;
mod io;
mod lines;
mod listener;
mod local;
mod models;
mod moment;
mod panics;
mod pending;
mod pin;
mod readiness;
mod records;
mod selector;
mod send_limit;
mod server;
mod shared_rate;
mod shutdown;
#[cfg(all(feature = "simulation", not(loom)))]
pub mod simulation;
mod slab;
mod stall;
mod sync;
mod task;
mod task_state;
mod tcp_options;
pub mod testing;
mod timers;
mod topology;
mod transient;

pub use admission::Limits;
pub use any_selector::AnySelector;
pub use config::{Config, ConfigBuilder, ConfigError, Selected};
pub use handover::{Handover, HandoverListener, InheritedListener};
pub use io::{Io, JobId, SocketOption};
pub use karez_sys::{OpenRequest, OpenedFile, SharedFd};
pub use karez_transfer::{
    Device, Edit, FileId, FileToSocket, Mark, OnShort, Outbox, PageIn, RecordKind, Seal, SealError,
    SealRoom, Settings, Switch, Switched, Tag, UnitEvent, Via,
};
pub use lines::{LineTooLong, Lines};
pub use listener::{Address, Listener};
pub use local::Local;
pub use models::epoll_edge::EpollEdge;
pub use models::epoll_level::EpollLevel;
#[cfg(feature = "aio")]
pub use models::linux_aio::LinuxAio;
pub use models::nonblocking::Nonblocking;
pub use models::poll::Poll;
pub use models::select::Select;
pub use models::signal::Signal;
pub use models::{Model, UnknownModel};
pub use selector::{Interest, Ready, Selector, Token};
pub use server::Server;
pub use shared_rate::{RateShare, SharedRate};
pub use shutdown::Shutdown;
pub use sync::mailbox::{Context, Mailbox};
pub use task::{
    Event, Job, JobError, NoJob, Peer, Reason, RecordType, RelayEnd, SendError, Service, Task,
};
pub use tcp_options::TcpOptions;
pub use topology::{ALLOWED, Topology, UnknownTopology};

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
