//! Copies symbolic links, FIFOs, sockets and devices by making new ones.
//!
//! symlinkat(2), mknodat(2). A new one that gets attributes or replaces a file is made under a
//! temporary name and renamed.
//!
//! # Limitations
//!
//! Devices need `CAP_MKNOD`. No process listens on the copy of a socket.

use rustix::fs::{AtFlags, FileType, Mode, Stat, mknodat, readlinkat, statat, symlinkat};
use rustix::io::{self, Errno};
use std::ffi::{CStr, CString};
use std::sync::PoisonError;

use crate::atomic_file::{Commit, Temporary, is_append_only};
use crate::attribute_failures::AttributeFailures;
use crate::attributes::{self, PERMISSIONS};
use crate::context::Context;
use crate::error::Error;
use crate::hard_links::identity;
use crate::name::Name;
use crate::same_file;
use crate::summary::Summary;

/// Copies a file that is neither regular nor a directory.
pub(crate) fn copy(
    from: Name<'_>,
    to: Name<'_>,
    is_new: bool,
    context: &Context<'_>,
    summary: &mut Summary,
) -> Result<(), Error> {
    context.check_stop()?;
    let stat = statat(from.directory, from.name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(from.failed("newfstatat"))?;
    if !is_new && is_kept((&stat, from), to, context.options.keep_existing)? {
        summary.skipped += 1;
        return Ok(());
    }
    // In a new directory nothing is replaced.
    let keep_existing = context.options.keep_existing || is_new;
    // The lock is held until the copy is in the table, so that its other names find it.
    let mut links = (context.options.archive && stat.st_nlink > 1)
        .then(|| context.hard_links.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(links) = &links
        && let Some(placed) = links.link(&stat, to, keep_existing)?
    {
        let placed = placed.permitted(context.options, to)?;
        placed.count(&mut summary.hard_links, &mut summary.skipped);
        return Ok(());
    }
    let original = Original::new(&stat, from)?;
    let placed = original.copy(to, keep_existing, context, summary)?;
    let placed = placed.permitted(context.options, to)?;
    let is_symlink = original.kind.is_symlink();
    let made = if is_symlink { &mut summary.symlinks } else { &mut summary.special_files };
    placed.count(made, &mut summary.skipped);
    if let (Some(links), Commit::Committed) = (&mut links, placed) {
        let copy = statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW);
        links.remember(&stat, identity(&copy.map_err(to.failed("newfstatat"))?), to);
    }
    Ok(())
}

/// The source of a new special file.
struct Original<'a> {
    stat: &'a Stat,
    kind: FileType,
    /// The target of a symbolic link.
    link_target: CString,
}

impl<'a> Original<'a> {
    fn new(stat: &'a Stat, from: Name<'_>) -> Result<Self, Error> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let link_target = if kind.is_symlink() {
            let read = readlinkat(from.directory, from.name, Vec::new());
            read.map_err(from.failed("readlinkat"))?
        } else {
            CString::default()
        };
        Ok(Self { stat, kind, link_target })
    }

    fn copy(
        &self,
        to: Name<'_>,
        keep_existing: bool,
        context: &Context<'_>,
        summary: &mut Summary,
    ) -> Result<Commit, Error> {
        let archive = context.options.archive;
        let call = if self.kind.is_symlink() { "symlinkat" } else { "mknodat" };
        // In an append-only directory a temporary name could not be removed, so the attributes are set
        // under the final one.
        if !archive || is_append_only(to.directory) {
            match self.make(to, to.name) {
                Ok(()) if archive => {
                    attributes::keep_by_name(
                        self.stat,
                        to,
                        to,
                        &mut AttributeFailures::new(context, summary),
                    );
                    return Ok(Commit::Committed);
                }
                Ok(()) => return Ok(Commit::Committed),
                Err(Errno::EXIST) if keep_existing => return Ok(Commit::Exists),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(to.failed(call)(errno)),
            }
        }
        let made = Temporary::make(to, |name| self.make(to, name))?;
        let (temporary, ()) = made.map_err(to.failed(call))?;
        if archive {
            let made = Name { name: temporary.name(), ..to };
            attributes::keep_by_name(
                self.stat,
                made,
                to,
                &mut AttributeFailures::new(context, summary),
            );
        }
        temporary.rename(to, keep_existing)
    }

    fn make(&self, to: Name<'_>, name: &CStr) -> io::Result<()> {
        if self.kind.is_symlink() {
            return symlinkat(&self.link_target, to.directory, name);
        }
        let mode = Mode::from_raw_mode(self.stat.st_mode & PERMISSIONS);
        mknodat(to.directory, name, self.kind, mode, self.stat.st_rdev)
    }
}

/// Returns whether the destination exists and is to be kept.
fn is_kept(original: (&Stat, Name<'_>), to: Name<'_>, keep: bool) -> Result<bool, Error> {
    match statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(to.failed("newfstatat")(errno)),
        Ok(_) if keep => Ok(true),
        Ok(there) if FileType::from_raw_mode(there.st_mode).is_dir() => {
            Err(to.invalid("is a directory, and is not replaced by a special file"))
        }
        Ok(there) => same_file::refuse(original, (&there, to)).map(|()| false),
    }
}
