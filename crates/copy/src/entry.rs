//! Symbolic links, FIFOs, sockets and devices: made anew, for they have no bytes of their own.
//!
//! symlinkat(2), mknodat(2), under a temporary name that is renamed to the final one.
//!
//! What it does badly: devices need `CAP_MKNOD`; a socket that is made anew has nobody behind it.

use rustix::fs::{AtFlags, FileType, Mode, Stat, mknodat, readlinkat, statat, symlinkat};
use rustix::io;
use std::ffi::CStr;

use crate::account::Account;
use crate::attributes::{self, PERMISSIONS};
use crate::error::Error;
use crate::links::identity;
use crate::name::Name;
use crate::refusals::Refusals;
use crate::run::Run;
use crate::unplaced::{Placed, Temporary};

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
    if !is_new && stands_in_the_way(&stat, to, run.options.keep_existing)? {
        account.skipped += 1;
        return Ok(());
    }
    let kind = FileType::from_raw_mode(stat.st_mode);
    let (temporary, ()) = if kind == FileType::Symlink {
        let points = readlinkat(from.directory, from.name, Vec::new());
        let points = points.map_err(from.failed("readlinkat"))?;
        make(to, "symlinkat", |name| symlinkat(&points, to.directory, name))?
    } else {
        let mode = Mode::from_raw_mode(stat.st_mode & PERMISSIONS);
        make(to, "mknodat", |name| mknodat(to.directory, name, kind, mode, stat.st_rdev))?
    };
    if run.options.archive {
        let made = Name { name: temporary.name(), ..to };
        attributes::keep_by_name(&stat, made, to, &mut Refusals::new(run, account));
    }
    match (temporary.rename(to, run.options.keep_existing)?, kind) {
        (Placed::Taken, _) => account.skipped += 1,
        (Placed::Here, FileType::Symlink) => account.symlinks += 1,
        (Placed::Here, _) => account.specials += 1,
    }
    Ok(())
}

fn make<'a>(
    to: Name<'a>,
    call: &'static str,
    make: impl Fn(&CStr) -> io::Result<()>,
) -> Result<(Temporary<'a>, ()), Error> {
    Temporary::make(to.directory, make).map_err(to.failed(call))
}

/// Whether there is something that is to stay.
fn stands_in_the_way(original: &Stat, to: Name<'_>, keep: bool) -> Result<bool, Error> {
    match statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(to.failed("newfstatat")(errno)),
        Ok(_) if keep => Ok(true),
        Ok(there) if identity(&there) == identity(original) => {
            Err(to.refused("would be copied onto itself"))
        }
        Ok(there) if FileType::from_raw_mode(there.st_mode).is_dir() => {
            Err(to.refused("is a directory, which what is no directory cannot replace"))
        }
        Ok(_) => Ok(false),
    }
}
