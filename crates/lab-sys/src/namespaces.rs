//! A network of one's own: unshare(2) with `CLONE_NEWNET` (Linux 3.0), for a user without
//! privileges inside `CLONE_NEWUSER` (3.8).
//!
//! It begins with nothing but a loopback that is down, and ends with its last process.
//!
//! What it does badly: a user namespace is refused to a process with several threads, and by some
//! distributions to everybody; devices take a moment to go after the last process has.

use rustix::io::{Errno, Result};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::fs::File;
use std::os::fd::AsFd as _;

/// Puts the calling thread into a new network, and into a new user namespace if `new_user`, where
/// it may do there as it likes.
///
/// # Errors
/// `EPERM` where it is not permitted; `EINVAL` for a user namespace in a process that has other
/// threads; `ENOSPC` where there are too many.
pub fn unshare_network(new_user: bool) -> Result<()> {
    let mut flags = UnshareFlags::NEWNET;
    flags.set(UnshareFlags::NEWUSER, new_user);
    // SAFETY: the table of open files, the one thing whose parting is unsound, stays shared.
    unsafe { unshare_unsafe(flags) }
}

/// Puts the calling process into a network of its own: the one that a privileged user may make, or
/// inside a user namespace, the one that `user_of` is in if that is given.
///
/// # Errors
/// As [`unshare_network`]; those of the files in `/proc` that map the user and the group.
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

/// The inode number of the calling process' network.
///
/// # Errors
/// Those of stat(2); `EOVERFLOW` for a number of more than 32 bits.
pub fn network_namespace_inode() -> Result<u32> {
    let stat = rustix::fs::stat("/proc/self/ns/net")?;
    u32::try_from(stat.st_ino).map_err(|_| Errno::OVERFLOW)
}
