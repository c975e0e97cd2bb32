//! Runs a trace: server, client, and recording of one request.
//!
//! # Limitations
//! It polls /proc until the server sleeps; for a busy-polling model that waits for the timeout.

use karez_lab_sys::{TracedSyscall, trace_syscalls};
use karez_reactor::Model;
use karez_sys::cached_pages;
use karez_transfer::{Residency, Via};
use rustix::process::Pid;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

use super::narrate::{Participants, narrate};
use super::recorder::{OpenCall, Record, RecordKind, Recorder, Recording};
use super::totals::{CopyEvidence, Totals};
use super::{Trace, TracePlan};
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::{FileId, Unavailable, mark};
use crate::test_file::{CacheState, TestFile};
use crate::tier::Tier;
use crate::transport::Transport;
use crate::workers::Worker;

/// Maximum time until the server sleeps, the same for a model that never sleeps, and the polling
/// interval.
const SLEEP_TIMEOUT: Duration = Duration::from_secs(10);
const BUSY_TIMEOUT: Duration = Duration::from_millis(20);
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Number of traced requests, of which the fastest is shown, because a busy machine slows most of
/// them down. A large file is traced once, unless the trace contradicts itself.
const ATTEMPTS: u32 = 5;
const LARGE: u64 = 16 << 20;

/// Attempts to evict a file from the page cache.
const NETWORK_FLUSHES: usize = 20;

impl Trace {
    /// Traces a request.
    ///
    /// # Errors
    /// If the kernel does not support the model, the file cannot be read, or a worker fails.
    pub fn run(plan: &TracePlan) -> Result<Self> {
        let object =
            plan.object.as_ref().map(|path| fs::read(path).context("read", path.display()));
        let object = object.transpose()?;
        let recorder = Recorder::attach(object.as_deref());
        let mut setup = TraceSetup::new(plan)?;
        match recorder {
            Ok(recorder) => setup.by_tracepoints(plan, recorder),
            Err(why) => setup.by_ptrace(plan, &why),
        }
    }
}

/// A server, a client and a file.
struct TraceSetup {
    server: Worker,
    client: Worker,
    file: ServedFile,
    ports: [u16; 2],
    path: String,
    never_sleeps: bool,
    _place: TempDir,
}

/// The served file.
enum ServedFile {
    /// A test file, and the directory that contains only this file.
    Own(TestFile, #[expect(dead_code, reason = "not supported here")] TempDir),
    Given(PathBuf),
}

impl TraceSetup {
    fn new(plan: &TracePlan) -> Result<Self> {
        let file = ServedFile::find(plan)?;
        let (mut server, mut client) = (plan.workers.start(0)?, plan.workers.start(1)?);
        let place = tempfile::Builder::new().prefix("karez-lab-").tempdir();
        let place = place.context("make", "a directory")?;
        let at = match plan.transport {
            Transport::Unix => format!("unix:{}", place.path().join("socket").display()),
            Transport::Loopback => "127.0.0.1:0".to_owned(),
            other => return Err(Error::new("trace over", other, "only unix and lo")),
        };
        let (root, name) = file.root_and_name()?;
        let reactors = thread::available_parallelism().map_or(1, usize::from);
        let at = server.request(&json!({
            "command": "serve", "reactors": reactors, "model": plan.model.name(), "via": plan.via.name(),
            "topology": plan.topology.name(), "root": root, "at": at,
        }))?;
        let port = client.request(&json!({ "command": "connect-http", "at": at }))?;
        let of_server = at.as_str().and_then(|at| at.rsplit_once(':'));
        let of_server = of_server.and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
        let of_client = port.as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let ports = [of_server, of_client];
        let never_sleeps = plan.model == Model::Nonblocking;
        Ok(Self { server, client, file, ports, path: name, never_sleeps, _place: place })
    }

    /// Sends a warm-up request for one-time initialisations, and prepares the cache state.
    fn warm_up(&mut self, plan: &TracePlan) -> Result<(u64, u64)> {
        let (cached, pages) = self.file.cached()?;
        let is_own = matches!(self.file, ServedFile::Own(..));
        self.request("HEAD")?;
        if is_own || cached == pages {
            self.request("GET")?;
        }
        self.wait_until_asleep();
        if let ServedFile::Own(test_file, _) = &self.file {
            let mut tried = 0;
            while let Err(error) = test_file.prepare(plan.cache) {
                tried += 1;
                if tried == NETWORK_FLUSHES {
                    return Err(error);
                }
                self.client.request(&json!({ "command": "flush-network" }))?;
                self.server.request(&json!({ "command": "flush-network" }))?;
            }
            if plan.cache == CacheState::Cold {
                // The server remembers for this time that the file was in memory.
                thread::sleep(Residency::VALID);
            }
        }
        self.wait_until_asleep();
        self.file.cached()
    }

    fn request(&mut self, method: &str) -> Result<Value> {
        self.client
            .request(&json!({ "command": "http-request", "method": method, "path": self.path }))
    }

    /// Waits until every thread of the server sleeps, except the main thread.
    fn wait_until_asleep(&self) {
        let timeout = if self.never_sleeps { BUSY_TIMEOUT } else { SLEEP_TIMEOUT };
        let begun = Instant::now();
        while begun.elapsed() < timeout && !sleeps(self.server.pid()) {
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Traces by tracepoints, tier T1.
    fn by_tracepoints(&mut self, plan: &TracePlan, mut recorder: Recorder) -> Result<Trace> {
        let processes = [self.server.pid(), self.client.pid()];
        recorder.set_scope(processes, self.file.id()?, self.ports)?;
        let mut best = self.trace_once(plan, &mut recorder)?;
        let mut tries = 1;
        // Events of a burst of packets can be lost; such a trace is discarded.
        let rank = |trace: &Trace| (!trace.totals.contradictions.is_empty(), trace.took);
        while tries < ATTEMPTS && (best.body <= LARGE || rank(&best).0) {
            let next = self.trace_once(plan, &mut recorder)?;
            if rank(&next) < rank(&best) {
                best = next;
            }
            tries += 1;
        }
        Ok(Trace { tries, ..best })
    }

    fn trace_once(&mut self, plan: &TracePlan, recorder: &mut Recorder) -> Result<Trace> {
        let pages = self.warm_up(plan)?;
        recorder.start()?;
        let reply = self.request("GET")?;
        self.wait_until_asleep();
        let recording = recorder.stop()?;
        let participants = Participants {
            reports_lookups: !recorder.missing().contains(&"mm_filemap_get_pages"),
            ..self.participants(plan, &reply)
        };
        let mut trace = self.trace(plan, &participants, &recording, &reply, Tier::T1);
        (trace.missing, trace.pages) = (recorder.missing().to_vec(), pages);
        Ok(trace)
    }

    /// Traces by ptrace, tier T0.
    fn by_ptrace(&mut self, plan: &TracePlan, why: &Unavailable) -> Result<Trace> {
        let mut pages = self.warm_up(plan)?;
        let mut reply = Ok(Value::Null);
        let pid = self.server.pid();
        let traced = trace_syscalls(pid, mark::end_number(), || {
            self.wait_until_asleep();
            pages = self.file.cached().unwrap_or(pages);
            reply = self.request("GET");
            self.wait_until_asleep();
            // Ends the tracing, regardless of the result.
            let marked = self.server.request(&json!({ "command": "mark", "edge": "end" }));
            if let (Ok(_), Err(error)) = (&reply, marked) {
                reply = Err(error);
            }
        });
        let calls = traced.context("trace", "the server")?;
        let reply = reply?;
        let process = pid.as_raw_nonzero().get().cast_unsigned();
        let recording = recording(process, &calls);
        let participants = self.participants(plan, &reply);
        let mut trace = self.trace(plan, &participants, &recording, &reply, Tier::T0);
        (trace.without_t1, trace.pages) = (Some(why.to_string()), pages);
        Ok(trace)
    }

    fn participants(&self, plan: &TracePlan, reply: &Value) -> Participants {
        let number = |pid: Pid| pid.as_raw_nonzero().get().cast_unsigned();
        Participants {
            server: number(self.server.pid()),
            client: number(self.client.pid()),
            names: names(self.server.pid())
                .chain([(number(self.client.pid()), "client".to_owned())])
                .collect(),
            begun: reply["started"].as_u64().unwrap_or(0),
            ended: reply["ended"].as_u64().unwrap_or(0),
            sleeps: plan.model != Model::Nonblocking,
            reports_lookups: false,
            reads_directly: plan.model.supported_via(plan.via) == Via::Direct,
        }
    }

    fn trace(
        &self,
        plan: &TracePlan,
        participants: &Participants,
        recording: &Recording,
        reply: &Value,
        tier: Tier,
    ) -> Trace {
        let narration = narrate(participants, recording);
        let number = |name: &str| reply[name].as_u64().unwrap_or(0);
        let (head, body) = (number("head"), number("body"));
        let since = |time: u64| time.cast_signed() - narration.zero.cast_signed();
        let effective_via = plan.model.supported_via(plan.via);
        let unseen = (plan.model == Model::Uring).then_some(effective_via);
        let evidence =
            if tier > Tier::T0 { CopyEvidence::Seen } else { CopyEvidence::Inferred(unseen) };
        let mut totals = Totals::of(&narration, since(participants.ended), (head, body), evidence);
        if recording.lost > 0 {
            // An incomplete recording may contradict itself.
            totals.contradictions.clear();
        }
        let (took, asked) = (since(participants.ended), since(participants.begun));
        Trace {
            tier,
            without_t1: None,
            missing: Vec::new(),
            model: plan.model,
            via: plan.via,
            effective_via,
            topology: plan.topology,
            transport: plan.transport,
            pages: (0, 0),
            width: plan.width,
            tries: 1,
            head,
            body,
            took,
            asked,
            lost: recording.lost,
            totals,
            threads: narration.threads,
            events: narration.events,
        }
    }
}

impl ServedFile {
    fn find(plan: &TracePlan) -> Result<Self> {
        if let Some(path) = &plan.file {
            let path = path.canonicalize().context("find", path.display())?;
            let kind = fs::metadata(&path).context("stat", path.display())?;
            if !kind.is_file() || kind.len() == 0 {
                let why = "not a file, or empty";
                return Err(Error::new("trace", path.display(), why));
            }
            return Ok(Self::Given(path));
        }
        let place = tempfile::Builder::new().prefix("karez-lab-").tempdir_in(&plan.directory);
        let place = place.context("make a directory in", plan.directory.display())?;
        let test_file = TestFile::new(place.path(), plan.bytes)?;
        test_file.prepare(CacheState::Warm)?;
        Ok(Self::Own(test_file, place))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Own(test_file, _) => test_file.path(),
            Self::Given(path) => path,
        }
    }

    /// Returns the directory to serve and the percent-encoded path to request.
    fn root_and_name(&self) -> Result<(&Path, String)> {
        let parts = self.path().parent().zip(self.path().file_name());
        let (root, name) = parts.ok_or_else(|| {
            Error::new(
                "serve",
                self.path().display(),
                "the path has no file \
                name",
            )
        })?;
        let mut escaped = String::from("/");
        for &byte in name.as_bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                escaped.push(char::from(byte));
            } else {
                escaped += &format!("%{byte:02X}");
            }
        }
        Ok((root, escaped))
    }

    fn id(&self) -> Result<FileId> {
        match self {
            Self::Own(test_file, _) => test_file.id(),
            Self::Given(path) => FileId::of(File::open(path).context("open", path.display())?),
        }
    }

    /// Returns the number of cached pages and of all pages.
    fn cached(&self) -> Result<(u64, u64)> {
        match self {
            Self::Own(test_file, _) => Ok((test_file.cached()?, test_file.pages())),
            Self::Given(path) => {
                let file = File::open(path).context("open", path.display())?;
                let length = file.metadata().context("stat", path.display())?.len();
                let pages = length.div_ceil(karez_sys::page_size() as u64);
                // If unknown, it is treated as not cached.
                Ok((cached_pages(file.as_fd(), 0..length).unwrap_or(0), pages))
            }
        }
    }
}

/// Returns whether every thread of a process sleeps, except its idle main thread.
fn sleeps(pid: Pid) -> bool {
    let main = pid.as_raw_nonzero().to_string();
    tasks(pid).filter(|path| !path.ends_with(&main)).all(|path| {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        state.is_empty() || state.starts_with('S')
    })
}

fn tasks(pid: Pid) -> impl Iterator<Item = PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    tasks.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

/// Returns the names of the threads of a process.
fn names(pid: Pid) -> impl Iterator<Item = (u32, String)> {
    tasks(pid).filter_map(|path| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some((path.file_name()?.to_str()?.parse().ok()?, name.trim_end().to_owned()))
    })
}

/// Converts calls traced by ptrace to a recording.
fn recording(process: u32, calls: &[TracedSyscall]) -> Recording {
    let mut recording = Recording::default();
    for call in calls {
        let thread = call.thread.as_raw_nonzero().get().cast_unsigned();
        let TracedSyscall { entered: begun, number, arguments, .. } = *call;
        let Some((time, result)) = call.exit else {
            recording.open.push(OpenCall { process, thread, begun, number, arguments });
            continue;
        };
        let [a, b, c, d, e, f] = arguments;
        let record_arguments = [number, result.cast_unsigned(), a, b, c, d, e, f, 0, 0];
        let name = String::new();
        recording.events.push(Record {
            time,
            begun,
            kind: RecordKind::Call,
            process,
            thread,
            arguments: record_arguments,
            name,
        });
    }
    recording.events.sort_by_key(|event| event.time);
    recording
}
