//! Private network namespaces: unshare(2) with `CLONE_NEWNET` (Linux 3.0), inside `CLONE_NEWUSER`
//! (3.8) for unprivileged users.
//!
//! A new network namespace contains only a loopback device that is down, and ends with its last
//! process.
//!
//! # Limitations
//! A process with several threads cannot create a user namespace, and some distributions forbid
//! them entirely. Devices disappear some time after the last process has ended.

use rustix::io::{Errno, Result};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::fs::File;
use std::os::fd::AsFd as _;

/// Moves the calling thread into a new network namespace, and into a new user namespace if
/// `new_user`, in which it has all capabilities.
///
/// # Errors
/// `EPERM` if it is not permitted; `EINVAL` for a user namespace in a process that has other
/// threads; `ENOSPC` if there are too many namespaces.
pub fn unshare_network(new_user: bool) -> Result<()> {
    let mut flags = UnshareFlags::NEWNET;
    flags.set(UnshareFlags::NEWUSER, new_user);
    // SAFETY: only unsharing the table of open files is unsound; it stays shared.
    unsafe { unshare_unsafe(flags) }
}

/// Moves the calling process into a private network namespace: directly if the process is
/// privileged, otherwise inside a user namespace, that of the process `user_of` if given.
///
/// # Errors
/// Those of [`unshare_network`], and of the files in `/proc` that map the user and the group.
pub fn enter_private_network(user_of: Option<i32>) -> std::io::Result<()> {
    if unshare_network(false).is_ok() {
        return Ok(());
    }
    if let Some(process) = user_of {
        let space = File::open(format!("/proc/{process}/ns/user"))?;
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::User))?;
        return Ok(unshare_network(false)?);
    }
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare_network(true)?;
    for (path, content) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {} 1", user.as_raw())),
        ("/proc/self/gid_map", format!("0 {} 1", group.as_raw())),
    ] {
        std::fs::write(path, content)?;
    }
    Ok(())
}

/// Returns the inode number of the calling process' network namespace.
///
/// # Errors
/// Those of stat(2); `EOVERFLOW` for a number of more than 32 bits.
pub fn network_namespace_inode() -> Result<u32> {
    let stat = rustix::fs::stat("/proc/self/ns/net")?;
    u32::try_from(stat.st_ino).map_err(|_| Errno::OVERFLOW)
}
