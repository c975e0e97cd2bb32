//! Where refused attributes are reported: in the account, and to the observer if they fail the copy.
//!
//! The table of errnos is that of [`attributes`](crate::attributes).

use rustix::io::Errno;
use rustix::process::geteuid;

use crate::account::{Account, Unkept};
use crate::error::Error;
use crate::run::Run;

/// Takes the refused attributes of one file.
pub(crate) struct Refusals<'a> {
    run: &'a Run<'a>,
    account: &'a mut Account,
}

impl<'a> Refusals<'a> {
    pub(crate) fn new(run: &'a Run<'a>, account: &'a mut Account) -> Self {
        Self { run, account }
    }

    /// One that cp(1) ends with exit code 1 for. The error has the call and its object.
    pub(crate) fn enter(&mut self, what: &str, error: Error, errno: Errno) {
        self.run.observer.unkept(&Error::Unkept { what: what.to_owned(), source: Box::new(error) });
        self.add(what, errno, true);
    }

    /// One that cp(1) says nothing of.
    pub(crate) fn enter_quietly(&mut self, what: &str, errno: Errno) {
        self.add(what, errno, false);
    }

    /// The owner, which only privilege can give away.
    pub(crate) fn enter_owner(&mut self, error: Error, errno: Errno) {
        if matches!(errno, Errno::PERM | Errno::INVAL) && !geteuid().is_root() {
            self.enter_quietly("owner", errno);
        } else {
            self.enter("owner", error, errno);
        }
    }

    fn add(&mut self, what: &str, errno: Errno, fails: bool) {
        self.account.enter_unkept(Unkept { what: what.to_owned(), errno, times: 1, fails });
    }
}
