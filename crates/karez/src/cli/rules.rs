//! The arguments of `karez serve` for rules by path.

use clap::Args;
use karez_server::{
    AddressRule, AgentRule, AuthRule, CacheControlRule, CorsOrigin, ErrorPage, FieldRule,
    MediaTypeRule, PageCacheRule, RedirectRule, RewriteRule, RuleOptions,
};

/// The rules of a site.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Rules")]
pub(crate) struct RuleArgs {
    /// Set a response field for paths that match GLOB: 'GLOB: NAME: VALUE'. A + in front of NAME adds one
    /// more, an empty VALUE removes the field. 'GLOB STATUS: NAME: VALUE' with ok (2xx, 3xx), error, all or
    /// a number such as 404 limits it; without STATUS it holds for all, Cache-Control and Expires for ok.
    /// In a GLOB * stands for a part of a name and ** for any number of names; one without a slash matches
    /// the last name. Repeatable, later ones win
    #[arg(long, value_name = "RULE")]
    pub(crate) header: Vec<FieldRule>,

    /// Set Cache-Control for files that match GLOB: immutable (a year, for names that change with the
    /// content), revalidate (ask each time), no-store, or any value; repeatable, later ones win
    #[arg(long, value_name = "GLOB=VALUE")]
    pub(crate) cache_control: Vec<CacheControlRule>,

    /// Let scripts of other origins read responses (CORS); without ORIGIN those of all. Preflight requests
    /// are answered. Repeatable
    #[arg(long, value_name = "ORIGIN", num_args = 0..=1, require_equals = true, default_missing_value = "*")]
    pub(crate) cors: Vec<CorsOrigin>,

    /// Isolate pages from other origins (COOP, COEP and CORP), which SharedArrayBuffer needs
    #[arg(long)]
    pub(crate) isolate: bool,

    /// Answer navigation to names that do not exist by FILE with status 200, for single-page applications;
    /// other requests, such as for a missing script, get 404. FILE is asked for each time (no-cache) unless
    /// another rule says otherwise
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "index.html", value_parser = file_name)]
    pub(crate) spa: Option<String>,

    /// Send FILE, a path below DIR, as the body of an error, such as 404=404.html. FILE is looked up for each
    /// 401, 403, 404 and 500. For any other status (400, 405, 429, 503 …) it is read at the start and on SIGHUP,
    /// and has at most 64 KiB. Repeatable
    #[arg(long, value_name = "STATUS=FILE")]
    pub(crate) error_page: Vec<ErrorPage>,

    /// Redirect paths: 'PATTERN TARGET [STATUS]', status 301, 302 (default), 307 or 308. In PATTERN * stands
    /// for a part of a name, ** for any number of names and ? for a character, and TARGET has them as $1,
    /// $2 … The first that matches counts; repeatable
    #[arg(long, value_name = "RULE")]
    pub(crate) redirect: Vec<RedirectRule>,

    /// Look another path up in place of the requested one: 'PATTERN TARGET', as for --redirect, repeatable
    #[arg(long, value_name = "RULE")]
    pub(crate) rewrite: Vec<RewriteRule>,

    /// Answer /about by about.html. /about.html and /about/ are redirected to /about, and /index.html to /
    #[arg(long)]
    pub(crate) clean_urls: bool,

    /// Media type of files with an extension, such as md='text/plain; charset=utf-8'; repeatable
    #[arg(long = "type", value_name = "EXT=TYPE")]
    pub(crate) media_type: Vec<MediaTypeRule>,

    /// Page-cache policy of files: keep; sequential (larger read-ahead); drop (drop pages when they have been
    /// sent); uncached (RWF_DONTCACHE, Linux 6.14); direct (O_DIRECT). GLOB= limits it to files that match;
    /// the first that matches counts. Repeatable [default: keep]
    #[arg(long, value_name = "[GLOB=]POLICY")]
    pub(crate) cache: Vec<PageCacheRule>,

    /// Ask for a user and a password of FILE (htpasswd with hashes of argon2id or bcrypt, see karez passwd)
    /// for paths that match GLOB, or for all paths. Without FILE ('/public/**=') these paths need none.
    /// Repeatable, the last that matches counts. FILE is read at the start and on SIGHUP
    #[arg(long, value_name = "[GLOB=]FILE", help_heading = "Access")]
    pub(crate) auth: Vec<AuthRule>,

    /// Allow clients of NETWORK to see paths that match GLOB, or all paths, and no client that is in none of
    /// the networks: an address, ADDRESS/BITS, unix (peers of UNIX sockets) or all. Of the networks of
    /// --allow and --deny that have a client the most specific counts. Repeatable
    #[arg(long, value_name = "[GLOB=]NETWORK", help_heading = "Access")]
    pub(crate) allow: Vec<AddressRule>,

    /// Deny clients of NETWORK paths that match GLOB, or all paths: 403; repeatable, see --allow
    #[arg(long, value_name = "[GLOB=]NETWORK", help_heading = "Access")]
    pub(crate) deny: Vec<AddressRule>,

    /// Deny user agents that match GLOB, in upper or lower case, such as '*GPTBot*'; one without * matches a
    /// part. Repeatable
    #[arg(long, value_name = "GLOB", help_heading = "Access")]
    pub(crate) deny_agent: Vec<AgentRule>,
}

impl RuleArgs {
    /// Returns the rules of the site.
    pub(crate) fn options(&self) -> RuleOptions {
        let mut options = RuleOptions::default();
        options.fields.clone_from(&self.header);
        options.cache_control.clone_from(&self.cache_control);
        options.cors.clone_from(&self.cors);
        options.isolate = self.isolate;
        options.spa.clone_from(&self.spa);
        options.error_pages.clone_from(&self.error_page);
        options.redirects.clone_from(&self.redirect);
        options.rewrites.clone_from(&self.rewrite);
        options.clean_urls = self.clean_urls;
        options.types.clone_from(&self.media_type);
        options.page_cache.clone_from(&self.cache);
        options.auth.clone_from(&self.auth);
        options.allow.clone_from(&self.allow);
        options.deny.clone_from(&self.deny);
        options.denied_agents.clone_from(&self.deny_agent);
        options
    }

    /// Returns the files that the rules name, relative to the root, each with the id of its argument.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let pages = self.error_page.iter().map(|page| ("error_page", page.path()));
        self.spa.iter().map(|file| ("spa", file.as_str())).chain(pages)
    }
}

/// Parses the path of a file below the root.
fn file_name(path: &str) -> Result<String, &'static str> {
    let path = path.trim_start_matches('/');
    match path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        true => Err("must be the path of a file below the root"),
        false => Ok(path.to_owned()),
    }
}
