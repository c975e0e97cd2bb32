//! The server worker: a layout of `karez-reactor` with the file server of `karez-server` or the
//! echo service. The main thread only executes commands, and its resource usage is excluded.
//!
//! # Limitations
//! It serves until the worker ends.

use karez_lab_sys::{process_usage, thread_usage};
use karez_reactor::{Address, Config, Limits, Model, Server, Shutdown, Topology};
use karez_server::{ErrorLog, FileService, Options};
use karez_transfer::Via;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::ClockId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io, thread};

use super::command::{size, text};
use super::echo_service::EchoService;
use super::sender::clock;
use crate::error::{Error, ErrorContext as _, Result};

/// Name of the thread that runs the server.
const SERVER_THREAD: &str = "lab-server";

/// Name of the thread of the server's log.
const LOG_THREAD: &str = "lab-log";

/// Above the descriptor limit, so that no idle connection is evicted.
const MAX_CONNECTIONS: usize = 1 << 20;

/// Starts the server and replies with its address.
pub(super) fn serve(command: &Value) -> Result<Value> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    // If it fails, the first descriptor beyond the limit reports the error.
    let _best_effort = setrlimit(Resource::Nofile, raised);
    let layout = layout(command)?;
    let address: Address = text(command, "at")?.parse().context("read", "an address")?;
    let bound = Server::bind(layout, &[address]).context("serve by", layout.model())?;
    let at = bound.addresses().next().map(ToString::to_string);
    let (stop, limits) = (Shutdown::new(), Limits::new(MAX_CONNECTIONS, Duration::ZERO));
    let run: Box<dyn FnOnce() -> io::Result<()> + Send> = match command["root"].as_str() {
        Some(root) => {
            let via = command["via"].as_str().map_or(Ok(Via::Auto), str::parse);
            let service = file_service(PathBuf::from(root), via.context("read", "a via")?, stop)?;
            Box::new(move || service.run(bound, limits))
        }
        None => {
            let service = EchoService::new(PathBuf::from(text(command, "fifo")?));
            Box::new(move || bound.run(&service, limits, &stop))
        }
    };
    let thread = thread::Builder::new().name(SERVER_THREAD.to_owned()).spawn(run);
    thread.context("start", "a thread")?;
    Ok(json!(at))
}

fn layout(command: &Value) -> Result<Config> {
    let model: Model = text(command, "model")?.parse().context("read", "a model")?;
    let topology: Topology = text(command, "topology")?.parse().context("read", "a topology")?;
    let reactors = NonZeroUsize::new(size(command, "reactors")?).unwrap_or(NonZeroUsize::MIN);
    Config::builder()
        .model(model)
        .topology(topology)
        .build(reactors)
        .context("configure", "a server")
}

/// Opens the file service with the defaults of `karez serve`, except for the via, and with hidden
/// files.
fn file_service(root: PathBuf, via: Via, stop: Shutdown) -> Result<FileService> {
    let log = ErrorLog::start(LOG_THREAD, io::stderr()).context("start", "a log")?;
    let mut options = Options::new(root);
    options.site.index = Vec::new();
    options.site.listing = false;
    options.site.hidden = true;
    options.via = via;
    FileService::open(options, None, log, stop).context("serve", "files")
}

/// Replies with the resource usage of the server's threads: nanoseconds of CPU time, context
/// switches.
pub(super) fn usage() -> Value {
    let (all, own) = (process_usage(), thread_usage());
    let cpu = clock(ClockId::ProcessCPUTime).saturating_sub(clock(ClockId::ThreadCPUTime));
    json!({
        "cpu": cpu,
        "voluntary": all.voluntary.saturating_sub(own.voluntary),
        "involuntary": all.involuntary.saturating_sub(own.involuntary),
    })
}

/// Replies with the number of the server's threads by name, without their index.
pub(super) fn threads() -> Result<Value> {
    let mut by_name = BTreeMap::<_, u64>::new();
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    for entry in fs::read_dir("/proc/self/task").context("list", "threads")?.flatten() {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let name = name.trim_end().trim_end_matches(|digit: char| digit.is_ascii_digit());
        let name = name.trim_end_matches('-');
        let serves = entry.file_name() != *own && name != SERVER_THREAD && name != LOG_THREAD;
        if serves && !name.is_empty() {
            *by_name.entry(name.to_owned()).or_default() += 1;
        }
    }
    if by_name.is_empty() {
        return Err(Error::new("count", "threads", "the server has exited"));
    }
    Ok(json!(by_name))
}
