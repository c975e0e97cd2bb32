//! Ways to *move* bytes on Linux, as step functions: between files and sockets, below user space
//! where the kernel allows it.
//!
//! # A transfer is a step function
//!
//! A transfer is one movement of bytes from one end to the other. There is a type for each
//! direction: [`FileToSocket`], [`SocketToFile`], [`SocketToSocket`], [`FileToFile`]. Each is a
//! state machine: `step` does a bounded amount of work, says how far it came ([`Progress`]), and
//! may be called again a microsecond or an hour later. It waits for nothing itself, so anything
//! can drive it: a blocking loop, `poll`, a reactor, an async runtime.
//!
//! With blocking sockets the kernel does the waiting:
//!
//! ```
//! use karez_transfer::{FileToSocket, Progress, Via};
//! use std::io::{Read, Write};
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut file = tempfile::tempfile()?;
//! file.write_all(b"water under the desert")?;
//! let (out, mut peer) = UnixStream::pair()?;
//!
//! let mut transfer = FileToSocket::new(Arc::new(file), 6..22, Via::Sendfile);
//! loop {
//!     match transfer.step(out.as_fd())? {
//!         Progress::Moved(_) => {}
//!         Progress::Done => break,
//!         Progress::Truncated { missing } => panic!("the file ended {missing} bytes early"),
//!         wait => panic!("a blocking socket waits inside the call: {wait:?}"),
//!     }
//! }
//! assert_eq!(transfer.report().bytes, 16);
//!
//! drop(out);
//! let mut received = String::new();
//! peer.read_to_string(&mut received)?;
//! assert_eq!(received, "under the desert");
//! # Ok(())
//! # }
//! ```
//!
//! With non-blocking ones the caller waits for what the step asked for. This is a whole proxy, one
//! direction of it, on nothing but `poll`:
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
//! client.write_all(b"through a pipe of the kernel's")?;
//! drop(client);
//! assert_eq!(relay(&from, &to)?, 30);
//!
//! drop(to);
//! let mut received = String::new();
//! server.read_to_string(&mut received)?;
//! assert_eq!(received, "through a pipe of the kernel's");
//! # Ok(())
//! # }
//! ```
//!
//! On tokio (feature `tokio`) there are functions that drive the steps, cancel-safe ones among them:
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
//! let (sent, [forth, _back], stored) = tokio::try_join!(upload, relay, store)?;
//! assert_eq!((sent, forth.bytes, stored), (100_000, 100_000, 100_000));
//! # Ok(())
//! # }
//! ```
//!
//! # Which way
//!
//! How the bytes travel is the [`Via`] of the transfer. [`Direction::vias`] is this table:
//!
//! | via | file → socket | socket → file | socket → socket | file → file | copies by the CPU |
//! |---|---|---|---|---|---|
//! | [`copy`](Via::Copy) | x | x | x | x | two |
//! | [`direct`](Via::Direct) | x | | | x | one to a socket, none between files |
//! | [`mmap`](Via::Mmap) | x | | | x | one |
//! | [`sendfile`](Via::Sendfile) | x | | | x | none to a socket, one to a file |
//! | [`splice`](Via::Splice) | x | x | x | x | none to a socket, one to a file |
//! | [`zerocopy`](Via::Zerocopy) | x | | | | none where the device takes it, else one |
//! | [`cow`](Via::Cow) | x | | | x | one, and one more of each page that was edited |
//! | [`reflink`](Via::Reflink) | | | | x | none: nothing moves |
//! | [`copy-range`](Via::CopyRange) | | | | x | as the file system can |
//! | [`auto`](Via::Auto) | x | x | x | x | chooses |
//!
//! What each does badly stands at the top of its file in `src/via/`. `auto` is the default, and
//! right unless something has been measured.
//!
//! ## The ladder
//!
//! A file system, a socket, a kernel or a sandbox may refuse a way: `EINVAL` from `sendfile` into
//! a file open for appending, `EXDEV` from `copy_file_range`, `EOPNOTSUPP` from a UNIX socket asked
//! for `MSG_ZEROCOPY`. The transfer then goes a rung down ([`Via::fallback`]) from the exact byte
//! reached, before the first as after the millionth. What would meet every way alike (`ENOSPC`,
//! `EIO`, `EPIPE` …) is an error, and the report has the offset reached.
//!
//! ## The report
//!
//! A [`Report`] says what was asked, what ran, each refusal with its errno, the system calls by
//! name, and whether the CPU copied after all, which only the kernel knows for `zerocopy`:
//!
//! ```
//! use karez_transfer::{Copied, FileToFile, Progress, Via};
//! use std::io::{Read, Seek, Write};
//! use std::sync::Arc;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut source = tempfile::tempfile()?;
//! source.write_all(&[7; 10_000])?;
//! let sink = Arc::new(tempfile::tempfile()?);
//!
//! let mut copy = FileToFile::new(Arc::new(source), 0..10_000, sink.clone(), 0, Via::Reflink);
//! while copy.step()? != Progress::Done {}
//!
//! let report = copy.report();
//! match report.fallbacks.first() {
//!     None => assert_eq!((report.ran, report.copied()), (Via::Reflink, Copied::No)),
//!     Some(refused) => println!("{}: {}, so {} ran", refused.from, refused.errno, report.ran),
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
//! # How much at a time, and what of the disk
//!
//! [`Settings`] bound what one system call is asked for (`chunk`) and what one step moves (`share`),
//! so that one fast peer does not keep a thread from the others. They say what becomes of the page
//! cache ([`CachePolicy`]), and what a step does where it would wait for a disk: with
//! [`Cold::Tell`] it answers [`Progress::NeedsWorker`], and whoever may wait
//! [warms](ColdPart::warm) the part that is cold.
//!
//! # A queue of parts
//!
//! An [`Outbox`] is the ordered queue of what a connection has ready to go: memory and parts of
//! files. It is driven by the same kind of step, and joins what belongs together:
//!
//! ```
//! use karez_transfer::{FileToSocket, Outbox, Progress, Via};
//! use std::io::{Read, Write};
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut file = tempfile::tempfile()?;
//! file.write_all(b"under the desert")?;
//! let (out, mut peer) = UnixStream::pair()?;
//!
//! let mut outbox = Outbox::new();
//! outbox.push_bytes(b"water: ".to_vec());
//! outbox.push_file(FileToSocket::new(Arc::new(file), 6..16, Via::Auto));
//! while outbox.step(out.as_fd())? != Progress::Done {}
//!
//! drop(out);
//! let mut received = String::new();
//! peer.read_to_string(&mut received)?;
//! assert_eq!(received, "water: the desert");
//! # Ok(())
//! # }
//! ```
//!
//! # Zero copy is by reference
//!
//! What `sendfile`, `splice` and `zerocopy` gave to a socket are the *pages* of the file: who
//! writes to it before the peer has the bytes, changes them. `zerocopy` alone says when that is
//! over; its transfer is not done before. A file that is cut off is [`Progress::Truncated`], by
//! every way and never a SIGBUS: mappings are handed to the kernel and not looked at.

mod aligned;
mod cache;
mod course;
mod direction;
mod ends;
mod engine;
mod file_to_file;
mod file_to_socket;
mod ladder;
mod ledger;
mod outbox;
mod pipe;
mod portion;
mod report;
mod residency;
mod scratch;
mod settings;
mod socket_to_file;
mod socket_to_socket;
mod step;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transfer;
mod via;
mod window;

pub use direction::Direction;
pub use file_to_file::FileToFile;
pub use file_to_socket::{FileToSocket, Source};
pub use ledger::Ledger;
pub use outbox::Outbox;
pub use portion::{FilePart, Portion};
pub use report::{Calls, Copied, Fallback, Notifications, Report};
pub use residency::{ColdPart, cached_bytes};
pub use settings::{CachePolicy, Cold, Settings, UnknownCachePolicy};
pub use socket_to_file::SocketToFile;
pub use socket_to_socket::SocketToSocket;
pub use step::{Edit, Progress};
pub use via::{UnknownVia, Via};
