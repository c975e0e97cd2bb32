//! What a file is besides its bytes: owner, extended attributes, mode, times.
//!
//! fchown(2), fsetxattr(2), fchmod(2), futimens(3), in this order: a change of owner clears the
//! set-user-ID bit and capabilities, an ACL is an extended attribute that changes the mode, and
//! every one of them but the last changes a time.
//!
//! What it does badly: the time of birth and of the last change of the inode cannot be set, the
//! flags of chattr(1) and project numbers are not asked for, and symbolic links and special files
//! keep no extended attributes.

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod,
    fchown, fgetxattr, flistxattr, flistxattr_query, fremovexattr, fsetxattr, fstat, futimens,
    lgetxattr, utimensat,
};
use rustix::io::{self, Errno};
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::account::Account;
use crate::error::Error;
use crate::name::Name;

/// `XATTR_LIST_MAX` and `XATTR_SIZE_MAX` of linux/limits.h.
const LARGEST: usize = 64 << 10;

const ACCESS_ACL: &CStr = c"system.posix_acl_access";

/// The bits that chmod(2) sets.
pub(crate) const ALL: u32 = 0o7777;

/// Those of the group, which are the mask where there is an ACL.
const GROUP: u32 = 0o070;

/// The bits of a mode that go without privilege over to another owner.
pub(crate) const PERMISSIONS: u32 = 0o777;

/// Gives the open file `to` everything that `from` has besides its bytes.
pub(crate) fn keep(
    from: (BorrowedFd<'_>, &Stat, Name<'_>),
    to: (BorrowedFd<'_>, Name<'_>),
    account: &mut Account,
) -> Result<(), Error> {
    let ((source, stat, from), (sink, to)) = (from, to);
    let mut mode = stat.st_mode & ALL;
    let owned = fchown(sink, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    if !is_kept("owner", owned, account).map_err(to.failed("fchown"))? {
        mode &= PERMISSIONS;
    }
    let acl = keep_xattrs((source, from), (sink, to), account)?;
    if !acl {
        // The group's bits were the mask of a list that is not there.
        mode &= !GROUP;
    }
    fchmod(sink, Mode::from_raw_mode(mode)).map_err(to.failed("fchmod"))?;
    futimens(sink, &times(stat)).map_err(to.failed("utimensat"))
}

/// The same, as far as they have it, for what is not opened: a symbolic link or a special file.
pub(crate) fn keep_by_name(stat: &Stat, to: Name<'_>, account: &mut Account) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let mut mode = stat.st_mode & ALL;
    let owned = chownat(to.directory, to.name, Some(uid), Some(gid), flags);
    if !is_kept("owner", owned, account).map_err(to.failed("fchownat"))? {
        mode &= PERMISSIONS;
    }
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
        let mode = Mode::from_raw_mode(mode);
        chmodat(to.directory, to.name, mode, AtFlags::empty()).map_err(to.failed("fchmodat"))?;
    }
    utimensat(to.directory, to.name, &times(stat), flags).map_err(to.failed("utimensat"))
}

/// Gives `file` the owner, the permissions and the ACL of the file `to` that it replaces. An owner
/// that may not be given away is the new one.
pub(crate) fn inherit(old: &Stat, file: BorrowedFd<'_>, to: Name<'_>) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
    match fchown(file, Some(uid), Some(gid)) {
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
        Err(errno) => return Err(to.failed("fchown")(errno)),
    }
    let mode = if inherit_acl(file, to) { PERMISSIONS } else { PERMISSIONS & !GROUP };
    fchmod(file, Mode::from_raw_mode(old.st_mode & mode)).map_err(to.failed("fchmod"))
}

/// False if there is one that could not be given.
fn inherit_acl(file: BorrowedFd<'_>, to: Name<'_>) -> bool {
    // There is no fgetxattr(2) of what was not opened, and opening needs a right to read.
    let directory = format!("/proc/self/fd/{}/", to.directory.as_raw_fd());
    let path = [directory.as_bytes(), to.name.to_bytes()].concat();
    let mut value = vec![0; LARGEST];
    match lgetxattr(path, ACCESS_ACL, &mut value[..]) {
        Ok(length) => fsetxattr(file, ACCESS_ACL, &value[..length], XattrFlags::empty()).is_ok(),
        Err(_) => {
            // Then it shall have none from the default of its directory either.
            let _none = fremovexattr(file, ACCESS_ACL);
            true
        }
    }
}

/// Says whether the file is as protected as before: false if its ACL could not be kept.
fn keep_xattrs(
    (source, from): (BorrowedFd<'_>, Name<'_>),
    (sink, to): (BorrowedFd<'_>, Name<'_>),
    account: &mut Account,
) -> Result<bool, Error> {
    let list = names(source).map_err(from.failed("flistxattr"))?;
    let (mut protected, mut has_acl) = (true, false);
    for name in list.split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        has_acl |= name == ACCESS_ACL;
        let set = keep_xattr(source, sink, name);
        let kept = is_kept(&name.to_string_lossy(), set, account);
        let kept = kept.map_err(to.failed("fsetxattr"))?;
        protected &= kept || name != ACCESS_ACL;
    }
    if !has_acl {
        // One that it got from the default of its directory.
        match fremovexattr(sink, ACCESS_ACL) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(to.failed("fremovexattr")(errno)),
        }
    }
    Ok(protected)
}

fn names(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
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

fn keep_xattr(source: BorrowedFd<'_>, sink: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let mut value = vec![0; LARGEST];
    match fgetxattr(source, name, &mut value[..]) {
        Ok(length) => set_xattr(sink, name, &value[..length]),
        // Removed since it was listed.
        Err(Errno::NODATA) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// As fsetxattr(2), also where the mode of the file does not let its owner write: of a `user.`
/// attribute the kernel asks the mode, however the file was opened. The bit that is added goes with
/// the mode, which is set after the attributes.
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

/// A refusal for want of privilege or of such a thing is entered and no error.
fn is_kept(what: &str, outcome: io::Result<()>, account: &mut Account) -> Result<bool, Errno> {
    match outcome {
        Ok(()) => Ok(true),
        Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL)) => {
            account.enter_unkept(what.to_owned(), errno, 1);
            Ok(false)
        }
        Err(errno) => Err(errno),
    }
}

/// When it was last read and written.
#[expect(clippy::useless_conversion, reason = "the fields of stat differ between architectures")]
fn times(stat: &Stat) -> Timestamps {
    // There are fewer than 2^30 nanoseconds, signed or not.
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime.into(), tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec {
            tv_sec: stat.st_mtime.into(),
            tv_nsec: stat.st_mtime_nsec as _,
        },
    }
}
