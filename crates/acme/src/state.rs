//! The state directory: the account, and for each name a certificate with its key and the server's renewal
//! information.
//!
//! Directories have mode 0700 and files 0600. A file is replaced by another as a whole: it is written
//! under a temporary name, synchronized (fsync(2)) and renamed (rename(2)). A lock (flock(2)) keeps a second
//! process from ordering the same certificate at the same time.
//!
//! # Limitations
//!
//! Modes of directories that exist already are not changed.

use karez_tls::Pair;
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::name::DnsName;

/// The state for one directory of an ACME server.
#[derive(Debug)]
pub(crate) struct State {
    directory: PathBuf,
}

/// Held while certificates are ordered.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl State {
    /// Makes the directories for these names, where they are missing, and tries to write.
    pub(crate) fn open<'a>(
        state: &Path,
        directory_url: &str,
        names: impl Iterator<Item = &'a DnsName>,
    ) -> io::Result<Self> {
        let state = Self { directory: state.join("acme").join(authority(directory_url)) };
        for name in names {
            let directory = state.directory_of(name);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.map_err(|error| named("mkdir", &directory, &error))?;
        }
        state.open_lock()?;
        Ok(state)
    }

    /// Returns where a certificate and its key are: in one file, so that they are replaced together.
    pub(crate) fn pair(&self, name: &DnsName) -> Pair {
        let file = self.directory_of(name).join("pair.pem");
        Pair { certificate: file.clone(), key: file }
    }

    /// Returns the file of the server's renewal information for a certificate.
    pub(crate) fn renewal_info(&self, name: &DnsName) -> PathBuf {
        self.directory_of(name).join("renewal.json")
    }

    /// Returns the file of the account.
    pub(crate) fn account(&self) -> PathBuf {
        self.directory.join("account.json")
    }

    /// Waits until no other process orders certificates.
    pub(crate) fn lock(&self) -> io::Result<Lock> {
        let file = self.open_lock()?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| named("flock", &self.directory, &errno.into()))?;
        Ok(Lock { _file: file })
    }

    fn open_lock(&self) -> io::Result<File> {
        let path = self.directory.join("lock");
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        opened.map_err(|error| named("open", &path, &error))
    }

    fn directory_of(&self, name: &DnsName) -> PathBuf {
        self.directory.join("certificates").join(name.as_str())
    }
}

/// Returns the name of a file that does not replace another yet.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Writes a file for [`replace`], under its [temporary] name. The caller has the lock.
pub(crate) fn write_temporary(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let written = (|| {
        // One that an earlier process has left behind may have any mode.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()
    })();
    written.map_err(|error| named("write", &temporary, &error))
}

/// Puts the file that was [written](write_temporary) in the place of the earlier one.
pub(crate) fn replace(path: &Path) -> io::Result<()> {
    let renamed = std::fs::rename(temporary(path), path).and_then(|()| match path.parent() {
        // The new name has to survive a power failure, too.
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    });
    renamed.map_err(|error| named("rename", path, &error))
}

/// Returns a name for the authority with this directory.
fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let keeps = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
    let name: String = rest.chars().map(|c| if keeps(c) { c } else { '-' }).take(200).collect();
    // A path must not lead out of the directory.
    name.trim_start_matches('.').to_owned()
}

fn named(call: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{call} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn authorities_have_names_of_their_own() {
        for (url, name) in [
            ("https://acme.example/directory", "acme.example-directory"),
            ("https://127.0.0.1:14000/dir", "127.0.0.1-14000-dir"),
            ("https://[::1]/../a?b", "---1--..-a-b"),
            ("https://../..", "-.."),
        ] {
            assert_eq!(authority(url), name);
        }
    }

    #[test]
    fn files_are_replaced_whole_and_only_the_owner_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let name: DnsName = "a.example".parse().unwrap();
        let state = directory.path().join("made");
        let state = State::open(&state, "https://ca.example/dir", [&name].into_iter()).unwrap();
        let path = state.pair(&name).certificate;
        // One that was left behind, with a mode of its own.
        std::fs::write(temporary(&path), "left behind").unwrap();
        for content in ["first", "second"] {
            write_temporary(&path, content.as_bytes()).unwrap();
            replace(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert!(!temporary(&path).exists());
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        let mut above = path.parent().unwrap();
        while above != directory.path() {
            assert_eq!(mode(above), 0o700, "{}", above.display());
            above = above.parent().unwrap();
        }
    }

    #[test]
    fn errors_name_the_call_and_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let name: DnsName = "a.example".parse().unwrap();
        let error = State::open(&file, "https://ca.example/dir", [&name].into_iter()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("mkdir ") && text.contains("os error 20"), "{text}");
    }
}
