//! Bounded receives: of a handshake that is followed by something else, not one byte too many is read.

use karez_reactor::{ALLOWED, Event, Io, Mark, NoJob, Peer, Service, Task};
use rustix::io::ioctl_fionread;
use rustix::net::getpeername;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, RawPid, getpid, pidfd_getfd, pidfd_open};
use std::convert::Infallible;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::scripted_task::{LONG, config, connect, end_of, many, serve_with};
use crate::xor::{Xor, open_all};

/// The bytes that follow the handshake in the same segment.
const REST: &[u8] = b"what was sent before the other side had answered";

/// Two bytes of length and as many bytes as they say; then a switch to sealed sending, and an echo.
struct Handshake {
    peer: SocketAddr,
    /// One byte at a time.
    slowly: bool,
    received: Vec<u8>,
    /// Bytes of the handshake, if that is known.
    length: Option<usize>,
    /// The socket has been switched.
    open: bool,
}

impl Handshake {
    fn receive(&self, io: &mut Io<'_, NoJob>) {
        let left = self.length.unwrap_or(2) - self.received.len();
        let most = if self.slowly { 1 } else { left };
        io.receive(io.now() + LONG, false, NonZeroUsize::new(most));
    }

    fn received(&mut self, bytes: &[u8], io: &mut Io<'_, NoJob>) {
        self.received.extend_from_slice(bytes);
        if self.length.is_none() && self.received.len() == 2 {
            self.length =
                Some(2 + usize::from(self.received[0]) * 256 + usize::from(self.received[1]));
        }
        if self.length.is_none_or(|length| self.received.len() < length) {
            return self.receive(io);
        }
        assert_eq!(self.length, Some(self.received.len()), "not one too many");
        assert_eq!(unread(self.peer), REST.len() as u64, "all of the rest is in the kernel");
        self.received.clear();
        self.open = true;
        io.outbox().push_raw(b"finished".to_vec());
        io.outbox().push_seal(Box::new(Xor(5)));
        io.receive(io.now() + LONG, false, None);
    }
}

impl Task for Handshake {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => self.receive(io),
            Event::Received(bytes, _) if self.open => {
                self.received.extend_from_slice(bytes);
                io.outbox().push_bytes(bytes.to_vec());
                if self.received.len() < REST.len() {
                    io.receive(io.now() + LONG, false, None);
                } else {
                    io.notify_sent(Mark(0));
                }
            }
            Event::Received(bytes, _) => self.received(bytes, io),
            Event::Sent(_) => io.close(),
            Event::Closing(_) => {}
            _ => panic!("{event:?}"),
        }
    }
}

/// Returns how many bytes of this peer no one has received: by a second descriptor of the socket.
fn unread(peer: SocketAddr) -> u64 {
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let sockets = numbers
        .filter_map(|number: RawPid| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok());
    let is_its = |name: rustix::net::SocketAddrAny| SocketAddr::try_from(name) == Ok(peer);
    // A socket of another test may have the same peer: a port may be used for several servers.
    let named = |socket: &OwnedFd| getpeername(socket).is_ok_and(|name| name.is_some_and(is_its));
    sockets.filter(named).map(|socket| ioctl_fionread(socket).unwrap()).max().unwrap()
}

struct Handshakes {
    slowly: bool,
}

impl Service for Handshakes {
    type Task = Handshake;

    fn connect(&self, peer: Peer, _: Instant) -> Handshake {
        let peer = peer.address.unwrap();
        let (slowly, received) = (self.slowly, Vec::new());
        Handshake { peer, slowly, received, length: None, open: false }
    }
}

#[test]
fn what_is_glued_to_a_handshake_stays_in_the_kernel_until_the_socket_is_switched() {
    for (slowly, length) in [(false, 1), (false, 300), (true, 20)] {
        for &(model, topology) in ALLOWED {
            serve_with(
                config(model, topology),
                many(),
                &Handshakes { slowly },
                |address, _, name| {
                    let mut stream = connect(address);
                    let head = u16::try_from(length).unwrap().to_be_bytes();
                    let message = [&head[..], &vec![b'h'; length], REST].concat();
                    stream.write_all(&message).unwrap();
                    let sent = end_of(stream);
                    let sealed = sent.strip_prefix(b"finished");
                    assert_eq!(open_all(sealed.unwrap(), 5), REST, "{name}");
                },
            );
        }
    }
}
