//! Ways to *wait* for I/O on Linux behind one contract.
//!
//! A [`Task`] lives on a connection and never does I/O: it says what it [wants](Want) and hears
//! [what came of it](Event). A [`Model`] grants wishes; a [`Topology`] lays out threads. The same
//! task runs on every model.
//!
//! # Writing a task
//!
//! This is an echo server, whole. As a program that takes `--model` and `--topology` it is
//! `examples/echo.rs`.
//!
//! ```
//! use karez_reactor::{Bound, Event, Layout, Limits, NoJob, Peer, Service, Stop, Task, Want};
//! use karez_reactor::{NoMail, Wishes};
//! use karez_transfer::Outbox;
//! use std::time::{Duration, Instant};
//!
//! struct Echo {
//!     want: Option<Want<NoJob>>,
//! }
//!
//! fn receive(now: Instant) -> Want<NoJob> {
//!     Want::Receive { until: now + Duration::from_secs(60), idle: true }
//! }
//!
//! impl Task for Echo {
//!     type Job = NoJob;
//!     type Mail = NoMail;
//!
//!     fn want(&mut self) -> Want<NoJob> {
//!         self.want.take().unwrap_or(Want::Close)
//!     }
//!
//!     fn hear(&mut self, event: Event<'_, NoJob>, now: Instant) {
//!         self.want = match event {
//!             Event::Received(bytes) => Some(Want::Send {
//!                 outbox: Outbox::from(bytes.to_vec()),
//!                 stall: Duration::from_secs(10),
//!             }),
//!             Event::Sent(_) => Some(receive(now)),
//!             _ => None, // the peer closed, or something failed: close
//!         };
//!     }
//! }
//!
//! struct EchoService;
//!
//! impl Service for EchoService {
//!     type Task = Echo;
//!
//!     fn connect(&self, _: Peer, now: Instant) -> Echo {
//!         Echo { want: Some(receive(now)) }
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
//!     // … until somebody has had enough:
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
//! # Tasks that talk to each other
//!
//! A task whose `type Mail` is not [`NoMail`] takes its [`Mailbox`] when it [moves
//! in](Task::move_in) and gives it to whom it likes. What is sent there, from whatever thread, it
//! hears as [`Event::Mail`] while it wants to receive. `examples/chat.rs` is a room of such tasks.
//!
//! # Two sockets led together
//!
//! [`Want::Relay`] hands over a second socket, connected, and what one side sends goes to the other
//! until both have ended: by splice(2) on readiness models and on `blocking`, through buffers on
//! those that complete. `examples/proxy.rs` is a TCP proxy.
//!
//! # Names that wait for a disk
//!
//! A job that [could not be done at once](Job::try_run) may name what it has to have
//! [looked up](Job::lookup) before it can go on. io_uring opens that and says what it is while
//! others have their turn, with a pool or without; elsewhere the job is [run](Job::run).
//!
//! # Without tasks
//!
//! A [`Demultiplexer`] alone tells which descriptors are ready: [`EpollEdge`],
//! [`EpollLevel`], [`Poll`], [`Select`], [`Signal`], [`LinuxAio`] and [`Nonblocking`] have the same
//! five calls. [`AnyDemultiplexer`] is any of them, chosen when the program runs.

#![cfg_attr(karez_realtime, feature(sanitize))]

mod admission;
mod alarms;
mod any_demultiplexer;
mod bound;
mod by_number;
mod carrying;
mod completer;
mod connection;
mod connections;
mod demultiplexer;
mod dialogue;
mod error;
mod heirs;
mod inbox;
mod layout;
mod listener;
mod mailroom;
mod models;
mod order;
mod outgoing;
mod outlet;
mod pending_errand;
mod pin;
mod pipes;
mod pool;
mod proactor;
mod reactor;
mod relaying;
mod send_limit;
mod sending;
mod stop;
mod task;
mod tools;
mod topology;
mod transient;
mod tray;
mod waker;

pub use admission::Limits;
pub use any_demultiplexer::AnyDemultiplexer;
pub use bound::Bound;
pub use demultiplexer::{Demultiplexer, Interest, Ready, Token};
pub use karez_sys::{Handle, Lookup, Opened};
pub use karez_transfer::Device;
pub use layout::{Choice, Layout, Refusal, Wishes};
pub use listener::{Address, Listener};
pub use mailroom::{Home, Mailbox, NoMail};
pub use models::epoll_edge::EpollEdge;
pub use models::epoll_level::EpollLevel;
pub use models::linux_aio::LinuxAio;
pub use models::nonblocking::Nonblocking;
pub use models::poll::Poll;
pub use models::select::Select;
pub use models::signal::Signal;
pub use models::{Model, UnknownModel};
pub use stop::Stop;
pub use task::{Event, Job, NoJob, Obstacle, Peer, Service, Task, Want};
pub use topology::{ALLOWED, Topology, UnknownTopology};
