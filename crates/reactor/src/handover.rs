//! Listening sockets that pass from one process to another: from a service manager to the server, or from a
//! server to the one that replaces it. Both processes then have the same socket and its queue, so no
//! connection is lost (unix(7), `SCM_RIGHTS`).
//!
//! # Limitations
//!
//! The flags of a socket belong to all processes that have it open: `O_NONBLOCK` is always set, except while a
//! server with model `uring` accepts. Signals have one owner: a server with model `signal` is not notified any more as
//! soon as the event loops of another process run on its sockets, even if one of them fails a moment later. Sockets
//! without a name (`SOCK_DGRAM`, VSOCK, abstract UNIX names) are refused.

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getsockname, sockopt};
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::named;
use crate::listener::{Address, Listener, WeakListener};
use crate::tcp_options::TcpOptions;

/// A listening socket that another process has bound.
#[derive(Debug)]
pub struct InheritedListener {
    socket: OwnedFd,
    address: Address,
    /// The address for which it was bound, such as port 0.
    requested: Option<Address>,
    /// The name of a UNIX socket is removed at the end.
    owns_name: bool,
}

impl InheritedListener {
    /// Returns the listener of a socket; `requested` is the address that it was bound for, if it is known.
    /// With `owns_name` the server removes the name of a UNIX socket at its end, once it has [taken it
    /// over](Handover::own_names).
    ///
    /// # Errors
    /// `InvalidInput` for a socket that is not a listening stream socket with an address or a path.
    pub fn new(socket: OwnedFd, requested: Option<Address>, owns_name: bool) -> io::Result<Self> {
        let number = socket.as_raw_fd();
        let unfit = |why: &str| {
            let text = format!("inherited descriptor {number}: {why}");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        let kind = sockopt::socket_type(&socket).map_err(|_| unfit("not a socket"))?;
        let listens = sockopt::socket_acceptconn(&socket).unwrap_or(false);
        if kind != SocketType::STREAM || !listens {
            return Err(unfit("not a listening stream socket"));
        }
        let name = getsockname(&socket).map_err(named(format!("getsockname {number}")))?;
        let address = match name.address_family() {
            AddressFamily::INET | AddressFamily::INET6 => {
                Address::Tcp(SocketAddr::try_from(name).map_err(|_| unfit("no IP address"))?)
            }
            AddressFamily::UNIX => {
                let name = SocketAddrUnix::try_from(name).map_err(|_| unfit("no path"))?;
                let path = name.path().ok_or_else(|| unfit("no path"))?;
                Address::Unix(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
            }
            _ => return Err(unfit("neither TCP nor UNIX")),
        };
        Ok(Self { socket, address, requested, owns_name })
    }

    /// Returns its address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the name of a UNIX socket that is removed at the end. A caller that does not need the socket
    /// removes it instead.
    #[must_use]
    pub fn owned_name(&self) -> Option<&Path> {
        match &self.address {
            Address::Unix(path) if self.owns_name => Some(path),
            _ => None,
        }
    }

    /// Takes the socket for an address out of `inherited`; if there is none, binds and listens, as [`Listener::bind`]
    /// does. For a listener that no [`Server`](crate::Server) runs.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn take_or_bind(inherited: &mut Vec<Self>, address: &Address) -> io::Result<Listener> {
        let Some(first) = claim(inherited, address).into_iter().next() else {
            return Listener::bind(address, false);
        };
        let listener = first.into_listener(&TcpOptions::default())?;
        listener.set_flags()?;
        Ok(listener)
    }

    /// Returns the listener of this process, with options that accepted TCP connections inherit.
    pub(crate) fn into_listener(self, options: &TcpOptions) -> io::Result<Listener> {
        Listener::of_socket(self.socket, self.address, self.owns_name, options)
    }

    fn is_for(&self, address: &Address) -> bool {
        self.address == *address || self.requested.as_ref() == Some(address)
    }
}

/// Takes all sockets of the first inherited address that is, or was bound for, this address.
pub(crate) fn claim(
    inherited: &mut Vec<InheritedListener>,
    address: &Address,
) -> Vec<InheritedListener> {
    let Some(first) = inherited.iter().find(|listener| listener.is_for(address)) else {
        return Vec::new();
    };
    let real = first.address.clone();
    inherited.extract_if(.., |listener| listener.address == real).collect()
}

/// A handle to the listeners of a server, by which another process can be given them. It does not keep them
/// open.
#[derive(Clone, Debug)]
pub struct Handover {
    listeners: Vec<(WeakListener, Address)>,
    /// Those of other parts of the process.
    others: Vec<(WeakListener, Address)>,
}

/// A listener that is given to another process.
#[derive(Debug)]
#[non_exhaustive]
pub struct HandoverListener {
    /// The socket.
    pub socket: Arc<OwnedFd>,
    /// The address that it was bound for.
    pub requested: Address,
    /// The name of a UNIX socket is removed at the end.
    pub owns_name: bool,
}

impl Handover {
    pub(crate) fn new<'a>(listeners: impl Iterator<Item = (&'a Listener, &'a Address)>) -> Self {
        let mut unique: Vec<(WeakListener, Address)> = Vec::new();
        for (listener, requested) in listeners {
            let weak = listener.downgrade();
            // Event loops share one socket.
            if !unique.iter().any(|(known, _)| known.socket.ptr_eq(&weak.socket)) {
                unique.push((weak, requested.clone()));
            }
        }
        Self { listeners: unique, others: Vec::new() }
    }

    /// Adds a listener that the server does not run, and the address that it was bound for.
    pub fn add(&mut self, listener: &Listener, requested: &Address) {
        self.others.push((listener.downgrade(), requested.clone()));
    }

    /// Returns the listeners, those of the server first; none after the server has closed its own.
    #[must_use]
    pub fn listeners(&self) -> Vec<HandoverListener> {
        let open = |(weak, requested): &(WeakListener, Address)| {
            let socket = weak.socket.upgrade()?;
            let (requested, owns_name) = (requested.clone(), weak.owns_name());
            Some(HandoverListener { socket, requested, owns_name })
        };
        let own: Vec<_> = self.listeners.iter().filter_map(open).collect();
        let others = if own.is_empty() { &[][..] } else { &self.others };
        own.into_iter().chain(others.iter().filter_map(open)).collect()
    }

    /// Sets options on the server's TCP listeners, for the connections that arrive from now on. An option that is
    /// `None` stays as it was.
    ///
    /// # Errors
    /// An option that the kernel refuses, named after its call and the address.
    pub fn set_tcp_options(&self, options: &TcpOptions) -> io::Result<()> {
        for (listener, requested) in &self.listeners {
            if let (Some(socket), Address::Tcp(_)) = (listener.socket.upgrade(), requested) {
                options.set(&socket, requested)?;
            }
        }
        Ok(())
    }

    /// Takes over the names of inherited UNIX sockets: from now on they are removed at the end of the server. Before
    /// that they stay, because the process that had them may have to go on.
    pub fn own_names(&self) {
        let all = self.listeners.iter().chain(&self.others);
        all.for_each(|(listener, _)| listener.set_name_kept(false));
    }

    /// Leaves the names of UNIX sockets to the process that has been given them.
    pub fn keep_names(&self) {
        let all = self.listeners.iter().chain(&self.others);
        all.for_each(|(listener, _)| listener.set_name_kept(true));
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[path = "handover/tests.rs"]
mod tests;
