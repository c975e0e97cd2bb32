//! Detects conflicts between several sources: two that write to the same file, and two that must not
//! be copied at the same time.
//!
//! cp(1) copies one source after the other, and the result here is the same: a source waits for the
//! earlier ones that might write to the same name. Only a copy of several sources keeps these tables,
//! and of a tree only its root is in them, because the names within one tree differ.
//!
//! # Limitations
//!
//! Names that only the file system takes for equal are compared by their lower case. Two directories
//! that are one by a bind mount are not detected.

use rustix::fs::{AtFlags, FileType, Stat, lstat, statat};
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::hard_links::{Identity, identity};
use crate::name::{Name, has_no_name, name_within};

/// The files that were made from sources named by the caller, and the directories that have their
/// attributes.
#[derive(Debug, Default)]
pub(crate) struct Created {
    files: Mutex<HashSet<Identity>>,
    directories: Mutex<HashSet<Identity>>,
}

impl Created {
    /// Remembers the file that has the name `to` now.
    pub(crate) fn remember(&self, to: Name<'_>) {
        if let Ok(there) = statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW) {
            self.files().insert(identity(&there));
        }
    }

    /// Returns an error if `to` is a file or a symbolic link that this copy made.
    pub(crate) fn refuse(&self, from: &Path, to: (&Path, Option<&Stat>)) -> Result<(), Error> {
        let (path, there) = to;
        if there.is_some_and(|there| self.files().contains(&identity(there))) {
            return Err(Error::JustCreated { from: from.to_owned(), to: path.to_owned() });
        }
        Ok(())
    }

    /// Returns true the first time that this copy sets the attributes of a directory.
    pub(crate) fn is_first(&self, directory: &Stat) -> bool {
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        directories.insert(identity(directory))
    }

    fn files(&self) -> std::sync::MutexGuard<'_, HashSet<Identity>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files with several names that were written in place, each with its source. Two sources must
/// not write to the same one.
#[derive(Debug, Default)]
pub(crate) struct WrittenInPlace(Mutex<HashMap<Identity, Identity>>);

impl WrittenInPlace {
    /// Returns whether `source` may write to `file`: no other source did.
    pub(crate) fn may_take(&self, file: Identity, source: Identity) -> bool {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *written.entry(file).or_insert(source) == source
    }

    /// Forgets all files: later sources may write to them.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The names that the sources since the last wait may write to, and all sources so far.
#[derive(Debug, Default)]
pub(crate) struct Order<'a> {
    names: HashSet<String>,
    /// One of them may write to any name.
    everywhere: bool,
    sources: HashSet<&'a [u8]>,
}

impl<'a> Order<'a> {
    /// Returns whether this source has to wait for the earlier ones.
    pub(crate) fn has_to_wait(&mut self, source: &Path, target: &Path) -> bool {
        let (to, begun) = (name_within(source, target), self.everywhere || !self.names.is_empty());
        // The content of a directory has many names, and a link leads to another name.
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

    /// Returns whether the same source was given before.
    pub(crate) fn is_repeated(&mut self, source: &'a Path) -> bool {
        let written = source.as_os_str().as_bytes();
        let end = written.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        !self.sources.insert(&written[..end])
    }
}
