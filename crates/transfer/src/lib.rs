//! Ways to *move* bytes on Linux, as step functions: between files and sockets, below user space
//! where the kernel allows it.
//!
//! # A transfer is a step function
//!
//! A transfer is one movement of bytes from one end to the other. There is a type for each
//! direction: [`FileToSocket`], [`SocketToFile`], [`SocketToSocket`], [`FileToFile`], and one,
//! [`Piped`], for the three that have a pipe. Each is a state machine: `step` does a bounded amount of work, says how far it came ([`Progress`]), and
//! may be called again a microsecond or an hour later. It waits for nothing itself, so anything
//! can drive it: a blocking loop, `poll`, a reactor, an async runtime. Files are owned by the
//! transfer, shared with whoever else has them open; sockets are lent to it for each step.
//!
//! | a step says | and wants |
//! |---|---|
//! | [`Moved`](Progress::Moved) | to be called again, now or when others have had their turn |
//! | [`NeedsReadable`](Progress::NeedsReadable) | the socket it comes from to have something |
//! | [`NeedsWritable`](Progress::NeedsWritable) | the socket it goes to to have room |
//! | [`NeedsRelease`](Progress::NeedsRelease) | that socket to let go of what it was lent (`zerocopy`) |
//! | [`NeedsWorker`](Progress::NeedsWorker) | somebody who may wait for a disk (if told to say so) |
//! | [`Done`](Progress::Done) | nothing more |
//! | [`Truncated`](Progress::Truncated) | nothing more: the source ended early |
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
//! | [`copy`](via::copy) | x | x | x | x | two |
//! | [`direct`](via::direct) | x | | | x | one to a socket, none between files |
//! | [`mmap`](via::mmap) | x | | | x | one |
//! | [`sendfile`](via::sendfile) | x | | | x | none to a socket, one to a file; [SIGPIPE](#sigpipe) |
//! | [`splice`](via::splice) | x | x | x | x | none to a socket, one to a file; [SIGPIPE](#sigpipe) |
//! | [`zerocopy`](via::zerocopy) | x | | | | none where the device takes it, else one |
//! | [`cow`](via::cow) | x | | | x | one, and one more of each page that was edited |
//! | [`reflink`](via::reflink) | | | | x | none: nothing moves |
//! | [`copy-range`](via::copy_range) | | | | x | as the file system can |
//! | [`auto`](via::auto) | x | x | x | x | chooses |
//!
//! A pipe at one end or both ([`Piped`]) is `splice`'s, or `copy`'s; from a file `sendfile` goes, too.
//!
//! Each has a page of its own, which says since which kernel there is such a way, and what it does
//! badly. `auto` is the default, and right unless something has been measured.
//!
//! ## The ladder
//!
//! A file system, a socket, a kernel or a sandbox may refuse a way: `EINVAL` from `sendfile` into
//! a file open for appending, `EXDEV` from `copy_file_range`, `EOPNOTSUPP` from a UNIX socket asked
//! for `MSG_ZEROCOPY`. The transfer then goes a rung down ([`Via::fallback`]) from the exact byte
//! reached, before the first as after the millionth. Before the first byte *any* errno of the
//! mechanism falls back, `EIO` or `ENOENT`, too, and a way that says that the source ends is
//! believed only after a read (`ENODATA`). What would meet every way alike (`ENOSPC`, `EPIPE`, and
//! `EIO` of a plain read or write …) is an error, and the report has the offset reached; the
//! transfer may be stepped again.
//!
//! ## Files that others have open
//!
//! No way uses or moves the position of a file (lseek(2)), so any number of transfers may read and
//! write one open file at once, each at offsets of its own. A sink that is open for appending
//! (`O_APPEND`) takes all bytes at its end: the ways that cannot do that fall back.
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
//!     Some(refused) => println!("{}: {}, so {} ran", refused.from, refused.reason, report.ran),
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
//! [warms](ColdPart::warm) the part that is cold:
//!
//! ```
//! use karez_transfer::{CachePolicy, Cold, FileToSocket, Progress, Settings, Via};
//! use std::{io::Write, os::fd::AsFd, os::unix::net::UnixStream, sync::Arc, thread};
//!
//! # fn main() -> std::io::Result<()> {
//! # let mut file = tempfile::tempfile()?;
//! # file.write_all(&[7; 100_000])?;
//! # let (out, peer) = UnixStream::pair()?;
//! # let reader = thread::spawn(move || std::io::copy(&mut &peer, &mut std::io::sink()));
//! let settings = Settings {
//!     via: Via::Sendfile,
//!     share: 256 << 10,
//!     cache: CachePolicy::Drop, // nobody else will want these pages
//!     cold: Cold::Tell,
//!     ..Settings::default()
//! };
//! let mut transfer = FileToSocket::new(Arc::new(file), 0..100_000, settings);
//! loop {
//!     match transfer.step(out.as_fd())? {
//!         Progress::NeedsWorker => {
//!             let cold = transfer.cold_part();
//!             // Others could be served meanwhile.
//!             thread::spawn(move || cold.warm()).join().expect("it does not panic")?;
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
//! # Edited on its way
//!
//! [`FileToSocket::edited`] and [`FileToFile::edited`] put other bytes in some places of a file as
//! it leaves, by [`via::cow`]. The file stays as it is, and so do its pages in the cache; only those
//! that an [`Edit`] touches are copied for it:
//!
//! ```
//! use karez_transfer::{Edit, FileToSocket, Progress, Via};
//! use std::io::{Read, Write};
//! use std::{os::fd::AsFd, os::unix::net::UnixStream, sync::Arc};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut file = tempfile::tempfile()?;
//! file.write_all(b"dear ######, enjoy the water")?;
//! let (out, mut peer) = UnixStream::pair()?;
//!
//! let edits = [Edit { offset: 5, bytes: Arc::from(*b"reader") }];
//! let mut transfer = FileToSocket::edited(Arc::new(file), 0..28, edits.into(), Via::Cow);
//! while transfer.step(out.as_fd())? != Progress::Done {}
//! assert_eq!(transfer.report().pages_copied, 1);
//!
//! drop(out);
//! let mut received = String::new();
//! peer.read_to_string(&mut received)?;
//! assert_eq!(received, "dear reader, enjoy the water");
//! # Ok(())
//! # }
//! ```
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
//!
//! # SIGPIPE
//!
//! `sendfile` and `splice` into a socket raise SIGPIPE where the peer has closed the connection, and
//! so may [`auto`](via::auto#sigpipe), which chooses them, and `zerocopy` on a UNIX socket, which
//! falls back to them: these calls take no `MSG_NOSIGNAL`. The signal ends a process that neither
//! ignores nor blocks it. Rust programs ignore it from the start; a library within a program in
//! another language ignores it (sigaction(2)), blocks it in the threads that step
//! (pthread_sigmask(3)), or takes [`copy`](via::copy), [`direct`](via::direct),
//! [`mmap`](via::mmap) or [`cow`](via::cow), which never raise it. The error is `EPIPE` in any case.
//!
//! # Where it runs
//!
//! On Linux. What a kernel has not, or a sandbox forbids, is a rung down the ladder. There is no
//! `unsafe` here (it is all in `karez-sys`), no thread, no signal and no global but the memory of
//! `auto` for what was refused and of the devices that refuse `RWF_NOWAIT`; pipes and buffers that
//! are idle belong to the thread that used them. The feature `tokio` adds the module of that name, and is off unless asked for.

mod aligned;
mod cache;
mod course;
mod device;
mod direction;
mod ends;
mod engine;
mod errand;
mod file_range;
mod file_to_file;
mod file_to_socket;
mod interrupted;
mod ladder;
mod ledger;
mod nowait;
mod offloaded_read;
mod outbox;
mod pipe;
mod piped;
mod reopen;
mod report;
mod residency;
mod scratch;
mod seal;
mod settings;
mod socket_to_file;
mod socket_to_socket;
mod step;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transfer;
pub mod via;
mod window;

pub use device::Device;
pub use direction::Direction;
pub use errand::DirectRead;
pub use file_range::FileRange;
pub use file_to_file::FileToFile;
pub use file_to_socket::{FileToSocket, Source};
pub use ledger::Ledger;
pub use outbox::{
    Chunk, FileId, Gather, Gathered, Mark, OnShort, Outbox, OutboxEvent, Tag, UnitEvent,
};
pub use piped::Piped;
pub use report::{Calls, Copied, Fallback, Notifications, Reason, Report};
pub use residency::{ColdPart, cached_bytes};
pub use seal::{RecordKind, Seal, SealError, SealRoom};
pub use settings::{CachePolicy, Cold, Settings, UnknownCachePolicy};
pub use socket_to_file::SocketToFile;
pub use socket_to_socket::SocketToSocket;
pub use step::{Edit, Progress};
#[doc(inline)]
pub use via::{UnknownVia, Via};
