//! Symbolic links, FIFOs, sockets and devices: made anew, for they have no bytes of their own.
//!
//! symlinkat(2), mknodat(2). What gets attributes or replaces something is made under a temporary
//! name that is renamed to the final one.
//!
//! What it does badly: devices need `CAP_MKNOD`; a socket that is made anew has nobody behind it.

use rustix::fs::{AtFlags, FileType, Mode, Stat, mknodat, readlinkat, statat, symlinkat};
use rustix::io::{self, Errno};
use std::ffi::{CStr, CString};
use std::sync::PoisonError;

use crate::account::Account;
use crate::attributes::{self, PERMISSIONS};
use crate::error::Error;
use crate::links::identity;
use crate::name::Name;
use crate::refusals::Refusals;
use crate::run::Run;
use crate::same_file;
use crate::unplaced::{Placed, Temporary, is_append_only};

/// Copies something that is neither a file nor a directory.
pub(crate) fn copy(
    from: Name<'_>,
    to: Name<'_>,
    is_new: bool,
    run: &Run<'_>,
    account: &mut Account,
) -> Result<(), Error> {
    run.go_on()?;
    let stat = statat(from.directory, from.name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(from.failed("newfstatat"))?;
    if !is_new && stands_in_the_way((&stat, from), to, run.options.keep_existing)? {
        account.skipped += 1;
        return Ok(());
    }
    // Nothing that a directory of this run has already is replaced.
    let keep_existing = run.options.keep_existing || is_new;
    // The lock is held until the copy is remembered, so that its other names find it.
    let mut links = (run.options.archive && stat.st_nlink > 1)
        .then(|| run.links.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(links) = &links
        && let Some(placed) = links.link(&stat, to, keep_existing)?
    {
        let placed = placed.permitted(run.options, to)?;
        placed.count(&mut account.hard_links, &mut account.skipped);
        return Ok(());
    }
    let original = Original::new(&stat, from)?;
    let placed = original.make_anew(to, keep_existing, run, account)?;
    let placed = placed.permitted(run.options, to)?;
    let is_symlink = original.kind.is_symlink();
    let made = if is_symlink { &mut account.symlinks } else { &mut account.specials };
    placed.count(made, &mut account.skipped);
    if let (Some(links), Placed::Here) = (&mut links, placed) {
        let copy = statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW);
        links.remember(&stat, identity(&copy.map_err(to.failed("newfstatat"))?), to);
    }
    Ok(())
}

/// What is made anew.
struct Original<'a> {
    stat: &'a Stat,
    kind: FileType,
    /// Where a symbolic link points.
    points: CString,
}

impl<'a> Original<'a> {
    fn new(stat: &'a Stat, from: Name<'_>) -> Result<Self, Error> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let points = if kind.is_symlink() {
            let points = readlinkat(from.directory, from.name, Vec::new());
            points.map_err(from.failed("readlinkat"))?
        } else {
            CString::default()
        };
        Ok(Self { stat, kind, points })
    }

    fn make_anew(
        &self,
        to: Name<'_>,
        keep_existing: bool,
        run: &Run<'_>,
        account: &mut Account,
    ) -> Result<Placed, Error> {
        let archive = run.options.archive;
        let call = if self.kind.is_symlink() { "symlinkat" } else { "mknodat" };
        // Where no temporary name could be removed, attributes follow under the final one.
        if !archive || is_append_only(to.directory) {
            match self.make(to, to.name) {
                Ok(()) if archive => {
                    attributes::keep_by_name(self.stat, to, to, &mut Refusals::new(run, account));
                    return Ok(Placed::Here);
                }
                Ok(()) => return Ok(Placed::Here),
                Err(Errno::EXIST) if keep_existing => return Ok(Placed::Taken),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(to.failed(call)(errno)),
            }
        }
        let made = Temporary::make(to, |name| self.make(to, name))?;
        let (temporary, ()) = made.map_err(to.failed(call))?;
        if archive {
            let made = Name { name: temporary.name(), ..to };
            attributes::keep_by_name(self.stat, made, to, &mut Refusals::new(run, account));
        }
        temporary.rename(to, keep_existing)
    }

    fn make(&self, to: Name<'_>, name: &CStr) -> io::Result<()> {
        if self.kind.is_symlink() {
            return symlinkat(&self.points, to.directory, name);
        }
        let mode = Mode::from_raw_mode(self.stat.st_mode & PERMISSIONS);
        mknodat(to.directory, name, self.kind, mode, self.stat.st_rdev)
    }
}

/// Whether there is something that is to stay.
fn stands_in_the_way(original: (&Stat, Name<'_>), to: Name<'_>, keep: bool) -> Result<bool, Error> {
    match statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(to.failed("newfstatat")(errno)),
        Ok(_) if keep => Ok(true),
        Ok(there) if FileType::from_raw_mode(there.st_mode).is_dir() => {
            Err(to.refused("is a directory, which what is no directory cannot replace"))
        }
        Ok(there) => same_file::refuse(original, (&there, to)).map(|()| false),
    }
}
