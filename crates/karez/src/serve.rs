//! `karez serve`: starts a server by the arguments, and stops it on a signal.
//!
//! What needs rights or a single thread comes first: the sockets of the service manager or of the process that is
//! replaced, the launcher of a successor, keys, addresses.

use karez_reactor::{Address, Config, Limits, Model, Selected, Shutdown, Topology};
use karez_server::{FileService, Log};
use karez_transfer::Via;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::activation::Inherited;
use crate::cli::ServeArgs;
use crate::configuration::{Configuration, Flags};
#[cfg(feature = "tls")]
use crate::ktls::Ktls;
use crate::logs::Logs;
use crate::memory_limit::memory_limit;
#[cfg(feature = "metrics")]
use crate::observe;
use crate::panic_log::log_panics;
use crate::plain_passwords;
use crate::ready;
use crate::reload::{Reload, signals_of_reload};
use crate::rlimit;
use crate::sandbox::{self, Confined, Sandbox};
use crate::serve_options::{bind, content_tags, options, selected};
use crate::service_manager::ServiceManager;
use crate::stderr;
use crate::stop_signals::StopSignals;
use crate::style;
use crate::supervise;
use crate::tls::{self, Tls};
use crate::upgrade::{self, Launcher, Upgrade};

/// Default limit for models with a thread per connection, which do not scale to the limit on open
/// files.
const BLOCKING_CONNECTIONS: usize = 1024;

/// Memory of a connection that does not read its response, with that of the kernel, in bytes: by measurement (4.2
/// and 12.6 KB), and rounded up. In the ring each has a buffer when many requests arrive at once, and the allocator
/// keeps these. The last is that of a connection with a thread.
const CONNECTION_MEMORY: u64 = 6 << 10;
const RING_MEMORY: u64 = 16 << 10;
const THREAD_MEMORY: u64 = 128 << 10;

/// Serves until a signal arrives.
pub(crate) fn run(flags: &Flags) -> io::Result<()> {
    let mut configuration = Configuration::load_or_exit(flags);
    let mut inherited = match upgrade::listeners()? {
        Some(inherited) => inherited,
        None => Inherited::of_service_manager()?,
    };
    inherited.activated.complete(&mut configuration);
    if configuration.serve.supervise {
        (configuration, inherited) = supervise::in_child(flags, configuration, inherited)?;
    }
    // Signals are blocked before any process or thread is made, and the launcher gets no key.
    let upgrade_signal = upgrade::block_signal()?;
    let args = &configuration.serve;
    let launcher = match supervise::is_below_first_process(args) {
        true => {
            Launcher::none("its supervisor is the first process (PID 1), which cannot be replaced")
        }
        false => Launcher::start(|| inherited.listeners.clear()),
    };
    let manager = ServiceManager::connect();
    let shutdown = Shutdown::new();
    if let Some(error) = tls::contradiction(&configuration) {
        stderr::usage_error(&error);
    }
    let mut tls = Tls::load(&configuration, None)?;
    let selected = selected(args);
    let config = selected.config;
    if let Some(error) = sandbox::contradiction(args, config.model()) {
        stderr::usage_error(&error);
    }
    #[cfg(feature = "tls")]
    let ktls = match &mut tls {
        Some(tls) => {
            let ktls = Ktls::choose(args.tls.ktls, config.model())?;
            tls.set_kernel(ktls.kernel.clone());
            Some(ktls)
        }
        None => None,
    };
    let descriptors = rlimit::raise_limit();
    let limits = Limits::new(
        args.max_connections
            .map_or_else(|| default_connections(args, config, descriptors), NonZeroUsize::get),
        args.grace,
    );
    let server = bind(args, config, &mut inherited.listeners)?;
    #[cfg_attr(not(feature = "metrics"), expect(unused_mut, reason = "metrics have listeners"))]
    let mut handover = server.handover();
    if !upgrade::replaces_another() {
        handover.own_names(); // also those that its supervisor has bound
    }
    #[cfg(feature = "metrics")]
    let monitor = observe::bind(args, &mut inherited.listeners)?;
    #[cfg(feature = "metrics")]
    monitor.iter().for_each(|(_, monitor)| monitor.hand_over(&mut handover));
    let activated = inherited.activated.clone();
    let unused = inherited.close_unused();
    let urls = urls(server.addresses(), |listener| tls::scheme(tls.as_ref(), listener));

    // Signals are blocked before any thread is made that stays. They end the process until then.
    let reload_signals = signals_of_reload(&configuration, flags, tls.as_ref())?;
    let blocked = StopSignals::block()?;
    let content_tags = content_tags(args)?;
    #[cfg(feature = "fault-injection")]
    crate::faults::inject_if_asked()?;
    let confined = confine(&configuration, config.model(), &mut tls)?;
    let signals = StopSignals::watch(blocked, &shutdown, args.grace)?;
    let logs = Logs::start(&args.logs)?;
    log_panics(logs.errors.clone());
    let explain = args.explain.then(|| config.model());
    let mut options = options(&configuration, explain, tls.as_ref());
    options.content_tags = content_tags;
    #[cfg(feature = "metrics")]
    {
        options.metrics = monitor.as_ref().map(|(metrics, _)| metrics.clone());
    }
    let access = logs.access_log(&args.logs);
    let service = FileService::open(options, access, logs.errors.clone(), shutdown.clone())?;
    signals.begin_serving(logs.all(), manager.clone(), (service.drain(), args.drain));
    if !args.quiet {
        #[cfg(feature = "tls")]
        let ktls = ktls.map(|ktls| ktls.description);
        #[cfg(not(feature = "tls"))]
        let ktls = None;
        let tls = ktls.map_or(String::new(), |tls: String| format!(", {tls}"));
        #[cfg_attr(not(feature = "metrics"), expect(unused_mut, reason = "addresses are added"))]
        let mut more = format!("{tls}, {}", confined.description());
        #[cfg(feature = "metrics")]
        more.extend(monitor.as_ref().map(|(_, monitor)| observe::describe(monitor)));
        announce(&configuration, &selected, &urls, &more);
    }
    if let Some(text) = plain_passwords::warning(&configuration, server.addresses(), tls.as_ref()) {
        stderr::warning(&text);
    }
    if let Some(notice) = tls.as_ref().and_then(Tls::notice) {
        // The server runs also if standard error is closed.
        let _written = writeln!(io::stderr(), "{notice}");
    }
    let upgrade = Arc::new(Upgrade::new(
        launcher,
        handover.clone(),
        activated.clone(),
        shutdown.clone(),
        manager.clone(),
        logs.clone(),
        args.grace,
    ));
    upgrade.start(upgrade_signal)?;
    if let Some(signals) = reload_signals {
        let (reloader, logs) = (service.reloader(), logs.clone());
        #[rustfmt::skip]
        let reload = Reload::new(
            flags.clone(), configuration, tls, reloader, logs, activated, manager.clone(),
            Arc::clone(&upgrade),
        )?;
        reload.start(signals)?;
    }
    #[cfg(feature = "exploit-tests")]
    crate::exploits::attempt_if_asked(config.model() == Model::Uring)?;
    #[cfg(feature = "metrics")]
    monitor.map_or(Ok(()), |(_, monitor)| monitor.start(shutdown.clone()))?;
    if config.model() == Model::Uring {
        // It needs listeners that block, and the process that is replaced needs the opposite.
        upgrade::wait_for_turn()?;
    }
    ready::start(shutdown, manager, format!("serves at {}", urls.join(" ")), unused, handover)?;
    let outcome = service.run(server, limits);
    upgrade.finish();
    logs.all().iter().for_each(Log::flush);
    outcome
}

/// Gives up all rights that the server does not need any more. Its threads are made afterwards, and its roots
/// are opened afterwards; its sockets are bound and its keys are read before.
fn confine(
    configuration: &Configuration,
    model: Model,
    tls: &mut Option<Tls>,
) -> io::Result<Confined> {
    let sandbox = Sandbox::new(configuration, model, tls.as_ref())?;
    let privileges = sandbox.drop_privileges()?;
    #[cfg(feature = "acme")]
    if let Some(tls) = tls {
        tls.start_acme(sandbox.of_acme(&configuration.serve))?;
    }
    sandbox.enter(privileges)
}

/// Descriptors of the server itself: listeners, logs, and four or so of each event loop.
const OWN_DESCRIPTORS: usize = 32;

/// Returns the default limit on connections: three quarters of the descriptors that clients may use, the rest is for
/// files; and what fits into half of the memory limit.
fn default_connections(args: &ServeArgs, config: Config, descriptors: usize) -> usize {
    let shares = args.clients.rate_per_ip.is_some();
    connections_that_fit(config.model(), shares, descriptors, memory_limit())
}

/// Returns how many connections fit, of which each needs a descriptor more if they share rates.
fn connections_that_fit(
    model: Model,
    shares: bool,
    descriptors: usize,
    memory: Option<u64>,
) -> usize {
    let (each, bytes, most) = match model {
        // Each connection needs two descriptors and at least one thread.
        Model::PosixAio => (2, THREAD_MEMORY, BLOCKING_CONNECTIONS),
        Model::Blocking => (1, THREAD_MEMORY, BLOCKING_CONNECTIONS),
        Model::Uring => (1, RING_MEMORY, usize::MAX),
        _ => (1, CONNECTION_MEMORY, usize::MAX),
    };
    let available = descriptors.saturating_sub(OWN_DESCRIPTORS) / 4 * 3;
    let fit = memory.and_then(|limit| usize::try_from(limit / 2 / bytes).ok());
    (available / (each + usize::from(shares))).min(most).min(fit.unwrap_or(usize::MAX)).max(1)
}

fn announce(configuration: &Configuration, selected: &Selected, urls: &[String], more: &str) {
    let (args, config) = (&configuration.serve, selected.config);
    let refused = selected.refused.iter();
    let refused: String = refused.map(|(model, error)| format!(", no {model}: {error}")).collect();
    let how = if args.model.0.is_none() { format!(" (auto{refused})") } else { String::new() };
    let served = match configuration.sites.len() {
        0 => args.site.dir.display().to_string(),
        tables => format!("{} sites", tables + usize::from(configuration.has_top_site())),
    };
    let line = format!(
        "karez serves {served} at {}  model {}{how}, via {}, topology {}, {}{}",
        style::on_stderr("1;36", &urls.join(" ")),
        style::on_stderr("32", config.model().name()),
        via(args.via, config.model()),
        style::on_stderr("32", config.topology().name()),
        threads(config),
        more,
    );
    // The server runs also if standard error is closed.
    let _written = writeln!(io::stderr(), "{line}");
}

/// Returns the requested via, and the one that runs if the model has no operation for it.
fn via(requested: Via, model: Model) -> String {
    let name = style::on_stderr("32", requested.name());
    match model.supported_via(requested) {
        supported if supported == requested => name,
        supported => format!("{name} (as {supported})"),
    }
}

fn threads(config: Config) -> String {
    let workers = config.workers();
    let loops = match config.threads() {
        1 => "1 thread".to_owned(),
        count => format!("{count} threads"),
    };
    match (config.model(), config.topology()) {
        (Model::Blocking, Topology::Workers) => format!("at most {workers} workers"),
        (Model::Blocking, _) => "a thread per connection".to_owned(),
        (_, Topology::Single) => loops,
        _ => format!("{loops} and at most {workers} workers"),
    }
}

/// Returns the URL of each listener; `scheme` returns its protocol by its index.
fn urls<'a>(
    addresses: impl Iterator<Item = &'a Address>,
    scheme: impl Fn(usize) -> &'static str,
) -> Vec<String> {
    let url = |(index, address): (usize, &Address)| match (address, scheme(index)) {
        (Address::Tcp(address), scheme) => format!("{scheme}://{address}/"),
        (Address::Unix(_), "https") => format!("https:{address}"),
        (Address::Unix(_), _) => address.to_string(),
    };
    addresses.enumerate().map(url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_connections_as_descriptors_and_memory_permit() {
        let limit = Some(64 << 20);
        for (model, shares, descriptors, memory, fit) in [
            (Model::EpollEdge, false, 20_000, None, 14_976),
            (Model::EpollEdge, true, 20_000, None, 7_488),
            (Model::EpollEdge, false, 20_000, limit, 5_461),
            (Model::Uring, false, 20_000, limit, 2_048),
            (Model::Uring, false, 1_024, limit, 744),
            (Model::Blocking, false, 20_000, None, 1_024),
            (Model::Blocking, false, 20_000, limit, 256),
            (Model::PosixAio, false, 1_024, None, 372),
            (Model::PosixAio, false, 1_024, limit, 256),
            (Model::EpollEdge, false, 32, limit, 1),
            (Model::EpollEdge, false, 20_000, Some(4_096), 1),
        ] {
            let found = connections_that_fit(model, shares, descriptors, memory);
            assert_eq!(found, fit, "{model}, {shares}, {descriptors}, {memory:?}");
        }
    }
}
