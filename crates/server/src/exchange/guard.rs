//! Access to a resource, before it is looked up: by the address of the client, and by its password, which a
//! worker verifies unless it is known already.

use std::sync::Arc;
use std::time::Instant;

use karez_http::Status;

use super::{Action, Exchange, Hot};
use crate::context::ServerContext;
use crate::cost::RequestCost;
use crate::job::FileWork;
use crate::rules::auth::credentials::Credentials;
use crate::rules::auth::user_file::UserFile;
use crate::rules::stage::Stage;
use crate::site::ResourceRequest;

/// The right of a client to see a resource.
pub(super) enum Guard {
    Granted,
    /// 403: no password would change it.
    Forbidden,
    /// 401: no password, or a wrong one.
    Unauthorized,
    /// The password has to be verified.
    Verify(Arc<UserFile>, Credentials),
}

impl Exchange {
    /// Returns whether the client may see a resource.
    pub(super) fn guard(&mut self, resource: &ResourceRequest, context: &ServerContext) -> Guard {
        let Some(access) = context.sites.get(self.site).rules().access() else {
            return Guard::Granted;
        };
        // The page of an error is for clients that may see nothing else.
        if matches!(self.stage, Stage::ErrorPage(_)) {
            return Guard::Granted;
        }
        if !access.permits(resource, self.client) {
            return Guard::Forbidden;
        }
        let Some(users) = access.users(resource) else { return Guard::Granted };
        if self.passed.as_ref().is_some_and(|passed| Arc::ptr_eq(passed, users)) {
            return Guard::Granted;
        }
        match self.request.as_ref().ok().and_then(Credentials::of) {
            None => Guard::Unauthorized,
            Some(credentials) if users.remembers(&credentials) => {
                self.passed = Some(Arc::clone(users));
                Guard::Granted
            }
            Some(credentials) => Guard::Verify(Arc::clone(users), credentials),
        }
    }

    /// Responds to a client that may not see a resource, or has its password verified.
    pub(super) fn refuse(
        &mut self,
        guard: Guard,
        resource: ResourceRequest,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        hot: &mut Hot<'_>,
        now: Instant,
    ) -> Action {
        let status = match guard {
            Guard::Verify(users, credentials) => {
                self.verifying = true;
                return Action::Run(FileWork::Verify { users, credentials, resource });
            }
            Guard::Unauthorized => Status::Unauthorized,
            Guard::Granted | Guard::Forbidden => Status::Forbidden,
        };
        self.error((status, ""), &resource, context, cost, hot, now)
    }

    /// Continues with the result of a verification.
    pub(super) fn verified(
        &mut self,
        users: Option<Arc<UserFile>>,
        resource: ResourceRequest,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        hot: &mut Hot<'_>,
        now: Instant,
    ) -> Action {
        self.verifying = false;
        match users {
            Some(users) => {
                self.passed = Some(users);
                self.find(resource, context, cost, hot, now)
            }
            None => self.refuse(Guard::Unauthorized, resource, context, cost, hot, now),
        }
    }
}
