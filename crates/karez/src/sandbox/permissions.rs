//! The directories that a running server needs.
//!
//! A Landlock rule belongs to a directory and not to its name, and a deployment replaces the directory that a
//! root's name leads to. The new one is usually beside the old one, so what is permitted is the directory that
//! has it: for each symbolic link on the way to the root the directory that has its target, and the
//! directory that has the root itself. That is never `/`, of which everything is beneath.
//!
//! # Limitations
//!
//! A directory that is replaced above all of these, or a link that is switched to somewhere else, leads out of
//! the sandbox; `--sandbox-read` permits it. In strict mode nothing beside a root is permitted.

use karez_reactor::Address;
use karez_sandbox::Permissions;
use karez_server::remember_directory;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::cli::SandboxMode;
use crate::configuration::Configuration;
use crate::tls::Tls;

/// The mount table, by which slow devices are told apart, and the limit on cores.
const KERNEL: [&str; 3] = ["/proc/self/mountinfo", "/proc/self/cgroup", "/sys/fs/cgroup"];

/// The links on the way to a root after which the rest is taken as it is, as in the kernel.
const MAX_LINKS: usize = 40;

/// Returns what the threads of a server may do; lets the server remember what it will not be able to read.
pub(super) fn of_server(configuration: &Configuration, tls: Option<&Tls>) -> Permissions {
    let (args, mut permissions) = (&configuration.serve, Permissions::default());
    let beside = args.confinement.sandbox != SandboxMode::Strict;
    for root in configuration.roots() {
        permissions.read(root);
        let way = Way::to(root);
        way.directories.iter().for_each(|directory| remember_directory(directory));
        if beside {
            way.neighbours.into_iter().for_each(|directory| permissions.read(directory));
        }
    }
    for directory in &args.confinement.sandbox_read {
        permissions.read(directory);
    }
    let certificates = tls.into_iter().flat_map(Tls::obtained_files);
    for file in configuration.files().into_iter().chain(certificates) {
        directories(&file).into_iter().for_each(|directory| permissions.read(directory));
    }
    for (_, file) in args.logs.files() {
        permit_log(file, &mut permissions);
    }
    let listeners = args.listen.iter().map(|listen| &listen.address);
    #[cfg(feature = "metrics")]
    let listeners = listeners.chain(&args.observe.metrics).chain(&args.observe.status);
    for address in listeners {
        // Its name is removed at the end.
        if let Address::Unix(socket) = address {
            permissions.remove_files(parent(socket));
        }
    }
    KERNEL.iter().for_each(|path| permissions.read(path));
    // For the symbols of a backtrace.
    if let Ok(program) = std::env::current_exe() {
        permissions.read(program);
    }
    permissions
}

/// Permits a log: its directory, so that a new file can be made in place of one that was renamed. One that is no
/// regular file, such as a named pipe, is permitted alone, and may be read, too.
fn permit_log(file: &Path, permissions: &mut Permissions) {
    if file.metadata().is_ok_and(|found| !found.is_file()) {
        permissions.append(file);
        permissions.read(file);
        return;
    }
    directories(file).into_iter().for_each(|directory| permissions.append(directory));
}

/// Returns what the thread may do that obtains certificates: it resolves names by the C library, connects,
/// and writes its state.
#[cfg(feature = "acme")]
pub(super) fn of_acme(server: &Permissions, state: Option<&Path>) -> Permissions {
    let mut permissions = server.clone();
    state.into_iter().for_each(|state| permissions.write(state));
    for directory in ["/etc", "/lib", "/lib64", "/usr", "/run"] {
        permissions.read(directory);
    }
    permissions.network("/run");
    permissions
}

/// Returns the directories of a file: of its name, and of the file that a link leads to. A file in `/` is
/// permitted alone.
fn directories(file: &Path) -> BTreeSet<PathBuf> {
    let real = file.canonicalize().ok();
    let of = |file: &Path| match parent(file) {
        directory if is_top(&directory) => file.to_owned(),
        directory => directory,
    };
    [file].into_iter().chain(real.as_deref()).map(of).collect()
}

/// The way to a root.
#[derive(Debug, Default)]
struct Way {
    /// All directories that are passed.
    directories: BTreeSet<PathBuf>,
    /// Those in which a successor of the root is permitted.
    neighbours: BTreeSet<PathBuf>,
}

impl Way {
    fn to(root: &Path) -> Self {
        let mut way = Self::default();
        let end = way.follow(root);
        way.neighbours.insert(parent(&end));
        way.neighbours.retain(|directory| !is_top(directory));
        way
    }

    /// Walks as the kernel does. Returns the path without links.
    fn follow(&mut self, root: &Path) -> PathBuf {
        let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let mut rest = parts(&absolute);
        let (mut path, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = rest.pop() {
            self.directories.insert(path.clone());
            if part == Path::new("..") {
                path.pop();
                continue;
            }
            path.push(part);
            let Ok(target) = path.read_link() else { continue };
            links += 1;
            if links > MAX_LINKS {
                break;
            }
            path.pop();
            // What replaces a link may lead to a neighbour of its target.
            let found = path.join(&target).canonicalize().ok();
            self.neighbours.extend(found.map(|target| parent(&target)));
            if target.is_absolute() {
                path = PathBuf::from("/");
            }
            rest.extend(parts(&target));
        }
        path
    }
}

/// Returns the parts of a path, the first one last.
fn parts(path: &Path) -> Vec<PathBuf> {
    let named = path.components().rev();
    let named = named.filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    named.map(|part| PathBuf::from(part.as_os_str())).collect()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => PathBuf::from("/"),
    }
}

fn is_top(directory: &Path) -> bool {
    directory.canonicalize().is_ok_and(|real| real == Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_neighbours_of_roots_and_of_link_targets_are_included() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let path = |name: &str| base.join(name);
        for made in ["site", "releases/1/public", "store/v1", "a/b"] {
            fs::create_dir_all(path(made)).unwrap();
        }
        symlink("releases/1", path("current")).unwrap();
        symlink(path("store/v1"), path("absolute")).unwrap();
        symlink("../a/../absolute", path("a/indirect")).unwrap();
        symlink("loop", path("loop")).unwrap();
        for (root, expected) in [
            ("site", vec![""]),
            ("site/../site/.", vec![""]),
            ("current", vec!["releases"]),
            ("current/public", vec!["releases", "releases/1"]),
            ("absolute", vec!["store"]),
            ("a/indirect", vec!["store"]),
            ("missing/root", vec!["missing"]),
        ] {
            let way = Way::to(&path(root));
            let expected = expected.into_iter().map(&path).collect();
            assert_eq!(way.neighbours, expected, "{root}");
            assert!(way.directories.contains(Path::new("/")) && way.directories.contains(&base));
        }
        assert!(Way::to(&path("absolute")).directories.contains(&path("store")));
        assert!(!Way::to(&path("loop")).neighbours.contains(Path::new("/")));
        assert_eq!(Way::to(Path::new("/")).neighbours, BTreeSet::new());
        assert_eq!(Way::to(Path::new("/etc")).neighbours, BTreeSet::new());
    }

    #[test]
    fn files_bring_their_directories() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("archive")).unwrap();
        fs::create_dir_all(base.join("live")).unwrap();
        fs::write(base.join("archive/key"), "").unwrap();
        symlink("../archive/key", base.join("live/key")).unwrap();
        let expected = BTreeSet::from([base.join("archive"), base.join("live")]);
        assert_eq!(directories(&base.join("live/key")), expected);
        assert_eq!(directories(Path::new("/karez.toml")), [PathBuf::from("/karez.toml")].into());
        assert_eq!(directories(Path::new("missing.toml")), [PathBuf::from(".")].into());
    }
}
