//! The client that an archive is made for: rules of access decide which entries it has.

use std::net::IpAddr;
use std::sync::Arc;

use karez_http::Codings;

use crate::rules::Rules;
use crate::rules::auth::user_file::UserFile;
use crate::site::{ListingView, ResourceRequest};

/// The client of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Viewer {
    /// Its address; `None` on a UNIX socket.
    pub(crate) client: Option<IpAddr>,
    /// The file of users that has its password.
    pub(crate) passed: Option<Arc<UserFile>>,
}

impl Viewer {
    /// Returns the part of it on which these rules depend, so that equal viewers see the same.
    pub(super) fn under(self, rules: &Rules) -> Self {
        if rules.access().is_some() { self } else { Self::default() }
    }

    /// Returns whether a request of this client for a path would get what is there.
    pub(super) fn sees(&self, rules: &Rules, path: &[u8], directory: bool) -> bool {
        if rules.access().is_none() && !rules.has_redirects() {
            return true;
        }
        let (codings, view) = (Codings::default(), ListingView::default());
        let path = path.to_vec();
        let resource = ResourceRequest { path, directory, codings, ranged: false, view };
        let passes = |users: &Arc<UserFile>| {
            self.passed.as_ref().is_some_and(|passed| Arc::ptr_eq(passed, users))
        };
        let permits = rules.access().is_none_or(|access| {
            access.permits(&resource, self.client) && access.users(&resource).is_none_or(passes)
        });
        permits && !rules.moves(&resource)
    }
}

impl PartialEq for Viewer {
    fn eq(&self, other: &Self) -> bool {
        let same_users = match (&self.passed, &other.passed) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.client == other.client && same_users
    }
}
