//! What a run has made of the sources that are named on its command line, so that one does not
//! replace the other, and which sources may be copied at the same time.
//!
//! cp(1) copies one source after the other, and so may this program not differ from it: a source
//! waits for those before it where both could meet in one name. Only a run of several sources
//! remembers anything, and of a tree only its root, for names within one tree differ.
//!
//! # Limitations
//!
//! Names that the file system alone takes for the same are compared by their lower case. Two
//! directories that are one by a bind mount are not recognised.

use rustix::fs::{AtFlags, FileType, Stat, lstat, statat};
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::links::{Identity, identity};
use crate::name::Name;
use crate::target::{has_no_name, name_within};

/// The files that a run has made of sources that are no directories, and the directories that have
/// their attributes.
#[derive(Debug, Default)]
pub(crate) struct Created {
    files: Mutex<HashSet<Identity>>,
    directories: Mutex<HashSet<Identity>>,
}

impl Created {
    /// Remembers what now has the name `to`.
    pub(crate) fn remember(&self, to: Name<'_>) {
        if let Ok(there) = statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW) {
            self.files().insert(identity(&there));
        }
    }

    /// Returns an error if `from` would replace a file of this run at `to`, or would go through a
    /// symbolic link of this run that stands there.
    pub(crate) fn refuse(&self, from: &Path, to: (&Path, Option<&Stat>)) -> Result<(), Error> {
        let (path, there) = to;
        if there.is_some_and(|there| self.files().contains(&identity(there))) {
            return Err(Error::JustCreated { from: from.to_owned(), to: path.to_owned() });
        }
        Ok(())
    }

    /// Whether this directory gets its attributes from this run for the first time.
    pub(crate) fn is_first(&self, directory: &Stat) -> bool {
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        directories.insert(identity(directory))
    }

    fn files(&self) -> std::sync::MutexGuard<'_, HashSet<Identity>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the sources since the last wait may write to, and which sources there were.
#[derive(Debug, Default)]
pub(crate) struct Order<'a> {
    names: HashSet<String>,
    /// One of them may have written to any name.
    everywhere: bool,
    sources: HashSet<&'a [u8]>,
}

impl<'a> Order<'a> {
    /// Whether this source has to wait for those before it.
    pub(crate) fn has_to_wait(&mut self, source: &Path, target: &Path) -> bool {
        let (to, begun) = (name_within(source, target), self.everywhere || !self.names.is_empty());
        // The content of a directory goes to many names, a link leads to another.
        let is_link = |stat: Stat| FileType::from_raw_mode(stat.st_mode).is_symlink();
        let everywhere = has_no_name(source) || lstat(&to).is_ok_and(is_link);
        let name = to.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let waits = begun && (everywhere || self.everywhere || self.names.contains(&name));
        if waits {
            (self.everywhere, self.names) = (false, HashSet::new());
        }
        self.everywhere |= everywhere;
        self.names.insert(name);
        waits
    }

    /// Whether the same source was given before.
    pub(crate) fn is_repeated(&mut self, source: &'a Path) -> bool {
        let written = source.as_os_str().as_bytes();
        let end = written.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        !self.sources.insert(&written[..end])
    }
}
