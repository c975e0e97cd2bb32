//! Socket activation: listening sockets that systemd passes (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`;
//! sd_listen_fds(3)).
//!
//! A `--listen` with the address of such a socket takes it. Without any `--listen` all of them are served; one with
//! the name `http` or `https` (`FileDescriptorName=`, systemd.socket(5)) has this protocol.

use karez_reactor::{Address, InheritedListener};
use std::env;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::{ListenAddress, Scheme};
use crate::configuration::Configuration;
use crate::stderr;

/// The number of the first descriptor.
const FIRST: i32 = 3;

/// Listening sockets of another process.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(crate) listeners: Vec<InheritedListener>,
    pub(crate) activated: Activated,
}

/// The addresses of the sockets that the service manager has passed, and their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activated(pub(crate) Vec<(Address, String)>);

impl Inherited {
    /// Takes the sockets that the environment names.
    ///
    /// # Errors
    /// A number of sockets that are not there; a socket that does not listen.
    pub(crate) fn of_service_manager() -> io::Result<Self> {
        let number = |name: &str| env::var(name).ok()?.parse::<usize>().ok();
        let pid = number("LISTEN_PID");
        if pid.is_some() && pid != usize::try_from(std::process::id()).ok() {
            return Ok(Self::default());
        }
        let Some(count) = number("LISTEN_FDS").filter(|_| pid.is_some()) else {
            return Ok(Self::default());
        };
        let sockets = karez_sys::inherited_descriptors(FIRST, count).map_err(|errno| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("LISTEN_FDS={count}: {error}"))
        })?;
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
        let mut inherited = Self::default();
        for (socket, name) in sockets.into_iter().zip(names) {
            let listener = InheritedListener::new(socket, None, false)?;
            inherited.add(listener, name);
        }
        Ok(inherited)
    }

    /// Adds a socket that the service manager has passed.
    pub(crate) fn add(&mut self, listener: InheritedListener, name: String) {
        let activated = &mut self.activated.0;
        if !activated.iter().any(|(address, _)| address == listener.address()) {
            activated.push((listener.address().clone(), name));
        }
        self.listeners.push(listener);
    }

    /// Warns of the sockets of the service manager that no `--listen` has taken, and closes all that remain.
    /// Returns the names of UNIX sockets that have to be removed when this process serves.
    pub(crate) fn close_unused(self) -> Vec<PathBuf> {
        for listener in &self.listeners {
            let address = listener.address();
            if self.activated.name(address).is_some() {
                stderr::warning(&format!(
                    "the service manager passed a socket for {address}, but no --listen has this address"
                ));
            }
        }
        let names = self.listeners.iter().filter_map(InheritedListener::owned_name);
        names.map(Path::to_owned).collect()
    }
}

impl Activated {
    /// Returns the name of the socket for this address.
    pub(crate) fn name(&self, address: &Address) -> Option<&str> {
        let mut found = self.0.iter().filter(|(own, _)| own == address);
        found.next().map(|(_, name)| name.as_str())
    }

    /// Puts these addresses into a configuration that has none.
    pub(crate) fn complete(&self, configuration: &mut Configuration) {
        if self.0.is_empty() || configuration.has_listen() {
            return;
        }
        let listen = self.0.iter().map(|(address, name)| ListenAddress {
            scheme: Scheme::named(name),
            address: address.clone(),
        });
        configuration.serve.listen = listen.collect();
    }
}
