//! The socket by which `karez upgrade` asks the launcher of a server for an upgrade: a UNIX socket with the abstract
//! name `karez/NAMESPACE/PID` (unix(7), Linux 2.2), so that no file is left behind.
//!
//! Anybody on the machine can connect to such a name, or take it first. So the launcher serves its own user
//! and root only, and the command believes only a process of the server's user, its own or root
//! (`SO_PEERCRED`).
//!
//! # Limitations
//!
//! Abstract names belong to a network namespace: `karez upgrade` has to run in that of the server.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind, connect, listen,
    socket_with, sockopt,
};
use rustix::process::{Pid, geteuid};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use super::channel::Channel;

/// Maximum number of commands that wait for one result.
const MAX_WAITING: usize = 16;

/// The launcher's end.
pub(super) struct Control {
    socket: OwnedFd,
    waiting: Vec<Channel>,
}

impl Control {
    /// Listens for the server with this process ID. `None` if the name is taken, or the kernel refuses it.
    pub(super) fn open(server: Pid) -> Option<Self> {
        let socket = unix_socket().ok()?;
        bind(&socket, &address(server).ok()?).ok()?;
        listen(&socket, i32::try_from(MAX_WAITING).unwrap_or(1)).ok()?;
        Some(Self { socket, waiting: Vec::new() })
    }

    /// Accepts a command; true if it may ask for an upgrade.
    pub(super) fn accept(&mut self) -> bool {
        let Ok((socket, _)) = acceptfrom_with(&self.socket, SocketFlags::CLOEXEC) else {
            return false;
        };
        let Ok(peer) = sockopt::socket_peercred(&socket) else { return false };
        let may = (peer.uid.is_root() || peer.uid == geteuid()) && self.waiting.len() < MAX_WAITING;
        if may {
            self.waiting.push(Channel::of(socket));
        }
        may
    }

    /// Tells the result to all commands that wait.
    pub(super) fn reply(&mut self, text: &str) {
        for command in self.waiting.drain(..) {
            let _gone = command.send(text, &[]);
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks for an upgrade of the server with this process ID, and waits for the result.
///
/// # Errors
/// If there is no such server, or it does not respond in time.
pub(super) fn request(server: Pid, timeout: Duration) -> io::Result<String> {
    let number = server.as_raw_nonzero();
    let other = |text: String| io::Error::other(text);
    let socket = unix_socket()?;
    connect(&socket, &address(server)?).map_err(|errno| match errno {
        Errno::CONNREFUSED => {
            other(format!("process {number} is no karez serve that can be upgraded"))
        }
        errno => other(format!("connect to the launcher of process {number}: {errno}")),
    })?;
    let peer = sockopt::socket_peercred(&socket)?;
    let owner = fs::metadata(format!("/proc/{number}")).map(|found| found.uid()).ok();
    let trusted = peer.uid.is_root() || peer.uid == geteuid() || Some(peer.uid.as_raw()) == owner;
    if !trusted {
        return Err(other(format!("the launcher of process {number} belongs to another user")));
    }
    match Channel::of(socket).receive(Some(timeout)) {
        Ok(Some(message)) => Ok(message.text),
        Ok(None) => Err(other(format!("process {number} belongs to another user, or has ended"))),
        Err(Errno::TIME) => Err(other(format!("process {number} does not respond"))),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns the process IDs of all servers in this network and process namespace.
pub(super) fn servers() -> io::Result<Vec<Pid>> {
    let prefix = format!("@{}", prefix()?);
    let table = fs::read_to_string("/proc/net/unix")?;
    let numbers = table.lines().filter_map(|line| line.split_once(&prefix)?.1.parse().ok());
    let mut servers: Vec<_> = numbers.filter_map(Pid::from_raw).collect();
    servers.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
    servers.dedup();
    Ok(servers)
}

fn unix_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn address(server: Pid) -> io::Result<SocketAddrUnix> {
    let name = format!("{}{}", prefix()?, server.as_raw_nonzero());
    Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?)
}

/// Returns the name up to the number: a number means another process in another namespace.
fn prefix() -> io::Result<String> {
    let namespace = fs::metadata("/proc/self/ns/pid")?.ino();
    Ok(format!("karez/{namespace}/"))
}
