//! Resumable, non-blocking transfers between files and sockets, by sendfile, splice, `MSG_ZEROCOPY`,
//! `copy_file_range`, `O_DIRECT` and more, with automatic fallback.
//!
//! A *via* is how bytes are moved (transfer method). If a kernel, a file system or a socket does not
//! support it, the transfer falls back to the next one and resumes at the current offset.
//!
//! ```
//! use karez_transfer::{FileToSocket, Via};
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut file = tempfile::tempfile()?;
//! file.write_all(b"water under the desert")?;
//! let (socket, mut peer) = UnixStream::pair()?;
//!
//! let mut transfer = FileToSocket::new(Arc::new(file), 6..22, Via::Sendfile);
//! let report = transfer.run_blocking(&socket)?;
//! assert_eq!(report.to_string(), "sendfile 16 bytes in 1 calls");
//!
//! drop(socket);
//! let mut received = String::new();
//! peer.read_to_string(&mut received)?;
//! assert_eq!(received, "under the desert");
//! # Ok(())
//! # }
//! ```
//!
//! There is a type for each direction: [`FileToSocket`], [`SocketToFile`], [`SocketToSocket`],
//! [`FileToFile`], and [`Piped`] for the three that have a pipe. An [`Outbox`] queues memory and parts of
//! files for one socket. Each can be driven in three ways:
//!
//! - `run_blocking` runs to the end on the calling thread, with poll(2) on non-blocking sockets;
//! - `step` does a bounded amount of work and returns a [`Progress`], for an event loop of your own;
//! - the functions of the module `tokio` (feature `tokio`) are futures, some of them cancel safe.
//!
//! # Steps
//!
//! A step blocks on no non-blocking socket, so a blocking loop, `poll`, a reactor or an async runtime
//! can drive it, with any time between two steps. Transfers own their files, which may be shared;
//! sockets are borrowed for each step.
//!
//! | result of a step | next |
//! |---|---|
//! | [`Moved`](Progress::Moved) | step again, now or after other connections have run |
//! | [`NeedsReadable`](Progress::NeedsReadable) | step when the source is readable |
//! | [`NeedsWritable`](Progress::NeedsWritable) | step when the sink is writable |
//! | [`NeedsZerocopyCompletion`](Progress::NeedsZerocopyCompletion) | step when the error queue of the socket has an entry (`zerocopy`) |
//! | [`NeedsWorker`](Progress::NeedsWorker) | run the [`PageIn`] on a thread that may block (only with [`OnMiss::Report`]) |
//! | [`Done`](Progress::Done) | none |
//! | [`Truncated`](Progress::Truncated) | none: the source ended early |
//!
//! This is one direction of a proxy on non-blocking sockets:
//!
//! ```
//! use karez_transfer::{Progress, SocketToSocket, Via};
//! use rustix::event::{PollFd, PollFlags, poll};
//! use std::io::{self, Read, Write};
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//!
//! fn relay(from: &UnixStream, to: &UnixStream) -> io::Result<u64> {
//!     let mut transfer = SocketToSocket::new(None, Via::Splice);
//!     loop {
//!         let mut waiting = match transfer.step(from.as_fd(), to.as_fd())? {
//!             Progress::NeedsReadable => PollFd::new(from, PollFlags::IN),
//!             Progress::NeedsWritable => PollFd::new(to, PollFlags::OUT),
//!             Progress::Done => return Ok(transfer.report().bytes),
//!             _ => continue,
//!         };
//!         poll(std::slice::from_mut(&mut waiting), None)?;
//!     }
//! }
//!
//! # fn main() -> io::Result<()> {
//! let (mut client, from) = UnixStream::pair()?;
//! let (to, mut server) = UnixStream::pair()?;
//! from.set_nonblocking(true)?;
//! to.set_nonblocking(true)?;
//! client.write_all(b"through a pipe in the kernel")?;
//! drop(client);
//! assert_eq!(relay(&from, &to)?, 28);
//!
//! drop(to);
//! let mut received = String::new();
//! server.read_to_string(&mut received)?;
//! assert_eq!(received, "through a pipe in the kernel");
//! # Ok(())
//! # }
//! ```
//!
//! On tokio:
//!
#![cfg_attr(feature = "tokio", doc = "```")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! use karez_transfer::{Via, tokio::{proxy, receive_to_file, send_file}};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! # let listener = TcpListener::bind("127.0.0.1:0").await?;
//! # let at = listener.local_addr()?;
//! # let (uploading, client) = (TcpStream::connect(at).await?, listener.accept().await?.0);
//! # let (server, storing) = (TcpStream::connect(at).await?, listener.accept().await?.0);
//! # let (source, sink) = (tempfile::tempfile()?, tempfile::tempfile()?);
//! # source.set_len(100_000)?;
//! let upload = async {
//!     let report = send_file(&uploading, &source, 0..100_000, Via::Auto).await?;
//!     drop(uploading); // the end, which the proxy passes on
//!     Ok::<_, std::io::Error>(report.bytes)
//! };
//! let relay = async { Ok(proxy(&client, &server, Via::Splice).await?) };
//! let store = async {
//!     let report = receive_to_file(&storing, &sink, 0, None, Via::Auto).await?;
//!     drop(storing);
//!     Ok(report.bytes)
//! };
//! let (sent, [to_server, _to_client], stored) = tokio::try_join!(upload, relay, store)?;
//! assert_eq!((sent, to_server.bytes, stored), (100_000, 100_000, 100_000));
//! # Ok(())
//! # }
//! ```
//!
//! # Vias
//!
//! [`Direction::vias`] is this table:
//!
//! | via | file → socket | socket → file | socket → socket | file → file | copies by the CPU |
//! |---|---|---|---|---|---|
//! | [`copy`](via::copy) | x | x | x | x | two |
//! | [`direct`](via::direct) | x | | | x | one to a socket, none between files |
//! | [`mmap`](via::mmap) | x | | | x | one |
//! | [`sendfile`](via::sendfile) | x | | | x | none to a socket, one to a file; [SIGPIPE](#sigpipe) |
//! | [`splice`](via::splice) | x | x | x | x | none to a socket, one to a file; [SIGPIPE](#sigpipe) |
//! | [`zerocopy`](via::zerocopy) | x | | | | none if the device supports it, else one |
//! | [`cow`](via::cow) | x | | | x | one, and one more of each edited page |
//! | [`reflink`](via::reflink) | | | | x | none: no byte moves |
//! | [`copy-range`](via::copy_range) | | | | x | depends on the file system |
//! | [`auto`](via::auto) | x | x | x | x | chooses |
//!
//! With a pipe at one end or both ([`Piped`]) the vias are `splice` and `copy`, from a file also
//! `sendfile`.
//!
//! Each has a page with its first kernel version and its limitations. `auto` is the default, and the
//! right choice unless a measurement shows otherwise.
//!
//! ## Fallback
//!
//! A file system, a socket, a kernel or a sandbox may not support a via: `EINVAL` from `sendfile` into
//! a file open for appending, `EXDEV` from `copy_file_range`, `EOPNOTSUPP` from a UNIX socket with
//! `MSG_ZEROCOPY`. The transfer then falls back to the next via ([`Via::fallback`]) from the exact byte
//! reached, at any point. Before the first byte *any* errno of the mechanism falls back, even `EIO` and
//! `ENOENT`, and an end of the source is verified by a read ([`Reason::EarlyEnd`]). An
//! error that every via would return (`ENOSPC`, `EPIPE`, and `EIO` of a plain read or write …) is the
//! transfer's. The report then has the offset reached, and the step may be repeated.
//!
//! ## Shared files
//!
//! No via uses or moves the position of a file (lseek(2)), so any number of transfers may read and
//! write one open file at once, each at its own offsets. A sink that is open for appending
//! (`O_APPEND`) takes all bytes at its end: vias that cannot do that fall back.
//!
//! ## The report
//!
//! A [`Report`] has the requested and the effective via, each fallback with its reason, the system calls
//! by name, and whether the CPU copied after all, which with `zerocopy` only the kernel knows:
//!
//! ```
//! use karez_transfer::{Copied, FileToFile, Via};
//! use std::io::{Read, Seek, Write};
//! use std::sync::Arc;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut source = tempfile::tempfile()?;
//! source.write_all(&[7; 10_000])?;
//! let sink = Arc::new(tempfile::tempfile()?);
//!
//! let mut copy = FileToFile::new(Arc::new(source), 0..10_000, sink.clone(), 0, Via::Reflink);
//! let report = copy.run_blocking()?;
//! match report.fallbacks.first() {
//!     None => assert_eq!((report.effective, report.copied()), (Via::Reflink, Copied::No)),
//!     Some(fallback) => println!("{}: {}", fallback.from, fallback.reason),
//! }
//! # let mut copied = Vec::new();
//! # let mut sink = &*sink;
//! # sink.rewind()?;
//! # sink.read_to_end(&mut copied)?;
//! # assert_eq!(copied, [7; 10_000]);
//! # Ok(())
//! # }
//! ```
//!
//! # Budgets, page cache and disk
//!
//! [`Settings`] limit the bytes of one system call (`chunk`) and of one step (`max_per_step`),
//! so that one fast peer does not starve other connections of the thread. They set the treatment of the
//! page cache ([`CachePolicy`]), and the behaviour on a page-cache miss: with
//! [`OnMiss::Report`] a step returns [`Progress::NeedsWorker`] instead of blocking, and a
//! [page-in](PageIn::run) on a thread that may block reads the bytes:
//!
//! ```
//! use karez_transfer::{CachePolicy, FileToSocket, OnMiss, Progress, Settings, Via};
//! use std::{io::Write, os::fd::AsFd, os::unix::net::UnixStream, sync::Arc, thread};
//!
//! # fn main() -> std::io::Result<()> {
//! # let mut file = tempfile::tempfile()?;
//! # file.write_all(&[7; 100_000])?;
//! # let (out, peer) = UnixStream::pair()?;
//! # let reader = thread::spawn(move || std::io::copy(&mut &peer, &mut std::io::sink()));
//! let settings = Settings::from(Via::Sendfile)
//!     .max_per_step(256 << 10)
//!     .cache(CachePolicy::Drop) // these pages are not needed again
//!     .on_miss(OnMiss::Report);
//! let mut transfer = FileToSocket::new(Arc::new(file), 0..100_000, settings);
//! loop {
//!     match transfer.step(out.as_fd())? {
//!         Progress::NeedsWorker => {
//!             let page_in = transfer.page_in();
//!             // An event loop would serve other connections meanwhile.
//!             thread::spawn(move || page_in.run()).join().expect("it does not panic")?;
//!         }
//!         Progress::Done => break,
//!         _ => {}
//!     }
//! }
//! # drop(out);
//! # assert_eq!(reader.join().unwrap()?, 100_000);
//! # Ok(())
//! # }
//! ```
//!
//! Pages count as in memory once they have been read in; pages that are still being read are a miss. A server
//! that keeps a file open gives its transfers one [`Residency`], so that the page cache is queried once a
//! second for each MiB and not by every transfer.
//!
//! # Edits
//!
//! [`FileToSocket::edited`] and [`FileToFile::edited`] replace parts of a file in the outgoing bytes, by
//! [`via::cow`]. The file and its pages in the cache stay unchanged; only pages
//! that an [`Edit`] touches are copied:
//!
//! ```
//! use karez_transfer::{Edit, FileToSocket, Via};
//! use std::io::{Read, Write};
//! use std::{os::unix::net::UnixStream, sync::Arc};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut file = tempfile::tempfile()?;
//! file.write_all(b"dear ######, enjoy the water")?;
//! let (out, mut peer) = UnixStream::pair()?;
//!
//! let edits = [Edit { offset: 5, bytes: Arc::from(*b"reader") }];
//! let mut transfer = FileToSocket::edited(Arc::new(file), 0..28, edits.into(), Via::Cow);
//! assert_eq!(transfer.run_blocking(&out)?.pages_copied, 1);
//!
//! drop(out);
//! let mut received = String::new();
//! peer.read_to_string(&mut received)?;
//! assert_eq!(received, "dear reader, enjoy the water");
//! # Ok(())
//! # }
//! ```
//!
//! # Limitations
//!
//! It runs on Linux only. There is no `unsafe` here (it is all in `karez-sys`), no thread and no signal
//! handler. The only globals are the caches of unsupported vias and of devices that refuse
//! `RWF_NOWAIT`; idle pipes and buffers are pooled per thread.
//!
//! ## A writable socket that takes nothing
//!
//! While the memory of TCP is used up (the third value of `tcp_mem`, tcp(7)), a step returns
//! [`Progress::NeedsWritable`] although poll(2) and a level-triggered epoll(7) report the socket as writable, because
//! they look at the queue of this socket alone. An edge-triggered epoll reports again when the peer has acknowledged
//! bytes. A caller that polls makes a pause after some fruitless steps.
//!
//! ## Zero copy is by reference
//!
//! `sendfile`, `splice` and `zerocopy` pass the *pages* of the file to a socket: a write to the file before
//! the peer has received the bytes changes them ([`verified`](FileToSocket::verified) notices a write before the
//! last pages are passed). Only `zerocopy` reports when that is over; its transfer is not done before. A truncated file is [`Progress::Truncated`] with
//! every via and never a SIGBUS: mappings are passed to the kernel and not read in user space.
//!
//! ## SIGPIPE
//!
//! `sendfile` and `splice` into a socket raise SIGPIPE if the peer has closed the connection, and
//! so may [`auto`](via::auto#sigpipe), which chooses them, and `zerocopy` on a UNIX socket, which
//! falls back to them: these calls have no `MSG_NOSIGNAL`. The signal ends a process that neither
//! ignores nor blocks it. Rust programs ignore it from the start; a library within a program in
//! another language ignores it (sigaction(2)), blocks it in the threads that step
//! (pthread_sigmask(3)), or uses [`copy`](via::copy), [`direct`](via::direct),
//! [`mmap`](via::mmap) or [`cow`](via::cow), which never raise it. The error is `EPIPE` in any case.

#[cfg(not(target_os = "linux"))]
compile_error!("karez-transfer makes system calls of Linux, so it builds for Linux targets only");

mod aligned;
mod backend;
mod calls;
mod cursor;
mod device;
mod direct_file;
mod direct_read;
mod direction;
mod drop_behind;
mod edit;
mod endpoint_io;
mod fallback;
mod file_range;
mod file_to_file;
mod file_to_socket;
mod interrupted;
mod method;
mod nowait;
mod observer;
mod offloaded_read;
mod outbox;
mod page_cache;
mod page_in;
mod pipe;
mod piped;
mod reopen;
mod report;
mod residency;
mod run_blocking;
mod scratch;
mod seal;
mod settings;
mod shared_file;
mod socket_to_file;
mod socket_to_socket;
mod stats;
mod step;
mod switch;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transfer;
mod version;
pub mod via;
mod window;

pub use calls::Calls;
pub use device::{Device, is_remote};
pub use direction::Direction;
pub use edit::Edit;
pub use file_to_file::FileToFile;
pub use file_to_socket::FileToSocket;
pub use karez_sys::SharedFd;
pub use observer::{Observer, set_observer};
pub use outbox::{FileId, Mark, OnShort, Outbox, OutboxEvent, Tag, UnitEvent};
pub use page_cache::cached_bytes;
pub use page_in::PageIn;
pub use piped::Piped;
pub use report::{Copied, Fallback, Notifications, Reason, Report};
pub use residency::Residency;
pub use run_blocking::Truncated;
/// The error of a system call, of rustix 1: that version is a part of the public API of this crate.
pub use rustix::io::Errno;
pub use seal::{RecordKind, Seal, SealError, SealRoom};
pub use settings::{CachePolicy, OnMiss, Settings, UnknownCachePolicy};
pub use shared_file::SharedFile;
pub use socket_to_file::SocketToFile;
pub use socket_to_socket::SocketToSocket;
pub use stats::OutboxStats;
pub use step::Progress;
pub use switch::{Switch, Switched};
#[doc(inline)]
pub use version::{Changed, Version};
pub use via::{UnknownVia, Via};

// The contract with the event loops of karez-reactor; not part of the public API.
#[doc(hidden)]
pub use direct_read::DirectRead;
#[doc(hidden)]
pub use file_range::FileRange;
#[doc(hidden)]
pub use outbox::{Chunk, Gather, Gathered};

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
