//! Notifications to systemd: a datagram to the UNIX socket `$NOTIFY_SOCKET` for each (sd_notify(3), systemd.service(5)
//! `Type=notify-reload`).
//!
//! The socket is connected at the start, so that a sandbox which is entered later need not permit it.
//!
//! # Limitations
//!
//! A notification that the manager does not take within [`TIMEOUT`] is dropped: the server serves all the same. A
//! socket of another kind (`vsock:`) is ignored.

use rustix::net::{SendFlags, send};
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a notification waits for a manager whose queue is full.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The connection to the service manager, if there is one. Clones share it.
#[derive(Clone)]
pub(crate) struct ServiceManager {
    socket: Arc<Mutex<Option<UnixDatagram>>>,
}

impl ServiceManager {
    /// Connects to the service manager that the environment names.
    pub(crate) fn connect() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| connect(&name));
        Self { socket: Arc::new(Mutex::new(socket)) }
    }

    /// Reports that the server serves, at the start or again after a reload.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// Reports that the configuration is read again, until the next [`ready`](Self::ready).
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Reports that the event loops run.
    pub(crate) fn alive(&self) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = &*socket {
            // The next one follows soon.
            let _dropped = send(socket, b"WATCHDOG=1", SendFlags::DONTWAIT);
        }
    }

    /// Reports that the shutdown has begun.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Reports that another process is the service from now on. This one reports nothing more.
    pub(crate) fn succeeded_by(&self, process: Pid) {
        // A reload may be under way, which the other process ends.
        self.send(&format!("MAINPID={}\nREADY=1", process.as_raw_nonzero()));
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn send(&self, text: &str) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = &*socket {
            let _dropped = socket.send(text.as_bytes());
        }
    }
}

/// Returns the time within which the service manager expects [`ServiceManager::alive`], if it does.
pub(crate) fn watchdog() -> Option<Duration> {
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let of_other = |pid| pid != u64::from(std::process::id());
    if number("WATCHDOG_PID").is_some_and(of_other) {
        return None;
    }
    number("WATCHDOG_USEC").filter(|&micros| micros > 0).map(Duration::from_micros)
}

fn connect(name: &OsStr) -> Option<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok()?,
        [b'/', ..] => SocketAddr::from_pathname(name).ok()?,
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address).ok()?;
    socket.set_write_timeout(Some(TIMEOUT)).ok()?;
    Some(socket)
}

/// Returns the first line.
fn line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
