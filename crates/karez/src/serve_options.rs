//! The options of a server by its configuration.

use karez_reactor::{
    Config, ConfigBuilder, InheritedListener, Model, Selected, Server, TcpOptions,
};
use karez_server::{ByteRate, ContentTags, Options, SiteOptions, Substitutions};
use std::io;
use std::num::NonZeroUsize;
use std::thread;

use crate::cli::{ServeArgs, SiteArgs, SiteTable};
use crate::configuration::Configuration;
use crate::stderr;
use crate::tls::Tls;

/// The connections of an address that each take their part of its rate, where their number is not limited.
const SHARES: u64 = 64;

/// Returns the threads of the arguments, not checked.
pub(crate) fn config(args: &ServeArgs) -> ConfigBuilder {
    let &ServeArgs { model, topology, threads, workers, pin, yields, .. } = args;
    Config::builder()
        .model(model.0)
        .topology(topology)
        .threads(threads)
        .workers(workers)
        .pin(pin)
        .yields(yields)
}

/// Returns what runs of the threads of the arguments; prints a usage error and exits with 2 where nothing can.
pub(crate) fn selected(args: &ServeArgs) -> Selected {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    config(args).build_supported(cores).unwrap_or_else(|error| stderr::usage_error(&error))
}

/// Binds the addresses for which no socket is inherited.
///
/// # Errors
/// As [`Server::bind_inherited`].
pub(crate) fn bind(
    args: &ServeArgs,
    config: Config,
    inherited: &mut Vec<InheritedListener>,
) -> io::Result<Server> {
    let addresses: Vec<_> = args.listen.iter().map(|listen| listen.address.clone()).collect();
    Server::bind_inherited(config, &addresses, &tcp_options(args), inherited)
}

/// Returns the options of TCP connections.
pub(crate) fn tcp_options(args: &ServeArgs) -> TcpOptions {
    let mut options = TcpOptions::default();
    options.congestion.clone_from(&args.congestion);
    options.max_pacing_rate = args.rate;
    options.notsent_lowat = args.notsent_lowat;
    options.user_timeout = Some(args.send_timeout);
    options
}

/// Opens the file of the hashes of contents. It stays open, so that no right to it is needed later.
///
/// # Errors
/// As [`ContentTags::open`].
pub(crate) fn content_tags(args: &ServeArgs) -> io::Result<ContentTags> {
    args.etag_cache.as_deref().map_or_else(|| Ok(ContentTags::default()), ContentTags::open)
}

/// Returns the options of the server. The default site is that of the arguments, or the first table
/// without hosts, or the first table.
pub(crate) fn options(
    configuration: &Configuration,
    explain: Option<Model>,
    tls: Option<&Tls>,
) -> Options {
    let args = &configuration.serve;
    let mut named: Vec<_> = configuration.sites.iter().map(|site| site_of(&site.table)).collect();
    let default = match configuration.has_top_site() {
        true => site_options(&args.site),
        false => named.remove(named.iter().position(|it| it.hosts.is_empty()).unwrap_or(0)),
    };
    let mut options = Options::new("");
    options.site = default;
    options.named = named;
    options.via = args.via;
    options.torn = args.torn.into();
    options.timeouts.head = args.header_timeout;
    options.timeouts.idle = args.idle_timeout;
    options.timeouts.send = args.send_timeout;
    options.timeouts.min_rate = min_rate(args);
    options.timeouts.lookup = args.lookup_timeout;
    options.listing_memory = args.listing_memory;
    options.proxies.trusted.clone_from(&args.clients.trust_proxy);
    options.proxies.protocol = args.clients.proxy_protocol;
    options.health = args.health.options();
    options.limits.connections = args.clients.max_per_ip;
    options.limits.requests = args.clients.max_rate_per_ip;
    options.limits.bytes = args.clients.rate_per_ip.map(|rate| ByteRate { rate, most: args.rate });
    options.explain = explain;
    options.http2 = !args.http1_only;
    #[cfg(feature = "tls")]
    {
        options.tls = tls.map(Tls::options);
    }
    let _ = tls;
    options
}

/// Returns the rate below which a client is closed. It cannot take more than the pacing lets through.
fn min_rate(args: &ServeArgs) -> u64 {
    let connections = args.clients.max_per_ip.map_or(SHARES, |most| most.get().into());
    let part = args.clients.rate_per_ip.map(|rate| rate.get() / connections);
    let paced = args.rate.map(|rate| rate.get()).into_iter().chain(part);
    paced.fold(args.min_rate, |lowest, rate| lowest.min(rate / 2))
}

fn site_of(table: &SiteTable) -> SiteOptions {
    let mut options = site_options(&table.site);
    options.hosts.clone_from(&table.hosts);
    options
}

fn site_options(site: &SiteArgs) -> SiteOptions {
    let mut options = SiteOptions::new(&site.dir);
    options.index = site.index.clone().into_bytes();
    options.listing = !site.no_listing;
    options.archives = site.tar;
    options.listing_header = bytes_of(&site.listing_header);
    options.listing_footer = bytes_of(&site.listing_footer);
    options.hidden = site.hidden;
    // The command line has validated each.
    options.substitutions = Substitutions::new(&site.substitute).unwrap_or_default();
    options.etag = site.etag();
    #[cfg(feature = "compress")]
    {
        options.compressor = site.compress.then_some(compress);
    }
    options.rules = site.rules.options();
    options
}

fn bytes_of(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.clone().into_bytes()).collect()
}

/// Compresses as fast as a response needs it.
#[cfg(feature = "compress")]
fn compress(coding: karez_compress::Coding, plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packed = Vec::with_capacity(plain.len() / 2);
    let (size, mut from) = (plain.len() as u64, plain);
    karez_compress::encode(coding, karez_compress::Level::Fast, size, &mut from, &mut packed)?;
    Ok(packed)
}
