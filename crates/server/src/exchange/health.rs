//! Requests for the health of the server, which come before all rules: on every site, listener and protocol, with
//! no password and no limit on requests.

use karez_http::{Method, Status};

use super::{Action, Exchange};
use crate::context::ServerContext;
use crate::cost::RequestCost;

impl Exchange {
    /// Returns whether the request asks for the health of the server, and notes it.
    pub(super) fn asks_health(&mut self, context: &ServerContext) -> bool {
        let Some(path) = &context.health.path else { return false };
        let Ok(request) = &self.request else { return false };
        let asks = matches!(request.method(), Method::Get | Method::Head);
        self.is_health = asks && path.is_of(request.target());
        self.is_health
    }
    /// Responds with the health of the server.
    pub(super) fn health(&self, context: &ServerContext, cost: Option<&mut RequestCost>) -> Action {
        let (status, text) = match context.is_draining() {
            true => (Status::ServiceUnavailable, "draining\n"),
            false => (Status::Ok, "ok\n"),
        };
        self.respond(context, cost, |it| it.fixed(status, "text/plain; charset=utf-8", text))
    }
}
