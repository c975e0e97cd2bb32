//! `karez serve`: from arguments to a running server and back.

use karez_reactor::{Address, Bound, Choice, Layout, Limits, Model, Stop, Topology, Wishes};
use karez_server::{AccessLog, FileService, Format, Log, Options, Patience, Stamps};
use karez_transfer::Via;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::thread;

use crate::cli::{LogForm, Serve};
use crate::complain;
use crate::descriptors;
use crate::stop_signals::{StopSignals, no_thread};
use crate::style;

/// A thread per connection is for hundreds, not for what the descriptors would allow.
const BLOCKING_CONNECTIONS: usize = 1024;

/// Serves until a signal comes.
pub(crate) fn run(args: &Serve) -> io::Result<()> {
    let stop = Stop::new();
    // Before any other thread is made.
    let signals = StopSignals::watch(&stop, args.grace)?;
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let choice = Layout::probe(&wishes(args), cores)
        .unwrap_or_else(|refusal| complain::and_exit_for_usage(&refusal));
    let layout = choice.layout;
    let descriptors = descriptors::raise_limit();
    let limits = Limits {
        connections: args
            .max_connections
            .map_or_else(|| room(layout, descriptors), NonZeroUsize::get),
        grace: args.grace,
    };

    let notices = log("karez-notices", io::stderr(), |count| {
        format!("karez: {count} notices were dropped, their reader is too slow")
    })?;
    let access = access_log(args.log)?;
    let logs = [Some(notices.clone()), access.clone().map(|(log, _)| log)];
    let access = access.map(|(log, format)| AccessLog::new(log, format));
    let explain = args.explain.then(|| layout.model());
    let service = FileService::open(options(args, explain), access, notices, stop.clone())?;
    let bound = Bound::bind(layout, &args.listen)?;
    signals.begin_serving(logs.iter().flatten().cloned().collect());
    if !args.quiet {
        announce(args, &choice, bound.addresses());
    }
    let outcome = service.run(bound, limits);
    for log in logs.iter().flatten() {
        log.flush();
    }
    outcome
}

fn wishes(args: &Serve) -> Wishes {
    let &Serve { model, topology, threads, workers, pin, yields, .. } = args;
    Wishes { model: model.0, topology, threads, workers, pin, yields }
}

fn options(args: &Serve, explain: Option<Model>) -> Options {
    Options {
        root: args.dir.clone(),
        index: args.index.clone().into_bytes(),
        listing: !args.no_listing,
        hidden: args.hidden,
        // The command line has looked at each.
        stamps: Stamps::new(&args.stamp).unwrap_or_default(),
        etag: args.etag.into(),
        via: args.via,
        patience: Patience {
            head: args.header_timeout,
            idle: args.idle_timeout,
            send: args.send_timeout,
            lookup: args.lookup_timeout,
        },
        explain,
    }
}

fn access_log(form: LogForm) -> io::Result<Option<(Log, Format)>> {
    let format = match form {
        LogForm::Common => Format::Common,
        LogForm::Combined => Format::Combined,
        LogForm::Json => Format::Json,
        LogForm::Off => return Ok(None),
    };
    // Not `Stdout`, whose lock and line buffer are in the way of a thread that writes batches.
    let stdout = std::fs::File::from(rustix::io::dup(io::stdout())?);
    Ok(Some((log("karez-log", stdout, move |count| format.dropped(count))?, format)))
}

/// A log whose thread that cannot be made is named.
fn log(
    name: &str,
    to: impl Write + Send + 'static,
    lost: impl Fn(u64) -> String + Send + 'static,
) -> io::Result<Log> {
    Log::start(name, to, lost).map_err(no_thread(name))
}

/// Connections for which there are descriptors, with a quarter left for files.
fn room(layout: Layout, descriptors: usize) -> usize {
    let room = (descriptors / 4 * 3).max(1);
    match layout.model() {
        // Two descriptors and at least a thread each.
        Model::PosixAio => (room / 2).clamp(1, BLOCKING_CONNECTIONS),
        Model::Blocking => room.min(BLOCKING_CONNECTIONS),
        _ => room,
    }
}

fn announce<'a>(args: &Serve, choice: &Choice, addresses: impl Iterator<Item = &'a Address>) {
    let urls: Vec<_> = addresses.map(url).collect();
    let layout = choice.layout;
    let refused = choice.refused.iter();
    let refused: String = refused.map(|(model, error)| format!(", no {model}: {error}")).collect();
    let how = if args.model.0.is_none() { format!(" (auto{refused})") } else { String::new() };
    let line = format!(
        "karez serves {} at {}  model {}{how}, via {}, topology {}, {}",
        args.dir.display(),
        style::on_stderr("1;36", &urls.join(" ")),
        style::on_stderr("32", layout.model().name()),
        via(args.via, layout.model()),
        style::on_stderr("32", layout.topology().name()),
        threads(layout),
    );
    // A closed standard error is no reason not to serve.
    let _said = writeln!(io::stderr(), "{line}");
}

/// The via asked for, and what runs where the model has no operation for it.
fn via(asked: Via, model: Model) -> String {
    let name = style::on_stderr("32", asked.name());
    match model.grants(asked) {
        granted if granted == asked => name,
        granted => format!("{name} (as {granted})"),
    }
}

fn threads(layout: Layout) -> String {
    let workers = layout.workers();
    let reactors = match layout.threads() {
        1 => "1 thread".to_owned(),
        count => format!("{count} threads"),
    };
    match (layout.model(), layout.topology()) {
        (Model::Blocking, Topology::Workers) => format!("at most {workers} workers"),
        (Model::Blocking, _) => "a thread per connection".to_owned(),
        (_, Topology::Single) => reactors,
        _ => format!("{reactors} and at most {workers} workers"),
    }
}

fn url(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("http://{address}/"),
        Address::Unix(_) => address.to_string(),
    }
}
