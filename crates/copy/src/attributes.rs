//! Copies the attributes of a file: owner, extended attributes, mode, times.
//!
//! fchown(2), fsetxattr(2), fchmod(2), futimens(3), in this order: a change of owner clears the
//! set-user-ID bit and capabilities, an ACL is an extended attribute that changes the mode, and
//! every one of them but the last changes a time.
//!
//! An attribute that cannot be set, whatever the errno, is reported; the file is copied with the other
//! attributes. [`AttributeFailure::fails`](crate::AttributeFailure::fails) follows the exit code of GNU
//! cp 9 with `-a`:
//!
//! | attribute | errno | cp -a | here |
//! |---|---|---|---|
//! | owner, without privilege | `EPERM`, `EINVAL` | 0, silent; the group is tried | 0, reported; the same |
//! | owner | any other, or as root | 1 | 1; the group is tried |
//! | group, after the owner | any | 0, silent | 0, reported |
//! | mode (also of a new directory without `archive`) | any | 1 | 1 |
//! | times | any | 1 | 1 |
//! | ACL, read or set | any but `EOPNOTSUPP` of a source without ACLs | 1 | 1 |
//! | ACL of the default of its directory, not removed | any | 1 | 1 |
//! | other extended attributes, listed, read or set | any | 0, silent | 0, reported |
//! | owner, mode or ACL of a file that is replaced without `archive` | any | never set | 0, reported |
//!
//! A failure never grants more rights than the original: without its owner a file has no set-user-ID
//! bit, without its ACL its group has none of the rights of the mask, and until its mode is set only
//! its owner may open it.
//!
//! # Limitations
//!
//! The birth time and the change time cannot be set. The flags of chattr(1), project numbers, and the
//! extended attributes of symbolic links and special files are not copied.

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fgetxattr, flistxattr, flistxattr_query, fremovexattr, fsetxattr,
    fstat, futimens, lgetxattr, openat, utimensat,
};
use rustix::io::{self, Errno};
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::attribute_failures::AttributeFailures;
use crate::error::Error;
use crate::name::Name;

/// `XATTR_LIST_MAX` and `XATTR_SIZE_MAX` of linux/limits.h.
const LARGEST: usize = 64 << 10;

const ACCESS_ACL: &CStr = c"system.posix_acl_access";

/// The same, as flistxattr(2) lists it.
const ONLY_ACL: &[u8] = b"system.posix_acl_access\0";

/// The bits that chmod(2) sets.
pub(crate) const ALL: u32 = 0o7777;

/// The bits of the group, which are the mask if there is an ACL.
const GROUP: u32 = 0o070;

/// The bits of a mode that are copied to a file with another owner.
pub(crate) const PERMISSIONS: u32 = 0o777;

/// Copies the attributes of `from`, whose extended attributes are `listed`, to the open file `to`. `is_new`: the
/// file was made by this copy. What such a file has already is not set again, since each call is a transaction
/// of the file system; on another one the calls have more effects, such as to remove its capabilities.
pub(crate) fn keep(
    ((source, stat, from), listed): ((BorrowedFd<'_>, &Stat, Name<'_>), io::Result<Vec<u8>>),
    (sink, to): (BorrowedFd<'_>, Name<'_>),
    is_new: bool,
    failures: &mut AttributeFailures<'_>,
) {
    let mut mode = stat.st_mode & ALL;
    let there = if is_new { fstat(sink).ok() } else { None };
    let owner = |stat: &Stat| (stat.st_uid, stat.st_gid);
    let there = there.filter(|there| owner(there) == owner(stat));
    if there.is_none() && !keep_owner(stat, "fchown", to, failures, |u, g| fchown(sink, u, g)) {
        mode &= PERMISSIONS;
    }
    let xattrs = keep_xattrs((source, from, listed), (sink, to), failures);
    if xattrs == Xattrs::AclLost {
        // The group's bits were the mask of the missing ACL.
        mode &= !GROUP;
    }
    let has_mode = there.is_some_and(|there| there.st_mode & ALL == mode);
    let is_set = has_mode && xattrs == Xattrs::None;
    if !is_set && let Err(errno) = fchmod(sink, Mode::from_raw_mode(mode)) {
        failures.add("mode", to.failed("fchmod")(errno), errno);
    }
    if let Err(errno) = futimens(sink, &times(stat)) {
        failures.add("times", to.failed("utimensat")(errno), errno);
    }
}

/// Copies the attributes of a symbolic link or a special file, which is not opened, to the file with
/// the temporary name `made`.
pub(crate) fn keep_by_name(
    stat: &Stat,
    made: Name<'_>,
    to: Name<'_>,
    failures: &mut AttributeFailures<'_>,
) {
    let (directory, name, flags) = (made.directory, made.name, AtFlags::SYMLINK_NOFOLLOW);
    let mut mode = stat.st_mode & ALL;
    let chown = |uid, gid| chownat(directory, name, uid, gid, flags);
    if !keep_owner(stat, "fchownat", to, failures, chown) {
        mode &= PERMISSIONS;
    }
    if !FileType::from_raw_mode(stat.st_mode).is_symlink()
        && let Err(errno) = chmodat(directory, name, Mode::from_raw_mode(mode), AtFlags::empty())
    {
        failures.add("mode", to.failed("fchmodat")(errno), errno);
    }
    if let Err(errno) = utimensat(directory, name, &times(stat), flags) {
        failures.add("times", to.failed("utimensat")(errno), errno);
    }
}

/// Copies owner, permissions and ACL of the replaced file `to` to `file`. A refused change to the
/// present value is no failure.
pub(crate) fn inherit(
    old: &Stat,
    file: BorrowedFd<'_>,
    to: Name<'_>,
    failures: &mut AttributeFailures<'_>,
) {
    let (uid, gid) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
    let mut asked = PERMISSIONS;
    if let Err(errno) = fchown(file, Some(uid), Some(gid)) {
        let _owner_is_reported = fchown(file, None, Some(gid));
        if !fstat(file).is_ok_and(|new| (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid)) {
            failures.add_silent("owner", errno);
        }
    }
    if let Err(errno) = inherit_acl(file, to) {
        failures.add_silent(&ACCESS_ACL.to_string_lossy(), errno);
        asked &= !GROUP;
    }
    let mode = old.st_mode & asked;
    if let Err(errno) = fchmod(file, Mode::from_raw_mode(mode))
        && !fstat(file).is_ok_and(|new| new.st_mode & ALL == mode)
    {
        failures.add_silent("mode", errno);
    }
}

/// Sets owner and group; if that fails, only the group. Returns whether the owner is set.
fn keep_owner(
    stat: &Stat,
    call: &'static str,
    to: Name<'_>,
    failures: &mut AttributeFailures<'_>,
    chown: impl Fn(Option<Uid>, Option<Gid>) -> io::Result<()>,
) -> bool {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let Err(errno) = chown(Some(uid), Some(gid)) else {
        return true;
    };
    failures.add_owner(to.failed(call)(errno), errno);
    if let Err(errno) = chown(None, Some(gid)) {
        failures.add_silent("group", errno);
    }
    false
}

/// Copies the ACL, or its absence. Fails if `file` lacks the ACL, or has one that it should not have.
fn inherit_acl(file: BorrowedFd<'_>, to: Name<'_>) -> io::Result<()> {
    let mut value = vec![0; LARGEST];
    match old_acl(to, &mut value) {
        Ok(length) => fsetxattr(file, ACCESS_ACL, &value[..length], XattrFlags::empty()),
        // Nor may it have one from the default of its directory.
        Err(errno) if is_absent(errno) => remove_acl(file).map(drop),
        Err(errno) => Err(errno),
    }
}

/// Reads the ACL of the file named `to`.
fn old_acl(to: Name<'_>, value: &mut [u8]) -> io::Result<usize> {
    // fgetxattr(2) needs an open file, and an open needs read permission.
    let directory = format!("/proc/self/fd/{}/", to.directory.as_raw_fd());
    let path = [directory.as_bytes(), to.name.to_bytes()].concat();
    match lgetxattr(path, ACCESS_ACL, &mut *value) {
        // No /proc.
        Err(Errno::NOENT) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            fgetxattr(openat(to.directory, to.name, flags, Mode::empty())?, ACCESS_ACL, value)
        }
        read => read,
    }
}

/// The extended attributes of a copied file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Xattrs {
    /// There are none, so that the mode is as it was.
    None,
    Kept,
    /// The ACL could not be copied, or not be removed.
    AclLost,
}

/// Copies the extended attributes.
fn keep_xattrs(
    (source, from, listed): (BorrowedFd<'_>, Name<'_>, io::Result<Vec<u8>>),
    (sink, to): (BorrowedFd<'_>, Name<'_>),
    failures: &mut AttributeFailures<'_>,
) -> Xattrs {
    let (list, is_listed) = match listed {
        Ok(list) => (list, true),
        Err(errno) => {
            failures.add_silent("extended attributes", errno);
            (ONLY_ACL.to_vec(), false) // the ACL protects the file, so it is read by its name
        }
    };
    let is_plain = list.is_empty();
    let mut acl = Ok(None);
    for name in list.split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let kept = keep_xattr((source, from), (sink, to), name);
        if name == ACCESS_ACL {
            acl = kept;
        } else if let Err((_, errno)) = kept {
            failures.add_silent(&name.to_string_lossy(), errno);
        }
    }
    let remove = || remove_acl(sink).map_err(|errno| (to.failed("fremovexattr")(errno), errno));
    let acl = match acl {
        Ok(None) => remove(),
        Err((_, errno)) if !is_listed && is_absent(errno) => remove(),
        acl => acl,
    };
    match acl {
        Ok(None) if is_plain => Xattrs::None,
        Ok(_) => Xattrs::Kept,
        Err((error, errno)) => {
            failures.add(&ACCESS_ACL.to_string_lossy(), error, errno);
            Xattrs::AclLost
        }
    }
}

/// Returns the names of the extended attributes, each with a NUL at its end.
pub(crate) fn names(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    match flistxattr_query(file) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Vec::new()),
        Err(errno) => Err(errno),
        Ok(_) => {
            let mut list = vec![0; LARGEST];
            let length = flistxattr(file, &mut list[..])?;
            list.truncate(length);
            Ok(list)
        }
    }
}

/// Copies one attribute; returns `None` if it was removed since it was listed. The error names the
/// file and the call that failed.
fn keep_xattr(
    (source, from): (BorrowedFd<'_>, Name<'_>),
    (sink, to): (BorrowedFd<'_>, Name<'_>),
    name: &CStr,
) -> Result<Option<()>, (Error, Errno)> {
    let mut value = vec![0; LARGEST];
    let length = match fgetxattr(source, name, &mut value[..]) {
        Ok(length) => length,
        Err(Errno::NODATA) => return Ok(None),
        Err(errno) => return Err((from.failed("fgetxattr")(errno), errno)),
    };
    match set_xattr(sink, name, &value[..length]) {
        Ok(()) => Ok(Some(())),
        Err(errno) => Err((to.failed("fsetxattr")(errno), errno)),
    }
}

/// Calls fsetxattr(2), also if the mode of the file does not permit its owner to write: for a `user.`
/// attribute the kernel checks the mode, however the file was opened. The mode, which is set after the
/// attributes, removes the bit that is added here.
fn set_xattr(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    match fsetxattr(file, name, value, XattrFlags::empty()) {
        Err(Errno::ACCESS) => {
            let mode = Mode::from_raw_mode(fstat(file)?.st_mode & ALL) | Mode::WUSR;
            fchmod(file, mode).map_err(|_| Errno::ACCESS)?;
            fsetxattr(file, name, value, XattrFlags::empty())
        }
        set => set,
    }
}

/// Removes the ACL that a file got from the default of its directory. Fails if it has, or may have,
/// one. Most files have none, which `None` means, and to remove none would be a transaction of the file system.
fn remove_acl(file: BorrowedFd<'_>) -> io::Result<Option<()>> {
    match fgetxattr(file, ACCESS_ACL, &mut [0; 0][..]) {
        Err(errno) if is_absent(errno) => return Ok(None),
        _ => {}
    }
    match fremovexattr(file, ACCESS_ACL) {
        Err(errno) if !is_absent(errno) => Err(errno),
        _ => Ok(Some(())),
    }
}

/// Returns whether the errno means that the attribute does not exist: the file has none, or the file
/// system supports none.
fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS)
}

/// Returns the access time and the modification time.
#[expect(clippy::useless_conversion, reason = "the fields of stat differ between architectures")]
fn times(stat: &Stat) -> Timestamps {
    // The nanoseconds are less than 2^30, so the cast is exact.
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime.into(), tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec {
            tv_sec: stat.st_mtime.into(),
            tv_nsec: stat.st_mtime_nsec as _,
        },
    }
}
