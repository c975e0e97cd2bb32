//! `karez serve`: from arguments to a running server and back.

use karez_reactor::{Address, Bound, Choice, Layout, Limits, Model, Stop, Topology, Wishes};
use karez_server::{AccessLog, FileService, Format, Log, Options, Patience, Stamps};
use karez_transfer::Via;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::time::Duration;
use std::{process, thread};

use crate::cli::{LogForm, Serve};
use crate::complain;
use crate::descriptors;
use crate::style;

/// A thread per connection is for hundreds, not for what the descriptors would allow.
const BLOCKING_CONNECTIONS: usize = 1024;

/// After the grace, how long a thread stuck in a disk may hold up the end. The ordinary end, with
/// the log lines of cancelled responses, takes more than a second where many processes share few
/// cores.
const STUCK: Duration = Duration::from_secs(5);

/// Serves until a signal comes.
pub(crate) fn run(args: &Serve) -> io::Result<()> {
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

    let stop = Stop::new();
    let notices = Log::start("karez-notices", io::stderr(), |count| {
        format!("karez: {count} notices were dropped, their reader is too slow")
    })?;
    let access = access_log(args.log)?;
    let logs = [Some(notices.clone()), access.clone().map(|(log, _)| log)];
    let access = access.map(|(log, format)| AccessLog::new(log, format));
    let explain = args.explain.then(|| layout.model());
    let service = FileService::open(options(args, explain), access, notices, stop.clone())?;
    let bound = Bound::bind(layout, &args.listen)?;
    stop_on_signals(&stop, args.grace, logs.iter().flatten().cloned().collect())?;
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
        via: args.via,
        patience: Patience {
            head: args.header_timeout,
            idle: args.idle_timeout,
            send: args.send_timeout,
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
    Ok(Some((Log::start("karez-log", stdout, move |count| format.dropped(count))?, format)))
}

/// The first signal begins a stop, the second ends everything, and so does a grace that is over
/// while some thread still waits for a disk. A socket in the file system is removed by nobody
/// then; the next server finds that nobody answers there and takes its place.
fn stop_on_signals(stop: &Stop, grace: Duration, logs: Vec<Log>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    thread::Builder::new().name("karez-signals".to_owned()).spawn(move || {
        let mut signals = signals.forever();
        signals.next();
        stop.begin();
        let last = logs.clone();
        let end = thread::Builder::new().name("karez-end".to_owned()).spawn(move || {
            // Two sleeps, so that the end has all of the second where the process is stopped
            // (SIGSTOP) or gets no CPU during the grace.
            thread::sleep(grace);
            thread::sleep(STUCK);
            exit(&last);
        });
        drop(end);
        signals.next();
        exit(&logs);
    })?;
    Ok(())
}

/// Exits without the threads that are not done, and with the lines of requests that are.
fn exit(logs: &[Log]) -> ! {
    for log in logs {
        log.flush();
    }
    process::exit(0)
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
