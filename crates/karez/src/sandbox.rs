//! Confinement of `karez serve`: what it keeps when it has bound its addresses and read its keys.
//!
//! It is entered while the process has one thread; those that are made later inherit it. The thread that
//! obtains certificates (ACME) is made before, and confines itself by rules of its own.
//!
//! # Limitations
//!
//! Landlock rules cannot be extended, so a root or file that a reload names has to be in a directory that was
//! permitted at the start. With ACME, code that takes over the process can use that thread's rights.

mod permissions;

use karez_reactor::Model;
use karez_sandbox::{Enforced, Permissions, SystemCalls, User};
use std::io;

use crate::cli::{SandboxMode, ServeArgs};
use crate::configuration::Configuration;
use crate::tls::Tls;
use crate::user::user;

/// The confinement of a server, not entered yet.
pub(crate) struct Sandbox {
    mode: SandboxMode,
    user: Option<User>,
    permissions: Permissions,
    calls: SystemCalls,
    /// Whether there is a file that may be loaded again.
    #[cfg(feature = "tls")]
    reloads: bool,
}

/// The confinement that holds.
#[must_use]
pub(crate) struct Confined {
    landlock: Option<io::Result<Enforced>>,
    /// Of the system calls.
    filter: io::Result<()>,
    privileges: Option<String>,
}

impl Sandbox {
    /// Finds out what the server needs. Everything that is to be permitted has to exist now.
    ///
    /// # Errors
    /// There is no such user.
    pub(crate) fn new(
        configuration: &Configuration,
        model: Model,
        tls: Option<&Tls>,
    ) -> io::Result<Self> {
        let mode = configuration.serve.confinement.sandbox;
        let user = user(&configuration.serve)?;
        let permissions = match mode {
            SandboxMode::Off => Permissions::default(),
            _ => permissions::of_server(configuration, tls),
        };
        let mut calls = SystemCalls::default();
        calls.uring = model == Model::Uring;
        calls.aio = model == Model::LinuxAio;
        calls.disconnect = model == Model::PosixAio;
        Ok(Self {
            mode,
            user,
            permissions,
            calls,
            #[cfg(feature = "tls")]
            reloads: configuration.file().is_some(),
        })
    }

    /// Returns the work by which the thread that obtains certificates confines itself. It returns what could
    /// not be enforced.
    #[cfg(feature = "acme")]
    pub(crate) fn of_acme(
        &self,
        args: &ServeArgs,
    ) -> impl FnOnce() -> Option<String> + Send + use<> {
        let permissions = (self.mode != SandboxMode::Off)
            .then(|| permissions::of_acme(&self.permissions, args.acme.state.as_deref()));
        let mut calls = SystemCalls::default();
        calls.client = true;
        move || {
            let landlock = match permissions?.enforce(false) {
                Ok(enforced) => enforced.version().err().map(str::to_owned),
                Err(error) => Some(error.to_string()),
            };
            landlock.or(calls.enforce().err().map(|error| error.to_string()))
        }
    }

    /// Gives up privileges.
    ///
    /// # Errors
    /// The user cannot be changed; in strict mode, any.
    pub(crate) fn drop_privileges(&self) -> io::Result<Option<String>> {
        if self.mode == SandboxMode::Off && self.user.is_none() {
            return Ok(None);
        }
        // A reload may bring keys when it is too late.
        #[cfg(feature = "tls")]
        if self.reloads {
            let _reported_where_there_are_keys = crate::core_dumps::exclude_memory();
        }
        let dropped = karez_sandbox::drop_privileges(self.user.as_ref())
            .and_then(|()| karez_sandbox::disable_core_dumps());
        let dropped = match self.mode {
            SandboxMode::Strict => dropped.and_then(|()| karez_sandbox::forbid_tracing()),
            _ => dropped,
        };
        match dropped {
            Ok(()) => Ok(None),
            Err(error) if self.user.is_none() && self.mode == SandboxMode::BestEffort => {
                Ok(Some(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// Restricts this thread, and those that it makes. `privileges` is the error of
    /// [`drop_privileges`](Self::drop_privileges).
    ///
    /// # Errors
    /// In strict mode, whatever cannot be enforced.
    pub(crate) fn enter(&self, privileges: Option<String>) -> io::Result<Confined> {
        let landlock = match self.mode {
            SandboxMode::Off => None,
            SandboxMode::BestEffort => Some(self.permissions.enforce(false)),
            SandboxMode::Strict => {
                Some(Ok(self.permissions.enforce(true).map_err(|error| strict(&error))?))
            }
        };
        let filter = match self.mode {
            SandboxMode::Off => Ok(()),
            SandboxMode::BestEffort => self.calls.enforce(),
            SandboxMode::Strict => Ok(self.calls.enforce().map_err(|error| strict(&error))?),
        };
        Ok(Confined { landlock, filter, privileges })
    }
}

impl Confined {
    /// Returns its description for the start line.
    pub(crate) fn description(&self) -> String {
        let privileges = match &self.privileges {
            Some(error) => format!(", privileges kept: {error}"),
            None => String::new(),
        };
        let filter = match &self.filter {
            Ok(()) => ", seccomp".to_owned(),
            Err(error) => format!(", no {error}"),
        };
        match &self.landlock {
            None => "no sandbox".to_owned(),
            Some(Ok(enforced)) => format!("sandbox: {enforced}{filter}{privileges}"),
            Some(Err(error)) => format!("sandbox: no Landlock: {error}{filter}{privileges}"),
        }
    }
}

/// Returns how the arguments contradict each other, if they do.
pub(crate) fn contradiction(args: &ServeArgs, model: Model) -> Option<&'static str> {
    if args.confinement.sandbox != SandboxMode::Strict {
        return None;
    }
    if model == Model::Uring {
        return Some("--sandbox strict cannot be used with model uring, which bypasses seccomp");
    }
    #[cfg(feature = "acme")]
    if !args.acme.acme.is_empty() {
        return Some("--sandbox strict cannot be used with --acme, which connects to other hosts");
    }
    let is_root = match user(args) {
        Ok(Some(user)) => user.is_root(),
        Ok(None) => rustix::process::geteuid().is_root(),
        // Reported where the user is needed.
        Err(_) => false,
    };
    is_root.then_some("--sandbox strict needs --user, because the superuser owns most files")
}

fn strict(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("--sandbox strict: {error}"))
}
