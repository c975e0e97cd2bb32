//! The worker that serves: a layout of `karez-reactor`, with the file server of `karez-server` on it
//! or with the laboratory's own task. Orders are heard by the main thread, which does nothing else,
//! and what that uses is told apart.
//!
//! What it does badly: it serves until the worker ends.

use karez_reactor::{Address, Bound, Layout, Limits, Stop, Wishes};
use karez_server::{FileService, Log, Options, Patience, Stamps};
use karez_sys::{process_usage, thread_usage};
use karez_transfer::Via;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::ClockId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io, thread};

use super::errand::Errands;
use super::order::{size, text};
use super::sender::clock;
use crate::error::{Doing as _, Error, Result};

/// The thread that waits for the others.
const HOST: &str = "lab-host";

/// The thread of the server's log.
const NOTICES: &str = "lab-notices";

/// More than there are descriptors, so that nobody is turned away for another.
const CONNECTIONS: usize = 1 << 20;

/// The patience of `karez serve`, by default.
const PATIENCE: Patience = Patience {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    send: Duration::from_secs(30),
    lookup: Duration::from_secs(10),
};

/// Begins to serve; the answer is where.
pub(super) fn serve(order: &Value) -> Result<Value> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    // Without it the next descriptor that is too many says so.
    let _as_many_as_may_be = setrlimit(Resource::Nofile, raised);
    let layout = layout(order)?;
    let address: Address = text(order, "at")?.parse().doing("read", "an address")?;
    let bound = Bound::bind(layout, &[address]).doing("serve by", layout.model())?;
    let at = bound.addresses().next().map(ToString::to_string);
    let (stop, limits) = (Stop::new(), Limits { connections: CONNECTIONS, grace: Duration::ZERO });
    let run: Box<dyn FnOnce() -> io::Result<()> + Send> = match order["root"].as_str() {
        Some(root) => {
            let via = order["via"].as_str().map_or(Ok(Via::Auto), str::parse);
            let service = files(PathBuf::from(root), via.doing("read", "a via")?, stop)?;
            Box::new(move || service.run(bound, limits))
        }
        None => {
            let service = Errands::at(PathBuf::from(text(order, "gate")?));
            Box::new(move || bound.run(&service, limits, &stop))
        }
    };
    let host = thread::Builder::new().name(HOST.to_owned()).spawn(run);
    host.doing("start", "a thread")?;
    Ok(json!(at))
}

fn layout(order: &Value) -> Result<Layout> {
    let wishes = Wishes {
        model: Some(text(order, "model")?.parse().doing("read", "a model")?),
        topology: Some(text(order, "topology")?.parse().doing("read", "a topology")?),
        ..Wishes::default()
    };
    let reactors = NonZeroUsize::new(size(order, "reactors")?).unwrap_or(NonZeroUsize::MIN);
    Layout::choose(&wishes, reactors).doing("lay out", "a server")
}

/// As `karez serve` does it when nobody says anything, but for the via, and names that begin with a
/// dot are served, too.
fn files(root: PathBuf, via: Via, stop: Stop) -> Result<FileService> {
    let log = Log::start(NOTICES, io::stderr(), |count| format!("{count} notices were dropped"));
    let log = log.doing("start", "a log")?;
    let options = Options {
        root,
        index: Vec::new(),
        listing: false,
        hidden: true,
        stamps: Stamps::default(),
        via,
        explain: None,
        patience: PATIENCE,
    };
    FileService::open(options, None, log, stop).doing("serve", "files")
}

/// What the threads that serve have used so far: nanoseconds of CPU, context switches.
pub(super) fn spent() -> Value {
    let (all, own) = (process_usage(), thread_usage());
    let cpu = clock(ClockId::ProcessCPUTime).saturating_sub(clock(ClockId::ThreadCPUTime));
    json!({
        "cpu": cpu,
        "voluntary": all.voluntary.saturating_sub(own.voluntary),
        "involuntary": all.involuntary.saturating_sub(own.involuntary),
    })
}

/// The threads that serve: how many by name, without the numbers of those that have some.
pub(super) fn threads() -> Result<Value> {
    let mut by_name = BTreeMap::<_, u64>::new();
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    for entry in fs::read_dir("/proc/self/task").doing("list", "threads")?.flatten() {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let name = name.trim_end().trim_end_matches(|digit: char| digit.is_ascii_digit());
        let name = name.trim_end_matches('-');
        let serves = entry.file_name() != *own && name != HOST && name != NOTICES;
        if serves && !name.is_empty() {
            *by_name.entry(name.to_owned()).or_default() += 1;
        }
    }
    if by_name.is_empty() {
        return Err(Error::new("count", "threads", "the server has ended"));
    }
    Ok(json!(by_name))
}
