//! The program that an upgrade starts: the same file name and the same arguments, but what is there by then.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::successor::SUCCESSOR;

/// Variables that describe this process and not the next.
const OWN_VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// A program and its arguments.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Returns the program of this process.
    ///
    /// # Errors
    /// Without /proc.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let running = env::current_exe()?;
        let arguments: Vec<_> = env::args_os().collect();
        // A name that is a link may lead to another version by the time of the upgrade.
        let named = arguments.first().and_then(|name| find(name));
        let is_running = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path == running);
        let path = named.filter(is_running).unwrap_or(running.clone());
        Ok(Self { path, arguments })
    }

    /// Starts it with this channel as its standard input.
    pub(super) fn start(&self, channel: OwnedFd) -> io::Result<Child> {
        let mut command = Command::new(&self.path);
        if let Some((name, arguments)) = self.arguments.split_first() {
            command.arg0(name).args(arguments);
        }
        for variable in OWN_VARIABLES {
            command.env_remove(variable);
        }
        command.env(SUCCESSOR, "1").stdin(Stdio::from(channel));
        command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("execute {}: {error}", self.path.display()))
        })
    }
}

/// Returns the path of a program as a shell finds it, independent of the working directory.
fn find(name: &OsStr) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.components().count() > 1 || path.is_absolute() {
        return std::path::absolute(path).ok();
    }
    let directories = env::var_os("PATH")?;
    let mut candidates = env::split_paths(&directories).map(|directory| directory.join(name));
    std::path::absolute(candidates.find(|path| path.is_file())?).ok()
}
