//! Rules of a site, by the path of a request or of a file. Each kind is a file of its own, with its options,
//! its parser and its table; [`Rules`] holds what is compiled of all of them, once for a configuration.
//!
//! | moment | asked by | kinds |
//! |---|---|---|
//! | first: who is served at all | [`Rules::denies_agent`] | [`agent`] |
//! | before each lookup: who may see the path | [`Rules::access`] | [`address`], [`auth`] |
//! | before the lookup: another path, or a response | [`Rules::decide`] | [`redirect`], [`clean_urls`] |
//! | after a lookup without a file: another path | [`Rules::fallback`], [`Rules::error_page`] | [`clean_urls`], [`spa`], [`error_page`] |
//! | when a file is opened: its fields, encoded once | [`Rules::fields_of_file`], [`Rules::media_types`] | [`field`], [`cache_control`], [`cors`], [`isolate`], [`media_type`] |
//! | when a file is opened: what becomes of its pages | [`Rules::cache_policy`] | [`page_cache`] |
//! | for a response without a file | [`Rules::fields`], [`Rules::kept_error_page`] | [`field`], [`cors`], [`isolate`], [`error_page`] |
//! | for OPTIONS | [`Rules::cors`] | [`cors`] |
//!
//! A new kind of rule adds a file, its options to [`RuleOptions`] and its table to [`Rules`].
//!
//! # Limitations
//!
//! A field rule matches the path of the file that is sent, so `/` is matched as `/index.html`.

pub(crate) mod access;
pub(crate) mod address;
pub(crate) mod agent;
pub(crate) mod auth;
pub(crate) mod cache_control;
pub(crate) mod clean_urls;
pub(crate) mod cors;
pub(crate) mod error_page;
pub(crate) mod field;
pub(crate) mod globs;
pub(crate) mod isolate;
pub(crate) mod media_type;
pub(crate) mod page_cache;
pub(crate) mod redirect;
pub(crate) mod spa;
pub(crate) mod stage;

use std::io;

use karez_http::{Request, Status};
use karez_transfer::CachePolicy;

use crate::site::ResourceRequest;
use access::Access;
use address::AddressRule;
use agent::{AgentRule, Agents};
use auth::AuthRule;
use cache_control::CacheControlRule;
use cors::{Cors, CorsOrigin};
use error_page::{ErrorPage, ErrorPages, KeptPage};
use field::{FieldRule, Fields, RuleFields};
use media_type::{MediaTypeRule, MediaTypes};
use page_cache::{PageCache, PageCacheRule};
use redirect::{RedirectRule, Redirects, RewriteRule};
use spa::Spa;
use stage::Stage;

/// The rules of a site. Default: none.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RuleOptions {
    /// Response fields that are set, added or removed, in this order.
    pub fields: Vec<FieldRule>,
    /// `Cache-Control` of successful responses; [`fields`](Self::fields) come later and win.
    pub cache_control: Vec<CacheControlRule>,
    /// The origins whose scripts may read responses (CORS).
    pub cors: Vec<CorsOrigin>,
    /// Whether pages are isolated from other origins (COOP, COEP, CORP).
    pub isolate: bool,
    /// The file that answers navigation requests for names that do not exist, relative to the root.
    pub spa: Option<String>,
    /// Files that are the body of errors.
    pub error_pages: Vec<ErrorPage>,
    /// Redirects; the first that matches counts.
    pub redirects: Vec<RedirectRule>,
    /// Rewrites of the path, behind the redirects; the first that matches counts.
    pub rewrites: Vec<RewriteRule>,
    /// Whether `/about` is answered by `about.html`.
    pub clean_urls: bool,
    /// Media types by extension.
    pub types: Vec<MediaTypeRule>,
    /// What happens to the pages of files when they have been sent; the first that matches counts.
    pub page_cache: Vec<PageCacheRule>,
    /// Files of the users who may see paths; the last rule that matches counts.
    pub auth: Vec<AuthRule>,
    /// Clients that may see paths: the most specific network of these and of [`deny`](Self::deny) counts.
    pub allow: Vec<AddressRule>,
    /// Clients that may not see paths.
    pub deny: Vec<AddressRule>,
    /// User agents that are not served.
    pub denied_agents: Vec<AgentRule>,
}

/// The compiled rules of a site.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    fields: Fields,
    cors: Option<Cors>,
    spa: Option<Spa>,
    error_pages: ErrorPages,
    redirects: Redirects,
    clean_urls: bool,
    index: String,
    types: MediaTypes,
    page_cache: PageCache,
    access: Option<Access>,
    agents: Agents,
}

/// The result of the rules before a lookup.
pub(crate) enum Decision {
    /// Look this resource up.
    Find(ResourceRequest),
    /// Redirect to this location.
    Redirect(Status, Vec<u8>),
}

impl Rules {
    /// Compiles rules. `index`: the name of the index file.
    ///
    /// # Errors
    /// The rules that make a set too large to be compiled.
    pub(crate) fn new(options: &RuleOptions, index: &[u8]) -> Result<Self, String> {
        let cors = Cors::new(&options.cors);
        let mut fields = Vec::new();
        if options.isolate {
            fields.extend(isolate::fields(cors.is_some()));
        }
        fields.extend(cors.iter().flat_map(Cors::fields));
        fields.extend(options.spa.as_deref().and_then(spa::cache_rule));
        fields.extend(options.cache_control.iter().map(|rule| rule.field().clone()));
        fields.extend(options.fields.iter().cloned());
        Ok(Self {
            fields: Fields::new(&fields)?,
            cors,
            spa: options.spa.as_deref().map(Spa::new),
            error_pages: ErrorPages::new(&options.error_pages),
            redirects: Redirects::new(&options.redirects, &options.rewrites)?,
            clean_urls: options.clean_urls,
            index: String::from_utf8_lossy(index).into_owned(),
            types: MediaTypes::new(&options.types),
            page_cache: PageCache::new(&options.page_cache)?,
            access: None,
            agents: Agents::new(&options.denied_agents)?,
        })
    }

    /// Adds the rules for access, whose files are read.
    ///
    /// # Errors
    /// As [`AuthRule::check`].
    pub(crate) fn read_access(&mut self, options: &RuleOptions) -> io::Result<()> {
        let RuleOptions { auth, allow, deny, .. } = options;
        self.access = Access::read(auth, allow, deny, self.index.as_bytes())?;
        Ok(())
    }

    /// Adds the pages of errors that are kept. `read` returns the file at a path below the root.
    pub(crate) fn keep_error_pages(
        &mut self,
        read: impl Fn(Status, &str, &MediaTypes) -> Option<KeptPage>,
    ) {
        let (error_pages, types) = (&mut self.error_pages, &self.types);
        error_pages.keep(|status, path| read(status, path, types));
    }

    /// Returns the body of an error that is kept.
    pub(crate) fn kept_error_page(&self, status: Status) -> Option<&KeptPage> {
        self.error_pages.kept(status)
    }

    /// Returns the rules for access; `None` if every client may see everything.
    pub(crate) fn access(&self) -> Option<&Access> {
        self.access.as_ref()
    }

    /// Returns whether the user agent of a request is not served.
    pub(crate) fn denies_agent(&self, request: &Request) -> bool {
        self.agents.has(request)
    }

    /// Applies the rules that come before a lookup.
    pub(crate) fn decide(&self, request: &Request, resource: ResourceRequest) -> Decision {
        if self.redirects.is_empty() && !self.clean_urls {
            return Decision::Find(resource);
        }
        if let Some((status, location)) = self.redirects.redirect(request, &resource) {
            return Decision::Redirect(status, location);
        }
        let resource = self.redirects.rewrite(resource);
        if self.clean_urls
            && let Some(location) = clean_urls::without_extension(request, &resource, &self.index)
        {
            return Decision::Redirect(Status::PermanentRedirect, location);
        }
        Decision::Find(resource)
    }

    /// Returns whether there are redirects or rewrites.
    pub(crate) fn has_redirects(&self) -> bool {
        !self.redirects.is_empty()
    }

    /// Returns whether a request for a resource is redirected, or gets another one.
    pub(crate) fn moves(&self, resource: &ResourceRequest) -> bool {
        self.redirects.has(resource)
    }

    /// Returns the resource to look for, and why, after a lookup that found nothing.
    pub(crate) fn fallback(
        &self,
        stage: Stage,
        request: &Request,
        resource: &ResourceRequest,
    ) -> Option<(Stage, ResourceRequest)> {
        if stage == Stage::Plain
            && self.clean_urls
            && let Some(found) = clean_urls::with_extension(resource)
        {
            return Some(found);
        }
        let spa = self.spa.as_ref()?;
        let asked = !matches!(stage, Stage::Spa | Stage::ErrorPage(_));
        (asked && spa.answers(request)).then(|| (Stage::Spa, spa.resource(resource)))
    }

    /// Returns the path of the body of an error, which is looked up.
    pub(crate) fn error_page(&self, status: Status) -> Option<&[u8]> {
        self.error_pages.find(status)
    }

    /// Returns the fields of responses with a file at this path.
    pub(crate) fn fields_of_file(&self, path: &[u8]) -> Option<RuleFields> {
        self.fields.of(path, Status::Ok)
    }

    /// Returns the fields of a response that is no file.
    pub(crate) fn fields(&self, request: Option<&Request>, status: Status) -> Option<RuleFields> {
        if self.fields.is_empty() {
            return None;
        }
        let target = request.and_then(|it| karez_http::target::parse(it.target()).ok());
        let mut target = target.unwrap_or_default();
        if target.directory && !target.path.is_empty() {
            target.path.push(b'/');
        }
        self.fields.of(&target.path, status)
    }

    /// Returns the rules for other origins.
    pub(crate) fn cors(&self) -> Option<&Cors> {
        self.cors.as_ref()
    }

    /// Returns what happens to the pages of the file at this path when they have been sent.
    pub(crate) fn cache_policy(&self, path: &[u8]) -> CachePolicy {
        self.page_cache.policy(path)
    }

    /// Returns the media types by extension.
    pub(crate) fn media_types(&self) -> &MediaTypes {
        &self.types
    }
}

/// Returns how rules contradict each other, or never end: one line for each.
pub fn rule_faults(options: &RuleOptions) -> Vec<String> {
    let mut faults = redirect::loops(&options.redirects, &options.rewrites);
    faults.extend(Rules::new(options, b"index.html").err());
    faults
}
