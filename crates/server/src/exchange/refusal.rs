//! Requests that are refused because of their client, whatever they ask for: it sends too many, or is not wanted.

use std::time::{Duration, Instant};

use karez_http::{Request, Status};

use super::{Action, Exchange};
use crate::address_limits::key::AddressKey;
use crate::context::ServerContext;
use crate::cost::RequestCost;

/// After which time a client with too many connections may try again.
const CONNECTIONS_RETRY: Duration = Duration::from_secs(1);

/// Why a client is refused.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    TooManyRequests(Duration),
    Agent,
}

impl Exchange {
    /// Returns why the client of a request is refused, if it is. Takes a token of its rate.
    pub(super) fn refusal(
        &self,
        request: &Request,
        context: &ServerContext,
        now: Instant,
    ) -> Option<Refusal> {
        if let Some((rates, client)) = context.limits.requests().zip(self.client)
            && let Err(wait) = rates.take(AddressKey::of(client), now)
        {
            return Some(Refusal::TooManyRequests(wait));
        }
        let denies = context.sites.get(self.site).rules().denies_agent(request);
        denies.then_some(Refusal::Agent)
    }

    /// Responds without a page, which would have to be looked up.
    pub(super) fn refuse_client(
        &self,
        refusal: Refusal,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
    ) -> Action {
        self.respond(context, cost, |it| match refusal {
            Refusal::TooManyRequests(wait) => {
                it.retry_later(Status::TooManyRequests, "too many requests", wait)
            }
            Refusal::Agent => it.text(Status::Forbidden, "this user agent is not served"),
        })
    }

    /// Responds to a request on a connection above the limit of its address.
    pub(crate) fn too_many_connections(
        &self,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
    ) -> Action {
        let (status, reason) = (Status::TooManyRequests, "too many connections");
        self.respond(context, cost, |it| it.retry_later(status, reason, CONNECTIONS_RETRY))
    }
}
