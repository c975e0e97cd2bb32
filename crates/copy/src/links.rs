//! Files with several names: the second name of one that was copied becomes a link to the copy.
//!
//! linkat(2), and a table of what was copied, by device and inode.
//!
//! What it does badly: files with several names are copied one after another, for the second name
//! has to wait until the first is in place; and the copy is found again by its path.

use rustix::fs::{AtFlags, CWD, Stat, fstat, linkat, statat};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::error::Error;
use crate::name::Name;
use crate::unplaced::{Placed, Temporary};

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// What was copied: the copy's path and identity by the original's identity.
#[derive(Debug, Default)]
pub(crate) struct Links {
    copies: HashMap<Identity, (PathBuf, Identity)>,
}

/// Which file it is.
#[expect(clippy::useless_conversion, reason = "the fields of stat differ between architectures")]
pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev.into(), stat.st_ino.into())
}

impl Links {
    /// Makes `to` a link to the copy of this file, if there is one that can be linked to.
    pub(crate) fn link(
        &self,
        original: &Stat,
        to: Name<'_>,
        keep_existing: bool,
    ) -> Result<Option<Placed>, Error> {
        let Some((path, copy)) = self.copies.get(&identity(original)) else {
            return Ok(None);
        };
        let there = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
        if !there.is_ok_and(|there| identity(&there) == *copy) {
            return Ok(None);
        }
        let linked = Temporary::make(to.directory, |name| {
            linkat(CWD, path, to.directory, name, AtFlags::empty())
        });
        match linked {
            Ok((temporary, ())) => temporary.rename(to, keep_existing).map(Some),
            // Another file system, or too many links: a copy of its own.
            Err(_) => Ok(None),
        }
    }

    /// Remembers a copy that has the name `to`.
    pub(crate) fn remember(&mut self, original: &Stat, copy: &OwnedFd, to: Name<'_>) {
        if let Ok(copy) = fstat(copy) {
            self.copies.insert(identity(original), (to.path(), identity(&copy)));
        }
    }
}
