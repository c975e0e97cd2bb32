//! Landlock (landlock(7), Linux 5.13): rules that a thread gives itself for opening files, and since 6.7 for
//! TCP, since 6.12 for signals and abstract UNIX sockets.
//!
//! A rule belongs to a directory or file that exists, and permits what is beneath it, wherever it is moved.
//! Directories that get its name later are not covered.
//!
//! # Limitations
//!
//! Names can still be looked up: stat(2), readlink(2), chdir(2) and `O_PATH` need no permission, and
//! attributes of files (chmod(2), utimensat(2)) are not protected. UDP is restricted by later kernels only.
//! Older kernels enforce less; see [`Enforced`].

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// The rights that are known: a later kernel enforces all of them.
const KNOWN: ABI = ABI::V10;

/// The rights that a strict sandbox must have: files with truncation, TCP, signals and abstract sockets.
const REQUIRED: ABI = ABI::V6;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});

const APPEND: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | MakeReg});

/// What a thread may do. Anything else that Landlock covers is forbidden.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    beneath: BTreeMap<PathBuf, BitFlags<AccessFs>>,
    network: bool,
}

/// The rules of a thread.
#[derive(Debug)]
#[must_use]
pub struct Enforced {
    abi: Result<i32, &'static str>,
    /// The kernel may make another inode for a name in /proc once the name is not in use, and the rule would
    /// end with the first one.
    _pinned: Vec<PathFd>,
}

impl Permissions {
    /// Permits reading a file, or the files and directories beneath a directory. A path that does not exist is
    /// left out.
    pub fn read(&mut self, path: impl Into<PathBuf>) {
        self.add(path.into(), READ);
    }

    /// Permits also to write, make, rename and remove files and directories beneath a directory.
    pub fn write(&mut self, directory: impl Into<PathBuf>) {
        self.add(directory.into(), WRITE);
    }

    /// Permits to make files beneath a directory and to write to them, or to write to a file. They cannot be
    /// truncated, renamed or removed.
    pub fn append(&mut self, path: impl Into<PathBuf>) {
        self.add(path.into(), APPEND);
    }

    /// Permits removing files beneath a directory.
    pub fn remove_files(&mut self, directory: impl Into<PathBuf>) {
        self.add(directory.into(), AccessFs::RemoveFile.into());
    }

    /// Permits TCP and UDP, and connecting to UNIX sockets beneath a directory.
    pub fn network(&mut self, sockets: impl Into<PathBuf>) {
        self.network = true;
        self.add(sockets.into(), AccessFs::ResolveUnix.into());
    }

    fn add(&mut self, path: PathBuf, rights: BitFlags<AccessFs>) {
        *self.beneath.entry(path).or_default() |= rights;
    }

    /// Restricts the calling thread, and the threads that it makes later.
    ///
    /// # Errors
    /// The kernel refuses. If `strict`: it has no Landlock, or an older one than Linux 6.12.
    pub fn enforce(&self, strict: bool) -> io::Result<Enforced> {
        let failed = |error: RulesetError| io::Error::other(format!("Landlock: {error}"));
        // Before Linux 6.4 the auxiliary vector is read from /proc, once.
        let _read_now = rustix::param::page_size();
        let mut rules = self.ruleset(strict).map_err(failed)?;
        let mut pinned = Vec::new();
        for (path, &rights) in &self.beneath {
            // Without such a path there is nothing to permit.
            let Ok(fd) = PathFd::new(path) else { continue };
            rules = add(rules, &fd, path, rights).map_err(failed)?;
            if path.starts_with("/proc") {
                pinned.push(fd);
            }
        }
        let status = rules.restrict_self().map_err(failed)?;
        Ok(Enforced { abi: abi(&status), _pinned: pinned })
    }

    fn ruleset(&self, strict: bool) -> Result<RulesetCreated, RulesetError> {
        let mut ruleset = Ruleset::default();
        if strict {
            let required = ruleset.set_compatibility(CompatLevel::HardRequirement);
            ruleset = self.handled(required, REQUIRED)?;
        }
        let known = ruleset.set_compatibility(CompatLevel::BestEffort);
        self.handled(known, KNOWN)?.create()
    }

    fn handled(&self, ruleset: Ruleset, abi: ABI) -> Result<Ruleset, RulesetError> {
        let ruleset = ruleset.handle_access(AccessFs::from_all(abi))?;
        let ruleset = match self.network {
            true => ruleset,
            false => ruleset.handle_access(AccessNet::from_all(abi))?,
        };
        ruleset.scope(Scope::from_all(abi))
    }
}

/// Adds the rule for a path. Rights of directories mean nothing for a file.
fn add(
    rules: RulesetCreated,
    fd: &PathFd,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(KNOWN) };
    if rights.is_empty() {
        return Ok(rules);
    }
    rules.add_rule(PathBeneath::new(fd, rights))
}

fn abi(status: &RestrictionStatus) -> Result<i32, &'static str> {
    match (&status.ruleset, status.landlock) {
        (_, LandlockStatus::NotEnabled) => Err("it is not enabled (see lsm= of the kernel)"),
        (_, LandlockStatus::NotImplemented) => Err("the kernel has none, or it is forbidden"),
        (RulesetStatus::NotEnforced, _) => Err("it enforces nothing"),
        (_, LandlockStatus::Available { effective_abi, kernel_abi }) => {
            Ok(kernel_abi.unwrap_or(effective_abi as i32))
        }
    }
}

impl Enforced {
    /// Returns the version of Landlock that enforces the rules; without one, the reason.
    ///
    /// # Errors
    /// Nothing is enforced.
    pub fn version(&self) -> Result<i32, &'static str> {
        self.abi
    }

    /// Returns what a version of Landlock covers.
    #[must_use]
    pub fn covers(version: i32) -> &'static str {
        match version {
            ..=3 => "files",
            4 | 5 => "files, TCP",
            _ => "files, TCP, signals, abstract sockets",
        }
    }
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.abi {
            Ok(version) => write!(f, "Landlock {version} ({})", Self::covers(version)),
            Err(reason) => write!(f, "no Landlock: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout, reason = "a skipped test says why")]

    use super::*;
    use std::fs::{self, File};
    use std::net::{TcpListener, TcpStream};

    /// Runs `test` on a thread with these rights, unless the kernel has no Landlock.
    fn confined(permissions: Permissions, test: impl FnOnce(i32) + Send + 'static) {
        let run = move || match permissions.enforce(false).unwrap().version() {
            Ok(version) => test(version),
            Err(reason) => println!("skipped: Landlock: {reason}"),
        };
        std::thread::spawn(run).join().unwrap();
    }

    fn is_denied<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn files_outside_and_writing_are_denied() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["in", "out", "state", "sockets", "logs"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), name).unwrap();
        }
        let mut permissions = Permissions::default();
        permissions.read(path("in"));
        permissions.read(path("missing"));
        permissions.write(path("state"));
        permissions.remove_files(path("sockets"));
        permissions.append(path("logs"));
        let base = directory.path().to_owned();
        confined(permissions, move |_| {
            let path = |name: &str| base.join(name);
            assert_eq!(fs::read(path("in/file")).unwrap(), b"in");
            assert_eq!(fs::read_dir(path("in")).unwrap().count(), 1);
            assert!(is_denied(fs::read(path("out/file"))));
            assert!(is_denied(fs::read_dir(path("out"))));
            assert!(is_denied(fs::write(path("in/file"), "")));
            assert!(is_denied(File::create(path("in/new"))));
            assert!(is_denied(fs::remove_file(path("in/file"))));
            assert!(is_denied(fs::rename(path("in/file"), path("state/moved"))));
            fs::write(path("state/new"), "").unwrap();
            fs::rename(path("state/new"), path("state/file")).unwrap();
            fs::remove_file(path("sockets/file")).unwrap();
            assert!(is_denied(File::create(path("sockets/file"))));
            let append = |name| File::options().append(true).create(true).open(path(name));
            append("logs/file").unwrap();
            append("logs/new").unwrap();
            assert!(is_denied(fs::read(path("logs/file"))));
            assert!(is_denied(fs::remove_file(path("logs/file"))));
            assert!(is_denied(append("state/../in/new")));
        });
        assert_eq!(fs::read(path("out/file")).unwrap(), b"out");
    }

    #[test]
    fn tcp_is_denied_unless_the_network_is_permitted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        confined(Permissions::default(), move |version| {
            if version < 4 {
                println!("skipped: Landlock {version} does not cover TCP");
                return;
            }
            assert!(is_denied(TcpStream::connect(address)));
            assert!(is_denied(TcpListener::bind("127.0.0.1:0")));
        });
        let mut network = Permissions::default();
        network.network("/run");
        confined(network, move |_| drop(TcpStream::connect(address).unwrap()));
    }

    #[test]
    fn a_rule_for_proc_outlives_its_name() {
        let mut permissions = Permissions::default();
        permissions.read("/proc/self/mountinfo");
        let run = move || {
            let enforced = permissions.enforce(false).unwrap();
            assert!(!fs::read("/proc/self/mountinfo").unwrap().is_empty());
            if enforced.version().is_ok() {
                assert!(is_denied(fs::read("/proc/self/environ")));
            }
        };
        std::thread::spawn(run).join().unwrap();
    }

    #[test]
    fn strict_needs_all_of_it() {
        let run = || Permissions::default().enforce(true).map(|enforced| enforced.version());
        match std::thread::spawn(run).join().unwrap() {
            Ok(version) => assert!(version.unwrap() >= 6),
            Err(error) => assert!(error.to_string().starts_with("Landlock: "), "{error}"),
        }
    }
}
