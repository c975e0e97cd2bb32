//! Privileges: the user and groups (credentials(7)), capabilities(7), `PR_SET_NO_NEW_PRIVS` (Linux 3.5).
//!
//! The system calls change the calling thread only; the C library's functions would change all threads,
//! but by a signal to each. They are called before there is a second thread.
//!
//! # Limitations
//!
//! A superuser that stays one (without a [`User`]) keeps `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`, by which
//! it reads files of other users, and `CAP_IPC_LOCK` where `RLIMIT_MEMLOCK` cannot be raised. It still owns most files of a system.

use nix::unistd::{Group, getgrouplist};
use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit, Uid, getegid, geteuid, getgroups, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use std::ffi::CString;
use std::io;

use crate::failed;

/// A user with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl User {
    /// Finds a user by `NAME` or `NAME:GROUP`, where each is a name or a number. Without GROUP the user has its
    /// own groups, else GROUP only.
    ///
    /// # Errors
    /// There is none of this name; the databases (passwd(5), group(5)) cannot be read.
    pub fn find(text: &str) -> io::Result<Self> {
        let (name, group) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let user = match name.parse() {
            Ok(uid) => nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))?,
            Err(_) => nix::unistd::User::from_name(name)?,
        };
        let group = group.map(group_of).transpose()?;
        let raw = match (&user, name.parse()) {
            (Some(user), _) => user.uid.as_raw(),
            // A number needs no entry if the group is given, too.
            (None, Ok(uid)) if group.is_some() => uid,
            _ => return Err(not_found(&format!("no user {name:?}"))),
        };
        let (gid, groups) = match (group, user) {
            (Some(gid), _) => (gid, vec![gid]),
            (None, Some(user)) => {
                let groups = getgrouplist(&CString::new(user.name)?, user.gid)?;
                let groups = groups.into_iter().map(|gid| Gid::from_raw(gid.as_raw())).collect();
                (Gid::from_raw(user.gid.as_raw()), groups)
            }
            (None, None) => return Err(not_found(&format!("user {name:?} has no group"))),
        };
        Ok(Self { uid: Uid::from_raw(raw), gid, groups })
    }

    /// Returns whether this is the superuser.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    /// Calls `work` with the rights of this user, and then takes back those of the calling thread.
    ///
    /// # Errors
    /// Those of `work`; the calling thread may not change its user.
    pub fn act<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.is_current() {
            return work();
        }
        let (uid, gid) = (geteuid(), getegid());
        let groups = getgroups().map_err(failed("getgroups"))?;
        set_thread_groups(&self.groups).map_err(failed("setgroups"))?;
        set_thread_res_gid(None, self.gid, None).map_err(failed("setresgid"))?;
        set_thread_res_uid(None, self.uid, None).map_err(failed("setresuid"))?;
        let done = work();
        set_thread_res_uid(None, uid, None).map_err(failed("setresuid"))?;
        set_thread_res_gid(None, gid, None).map_err(failed("setresgid"))?;
        set_thread_groups(&groups).map_err(failed("setgroups"))?;
        done
    }

    fn is_current(&self) -> bool {
        (geteuid(), getegid()) == (self.uid, self.gid)
    }

    /// Becomes this user for good.
    fn assume(&self) -> io::Result<()> {
        if self.is_current() && !self.is_root() {
            return Ok(());
        }
        set_thread_groups(&self.groups).map_err(failed("setgroups"))?;
        set_thread_res_gid(self.gid, self.gid, self.gid).map_err(failed("setresgid"))?;
        set_thread_res_uid(self.uid, self.uid, self.uid).map_err(failed("setresuid"))
    }
}

/// Changes to `user`, if there is one, and gives up capabilities, also those that a program could gain that is
/// executed later.
///
/// # Errors
/// The calling thread may not change its user, or the kernel refuses a call.
pub fn drop_privileges(user: Option<&User>) -> io::Result<()> {
    // io_uring and MSG_ZEROCOPY count pages of all processes of a user against this limit, unless a process has
    // CAP_IPC_LOCK. An ordinary user, and a superuser without CAP_SYS_RESOURCE, cannot raise it.
    let unlimited = Rlimit { current: None, maximum: None };
    let is_limited = setrlimit(Resource::Memlock, unlimited).is_err();
    empty_bounding_set()?;
    if let Some(user) = user {
        user.assume()?;
    }
    set_no_new_privs(true).map_err(failed("prctl PR_SET_NO_NEW_PRIVS"))?;
    match clear_ambient_capability_set() {
        // Before Linux 4.3 there is none.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(failed("prctl PR_CAP_AMBIENT")(errno)),
    }
    let kept = match geteuid().is_root() {
        true => CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH,
        false => CapabilitySet::empty(),
    };
    let kept =
        if is_limited && geteuid().is_root() { kept | CapabilitySet::IPC_LOCK } else { kept };
    let kept = kept & capabilities(None).map_err(failed("capget"))?.permitted;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(failed("capset"))
}

/// Removes each capability from the bounding set, where the thread may.
fn empty_bounding_set() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // Without CAP_SETPCAP, or a capability that this kernel does not know.
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
            Err(errno) => return Err(failed("prctl PR_CAPBSET_DROP")(errno)),
        }
    }
    Ok(())
}

fn group_of(name: &str) -> io::Result<Gid> {
    if let Ok(gid) = name.parse() {
        return Ok(Gid::from_raw(gid));
    }
    let group = Group::from_name(name)?;
    let group = group.ok_or_else(|| not_found(&format!("no group {name:?}")))?;
    Ok(Gid::from_raw(group.gid.as_raw()))
}

fn not_found(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout, reason = "a skipped test says why")]

    use super::*;
    use rustix::thread::no_new_privs;

    fn find(text: &str) -> (u32, u32, Vec<u32>) {
        let user = User::find(text).unwrap();
        let groups = user.groups.iter().map(|gid| gid.as_raw()).collect();
        (user.uid.as_raw(), user.gid.as_raw(), groups)
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!((find("root").0, find("root").1), (0, 0));
        assert_eq!(find("0"), find("root"));
        assert_eq!(find("root:7"), (0, 7, vec![7]));
        assert_eq!(find("root:root"), (0, 0, vec![0]));
        // Without an entry in passwd(5).
        assert_eq!(
            find("3999999999:3999999998"),
            (3_999_999_999, 3_999_999_998, vec![3_999_999_998])
        );
    }

    #[test]
    fn unknown_names_are_errors() {
        for (text, error) in [
            ("no-such-user", "no user \"no-such-user\""),
            ("3999999999", "no user \"3999999999\""),
            ("root:no-such-group", "no group \"no-such-group\""),
            ("", "no user \"\""),
        ] {
            assert_eq!(User::find(text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_thread_has_no_capabilities_afterwards() {
        std::thread::spawn(|| {
            drop_privileges(None).unwrap();
            let sets = capabilities(None).unwrap();
            let most = match geteuid().is_root() {
                true => {
                    CapabilitySet::DAC_OVERRIDE
                        | CapabilitySet::DAC_READ_SEARCH
                        | CapabilitySet::IPC_LOCK
                }
                false => CapabilitySet::empty(),
            };
            assert_eq!(sets.effective - most, CapabilitySet::empty());
            assert_eq!(sets.permitted - most, CapabilitySet::empty());
            assert!(no_new_privs().unwrap());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn acting_as_another_user_ends() {
        if !geteuid().is_root() {
            println!("skipped: only the superuser can change the user");
            return;
        }
        std::thread::spawn(|| {
            let user = User::find("3999999999:3999999998").unwrap();
            let groups = getgroups().unwrap();
            let now = match user.act(|| Ok((geteuid(), getegid(), getgroups()?))) {
                Err(error) => {
                    println!("skipped: not in this user namespace: {error}");
                    return;
                }
                Ok(now) => now,
            };
            assert_eq!(now, (user.uid, user.gid, user.groups.clone()));
            assert_eq!((geteuid(), getgroups().unwrap()), (Uid::ROOT, groups));
            drop_privileges(Some(&user)).unwrap();
            assert_eq!((geteuid(), getegid()), (user.uid, user.gid));
            assert_eq!(getgroups().unwrap(), user.groups);
            assert_eq!(capabilities(None).unwrap().permitted, CapabilitySet::empty());
            let back = set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT);
            assert_eq!(back, Err(Errno::PERM));
        })
        .join()
        .unwrap();
    }
}
