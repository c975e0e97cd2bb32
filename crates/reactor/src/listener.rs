//! Listening sockets: TCP over IPv4 and IPv6, and UNIX sockets (socket(7), tcp(7), unix(7)).
//!
//! `TCP_NODELAY` is set here once: accepted sockets inherit it, which saves a call each.

#[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
use karez_sys::SharedFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind,
    connect, getsockname, ipproto, listen, socket_with, sockopt,
};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::error::named;
use crate::task::Peer;
use crate::tcp_options::TcpOptions;

/// Connections that the kernel queues before they are accepted; at most `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a UNIX socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("unix: needs a path".to_owned())
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "expected IP:PORT such as 127.0.0.1:8080 or [::1]:8080, or unix:PATH".to_owned()
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket. A UNIX socket's name is removed with its last clone.
#[derive(Clone, Debug)]
pub struct Listener {
    socket: Arc<OwnedFd>,
    address: Address,
    /// Its index among the addresses of the server.
    index: usize,
    name: Option<Arc<SocketName>>,
}

impl Listener {
    /// Binds and listens. With `shared`, further TCP listeners may be bound to the same address
    /// (`SO_REUSEPORT`, Linux 3.9), and the kernel spreads connections over them.
    ///
    /// # Errors
    /// Named after the call and the address: `bind 127.0.0.1:80: Permission denied (os error 13)`.
    pub fn bind(address: &Address, shared: bool) -> io::Result<Self> {
        Self::bind_with(address, shared, &TcpOptions::default())
    }

    /// Binds and listens as [`bind`](Self::bind) does, with options that accepted TCP connections inherit.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); an option that the kernel refuses, named after its call and the address.
    pub fn bind_with(address: &Address, shared: bool, options: &TcpOptions) -> io::Result<Self> {
        match address {
            Address::Tcp(tcp) => bind_tcp(*tcp, shared, options),
            Address::Unix(path) => bind_unix(path),
        }
    }

    /// Takes over a socket that another process has bound, and sets what accepted connections inherit.
    pub(crate) fn of_socket(
        socket: OwnedFd,
        address: Address,
        owns_name: bool,
        options: &TcpOptions,
    ) -> io::Result<Self> {
        let name = match &address {
            Address::Tcp(tcp) => {
                sockopt::set_tcp_nodelay(&socket, true)
                    .map_err(named(format!("setsockopt TCP_NODELAY {address}")))?;
                options.set(&socket, tcp)?;
                None
            }
            Address::Unix(path) => owns_name.then(|| SocketName::new(path, true)),
        };
        Ok(Self { socket: Arc::new(socket), address, index: 0, name })
    }

    /// Sets the flags that the event loops expect, also on a socket of another process. Without `O_ASYNC`: its
    /// signals have the number that the descriptor has there.
    pub(crate) fn set_flags(&self) -> io::Result<()> {
        let at = &self.address;
        fcntl_setfl(&self.socket, OFlags::NONBLOCK).map_err(named(format!("fcntl F_SETFL {at}")))
    }

    /// Returns a handle that does not keep the socket open.
    pub(crate) fn downgrade(&self) -> WeakListener {
        let name = self.name.as_ref().map(Arc::downgrade);
        WeakListener { socket: Arc::downgrade(&self.socket), name }
    }

    /// Returns its address, with the chosen port where the port was 0.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sets its index among the addresses of the server, which its [peers](Peer::listener) have.
    pub(crate) fn set_index(&mut self, index: usize) {
        self.index = index;
    }

    /// Returns this index.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Returns the socket, to be held by an operation.
    #[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
    pub(crate) fn handle(&self) -> SharedFd {
        Arc::clone(&self.socket) as SharedFd
    }

    /// Returns the peer of a connection that was accepted by this one.
    #[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
    pub(crate) fn peer_of(&self, socket: &OwnedFd) -> rustix::io::Result<Peer> {
        let address = match self.address {
            Address::Tcp(_) => {
                let peer = rustix::net::getpeername(socket)?.ok_or(Errno::NOTCONN)?;
                Some(SocketAddr::try_from(peer)?)
            }
            Address::Unix(_) => None,
        };
        Ok(Peer::new(address, self.index))
    }

    /// Returns whether a connection waits to be accepted. Without a free descriptor accept4(2) does not tell: it
    /// reserves one first.
    pub(crate) fn has_waiting(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
    }

    /// Accepts the next connection. `flags` are for the new socket.
    pub(crate) fn accept(&self, flags: SocketFlags) -> rustix::io::Result<(OwnedFd, Peer)> {
        let (socket, address) = acceptfrom_with(&self.socket, flags | SocketFlags::CLOEXEC)?;
        let peer = address.and_then(|address| SocketAddr::try_from(address).ok());
        Ok((socket, Peer::new(peer, self.index)))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Returns whether accept(2) failed for one connection alone. Any other error would be repeated at once.
pub(crate) fn peer_gave_up(errno: Errno) -> bool {
    matches!(errno, Errno::CONNABORTED | Errno::PROTO | Errno::INTR)
}

fn bind_tcp(wanted: SocketAddr, shared: bool, options: &TcpOptions) -> io::Result<Listener> {
    let socket = open_tcp(wanted, shared).map_err(named(format!("socket {wanted}")))?;
    options.set(&socket, wanted)?;
    bind(&socket, &wanted).map_err(named(format!("bind {wanted}")))?;
    listen(&socket, BACKLOG).map_err(named(format!("listen {wanted}")))?;
    let real = getsockname(&socket)
        .and_then(SocketAddr::try_from)
        .map_err(named(format!("getsockname {wanted}")))?;
    Ok(Listener { socket: Arc::new(socket), address: Address::Tcp(real), index: 0, name: None })
}

fn open_tcp(address: SocketAddr, shared: bool) -> rustix::io::Result<OwnedFd> {
    let family = SocketAddrAny::from(address).address_family();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if address.is_ipv6() {
        // [::]:80 is IPv6 only, so that 0.0.0.0:80 can be bound beside it.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let at = |call| named(format!("{call} unix:{}", path.display()));
    let address = SocketAddrUnix::new(path).map_err(at("bind"))?;
    let open = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
    };
    let socket = open().map_err(at("socket"))?;
    match bind(&socket, &address) {
        // The name may be left over from a killed server: a connection to it is refused.
        Err(Errno::ADDRINUSE)
            if open().and_then(|probe| connect(&probe, &address)) == Err(Errno::CONNREFUSED) =>
        {
            rustix::fs::unlink(path).map_err(at("unlink"))?;
            bind(&socket, &address).map_err(at("bind"))?;
        }
        bound => bound.map_err(at("bind"))?,
    }
    listen(&socket, BACKLOG).map_err(at("listen"))?;
    Ok(Listener {
        socket: Arc::new(socket),
        address: Address::Unix(path.to_owned()),
        index: 0,
        name: Some(SocketName::new(path, false)),
    })
}

/// A handle to a listener that does not keep it open.
#[derive(Clone, Debug)]
pub(crate) struct WeakListener {
    pub(crate) socket: Weak<OwnedFd>,
    name: Option<Weak<SocketName>>,
}

impl WeakListener {
    /// Returns whether the name of the UNIX socket is removed with it.
    pub(crate) fn owns_name(&self) -> bool {
        self.name.is_some()
    }

    /// Leaves the name of the UNIX socket to another process, or takes it over.
    pub(crate) fn set_name_kept(&self, kept: bool) {
        if let Some(name) = self.name.as_ref().and_then(Weak::upgrade) {
            name.kept.store(kept, Ordering::Relaxed);
        }
    }
}

/// The name of a UNIX socket in the file system.
#[derive(Debug)]
struct SocketName {
    path: PathBuf,
    /// Another process removes it.
    kept: AtomicBool,
}

impl SocketName {
    fn new(path: &Path, kept: bool) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), kept: AtomicBool::new(kept) })
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            // It may have been removed already; an error cannot be reported.
            let _gone = rustix::fs::unlink(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_as_they_are_displayed() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/tmp/a b"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "80", "unix:", "::1:80", "example.org:80", "127.0.0.1:70000"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_in_use_is_named() {
        let any: Address = "127.0.0.1:0".parse().unwrap();
        let first = Listener::bind(&any, false).unwrap();
        let error = Listener::bind(first.address(), false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("bind {}", first.address())), "{error}");
    }
}
