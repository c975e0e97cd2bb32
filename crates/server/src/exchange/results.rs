//! Lookups and their results: a file, or what rules have in place of one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karez_http::{Status, buffers};

use super::guard::Guard;
use super::{Action, Exchange, Hot};
use crate::context::ServerContext;
use crate::cost::RequestCost;
use crate::job::FileWork;
use crate::rules::Rules;
use crate::rules::clean_urls;
use crate::rules::stage::Stage;
use crate::site::{Hit, LookupResult, OpenFile, ResourceRequest};

impl Exchange {
    /// Answers from the hot files, or asks for a lookup, if the client may see the resource.
    pub(super) fn find(
        &mut self,
        resource: ResourceRequest,
        context: &ServerContext,
        mut cost: Option<&mut RequestCost>,
        hot: &mut Hot<'_>,
        now: Instant,
    ) -> Action {
        match self.guard(&resource, context) {
            Guard::Granted => {}
            guard => return self.refuse(guard, resource, context, cost, hot, now),
        }
        let site = context.sites.get(self.site);
        match hot.find(site, &resource, cost.as_deref_mut(), now) {
            Some(Hit::File(file, content)) => {
                buffers::give_back(resource.path);
                self.file(&file, content, context, cost)
            }
            Some(Hit::Missing) => self.missing(&resource, context, cost, hot, now),
            None => {
                let site = Arc::clone(site);
                let lookup = site.lookup(resource);
                Action::Run(FileWork::Lookup { site, lookup })
            }
        }
    }

    /// Continues with the result of a lookup.
    pub(super) fn found(
        &mut self,
        found: LookupResult,
        resource: &ResourceRequest,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        hot: &mut Hot<'_>,
        now: Instant,
    ) -> Action {
        let (status, reason) = match found {
            LookupResult::File { file, .. } => {
                context.sites.get(self.site).request_tag(&file);
                return self.file(&file, None, context, cost);
            }
            LookupResult::MissingSlash if self.stage == Stage::Plain => {
                let location = self.location_with_slash(resource);
                return self.respond(context, cost, |it| it.redirect(location));
            }
            LookupResult::Directory(listing) if self.stage == Stage::Plain => {
                return self.list(listing, context, cost);
            }
            LookupResult::Archive(directory) if self.stage == Stage::Plain => {
                return self.index(*directory, resource.ranged, context);
            }
            LookupResult::Busy => {
                return self.respond(context, cost, |it| {
                    it.unavailable("no descriptor is free, try again", Duration::ZERO)
                });
            }
            LookupResult::Missing
            | LookupResult::MissingSlash
            | LookupResult::Directory(_)
            | LookupResult::Archive(_) => {
                return self.missing(resource, context, cost, hot, now);
            }
            LookupResult::ListingForbidden => {
                (Status::Forbidden, "directories are not listed here")
            }
            LookupResult::Denied => (Status::Forbidden, ""),
            LookupResult::Failed(error) => {
                context.log_error(&error.to_string());
                (Status::InternalServerError, "")
            }
        };
        self.error((status, reason), resource, context, cost, hot, now)
    }

    /// Responds with a file, as the reason of its lookup has it.
    fn file(
        &self,
        file: &Arc<OpenFile>,
        content: Option<Arc<[u8]>>,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
    ) -> Action {
        self.respond_with(content, context, cost, |it| match (self.stage, it.request) {
            (Stage::ErrorPage(status), _) => it.error_page(status, file),
            (Stage::WithoutSlash, Some(request)) => {
                let location = clean_urls::without_slash(request);
                it.redirect_by_rule(Status::PermanentRedirect, location)
            }
            _ => it.file(file),
        })
    }

    /// Looks for the next file that rules have for a name that does not exist.
    fn missing(
        &mut self,
        resource: &ResourceRequest,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        hot: &mut Hot<'_>,
        now: Instant,
    ) -> Action {
        let request = self.request.as_ref().ok();
        let rules = self.rules(context);
        let next = request.and_then(|request| rules.fallback(self.stage, request, resource));
        match next {
            Some((stage, next)) => {
                self.stage = stage;
                self.find(next, context, cost, hot, now)
            }
            None => self.error((Status::NotFound, ""), resource, context, cost, hot, now),
        }
    }

    /// Responds with an error, by the file that rules have for it.
    pub(super) fn error(
        &mut self,
        (status, reason): (Status, &str),
        resource: &ResourceRequest,
        context: &ServerContext,
        cost: Option<&mut RequestCost>,
        hot: &mut Hot<'_>,
        now: Instant,
    ) -> Action {
        let (status, reason) = match self.stage {
            // The page itself is missing, or cannot be read.
            Stage::ErrorPage(status) => (status, ""),
            _ => (status, reason),
        };
        match self.rules(context).error_page(status) {
            Some(path) if !matches!(self.stage, Stage::ErrorPage(_)) => {
                self.stage = Stage::ErrorPage(status);
                let page =
                    ResourceRequest { path: path.to_vec(), directory: false, ..resource.clone() };
                self.find(page, context, cost, hot, now)
            }
            _ => self.respond(context, cost, |it| it.text(status, reason)),
        }
    }

    fn rules<'a>(&self, context: &'a ServerContext) -> &'a Rules {
        context.sites.get(self.site).rules()
    }
}
