//! One request under observation: who serves, who asks, and when to look.
//!
//! What it does badly: that the server sleeps is asked of /proc until it does, and a model that
//! never sleeps is waited for a moment in vain.

use karez_reactor::Model;
use karez_sys::{TimedCall, cached_pages, calls_in_time};
use karez_transfer::Via;
use rustix::process::Pid;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

use super::recorder::{Kind, Open, Raw, Recorder, Recording};
use super::tell::{Cast, tell};
use super::totals::{Totals, Way};
use super::{Plan, Trace};
use crate::crew::Worker;
use crate::error::{Doing as _, Error, Result};
use crate::ground::{Cache, Ground};
use crate::probe::{FileId, Unavailable, mark};
use crate::tier::Tier;
use crate::transport::Transport;

/// How long a server is waited for to fall asleep, one whose model never sleeps, and how often it is
/// looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
const IN_VAIN: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_micros(200);

/// How many requests are watched, of which the quickest is shown: on a busy machine most of a time
/// is others'. Of a large file it is one, unless that contradicts itself.
const TRIES: u32 = 5;
const LARGE: u64 = 16 << 20;

/// How often a file is tried to be got out of memory.
const STIRRED: usize = 20;

impl Trace {
    /// Serves, asks, and watches one request.
    ///
    /// # Errors
    /// A model that the kernel refuses, a file that cannot be had; what a worker could not do.
    pub fn run(plan: &Plan) -> Result<Self> {
        let object = plan.object.as_ref().map(|path| fs::read(path).doing("read", path.display()));
        let object = object.transpose()?;
        let recorder = Recorder::attach(object.as_deref());
        let mut scene = Scene::set(plan)?;
        match recorder {
            Ok(recorder) => scene.by_tracepoints(plan, recorder),
            Err(why) => scene.by_ptrace(plan, &why),
        }
    }
}

/// Everything that is needed for a request.
struct Scene {
    server: Worker,
    client: Worker,
    file: Served,
    ports: [u16; 2],
    path: String,
    /// The server never sleeps.
    burns: bool,
    _place: TempDir,
}

/// A file that is served.
enum Served {
    /// The laboratory's own, and the directory it is alone in.
    Own(Ground, #[expect(dead_code, reason = "it goes with this")] TempDir),
    Given(PathBuf),
}

impl Scene {
    fn set(plan: &Plan) -> Result<Self> {
        let file = Served::find(plan)?;
        let (mut server, mut client) = (plan.workers.start(0)?, plan.workers.start(1)?);
        let place = tempfile::Builder::new().prefix("karez-lab-").tempdir();
        let place = place.doing("make", "a directory")?;
        let at = match plan.transport {
            Transport::Unix => format!("unix:{}", place.path().join("socket").display()),
            Transport::Loopback => "127.0.0.1:0".to_owned(),
            other => return Err(Error::new("trace over", other, "only unix and lo")),
        };
        let (root, name) = file.root_and_name()?;
        let reactors = thread::available_parallelism().map_or(1, usize::from);
        let at = server.ask(&json!({
            "do": "serve", "reactors": reactors, "model": plan.model.name(), "via": plan.via.name(),
            "topology": plan.topology.name(), "root": root, "at": at,
        }))?;
        let port = client.ask(&json!({ "do": "call", "at": at }))?;
        let of_server = at.as_str().and_then(|at| at.rsplit_once(':'));
        let of_server = of_server.and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
        let of_client = port.as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let ports = [of_server, of_client];
        let burns = plan.model == Model::Nonblocking;
        Ok(Self { server, client, file, ports, path: name, burns, _place: place })
    }

    /// One request before, so that what is done once has been done; and the file as it is to be.
    fn warm_up(&mut self, plan: &Plan) -> Result<(u64, u64)> {
        let (cached, pages) = self.file.cached()?;
        let is_own = matches!(self.file, Served::Own(..));
        self.ask("HEAD")?;
        if is_own || cached == pages {
            self.ask("GET")?;
        }
        self.settle();
        if let Served::Own(ground, _) = &self.file {
            let mut tried = 0;
            while let Err(error) = ground.prepare(plan.cache) {
                tried += 1;
                if tried == STIRRED {
                    return Err(error);
                }
                self.client.ask(&json!({ "do": "stir" }))?;
                self.server.ask(&json!({ "do": "stir" }))?;
            }
        }
        self.settle();
        self.file.cached()
    }

    fn ask(&mut self, method: &str) -> Result<Value> {
        self.client.ask(&json!({ "do": "request", "method": method, "path": self.path }))
    }

    /// Waits until every thread of the server sleeps, but for the one that waits for orders.
    fn settle(&self) {
        let begun = Instant::now();
        let patience = if self.burns { IN_VAIN } else { PATIENCE };
        while begun.elapsed() < patience && !sleeps(self.server.pid()) {
            thread::sleep(PAUSE);
        }
    }

    /// Tier T1.
    fn by_tracepoints(&mut self, plan: &Plan, mut recorder: Recorder) -> Result<Trace> {
        let processes = [self.server.pid(), self.client.pid()];
        recorder.aim(processes, self.file.id()?, self.ports)?;
        let mut best = self.once(plan, &mut recorder)?;
        let mut tries = 1;
        // A burst of packets has been seen to leave without its events: such a trace is no good.
        let rank = |trace: &Trace| (!trace.totals.contradictions.is_empty(), trace.took);
        while tries < TRIES && (best.body <= LARGE || rank(&best).0) {
            let next = self.once(plan, &mut recorder)?;
            if rank(&next) < rank(&best) {
                best = next;
            }
            tries += 1;
        }
        Ok(Trace { tries, ..best })
    }

    fn once(&mut self, plan: &Plan, recorder: &mut Recorder) -> Result<Trace> {
        let pages = self.warm_up(plan)?;
        recorder.arm()?;
        let answer = self.ask("GET")?;
        self.settle();
        let recording = recorder.take()?;
        let cast = Cast {
            tells_lookups: !recorder.missing().contains(&"mm_filemap_get_pages"),
            ..self.cast(plan, &answer)
        };
        let mut trace = self.trace(plan, &cast, &recording, &answer, Tier::T1);
        (trace.missing, trace.pages) = (recorder.missing().to_vec(), pages);
        Ok(trace)
    }

    /// Tier T0.
    fn by_ptrace(&mut self, plan: &Plan, why: &Unavailable) -> Result<Trace> {
        let mut pages = self.warm_up(plan)?;
        let mut answer = Ok(Value::Null);
        let pid = self.server.pid();
        let traced = calls_in_time(pid, mark::end_number(), || {
            self.settle();
            pages = self.file.cached().unwrap_or(pages);
            answer = self.ask("GET");
            self.settle();
            // Whatever came of it, this is what ends the tracing.
            let marked = self.server.ask(&json!({ "do": "mark", "what": "end" }));
            if let (Ok(_), Err(error)) = (&answer, marked) {
                answer = Err(error);
            }
        });
        let calls = traced.doing("trace", "the server")?;
        let answer = answer?;
        let process = pid.as_raw_nonzero().get().cast_unsigned();
        let recording = recording(process, &calls);
        let cast = self.cast(plan, &answer);
        let mut trace = self.trace(plan, &cast, &recording, &answer, Tier::T0);
        (trace.without_t1, trace.pages) = (Some(why.to_string()), pages);
        Ok(trace)
    }

    fn cast(&self, plan: &Plan, answer: &Value) -> Cast {
        let number = |pid: Pid| pid.as_raw_nonzero().get().cast_unsigned();
        Cast {
            server: number(self.server.pid()),
            client: number(self.client.pid()),
            names: names(self.server.pid())
                .chain([(number(self.client.pid()), "client".to_owned())])
                .collect(),
            begun: answer["begun"].as_u64().unwrap_or(0),
            ended: answer["ended"].as_u64().unwrap_or(0),
            rests: plan.model != Model::Nonblocking,
            tells_lookups: false,
            reads_directly: plan.model.grants(plan.via) == Via::Direct,
        }
    }

    fn trace(
        &self,
        plan: &Plan,
        cast: &Cast,
        recording: &Recording,
        answer: &Value,
        tier: Tier,
    ) -> Trace {
        let told = tell(cast, recording);
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        let (head, body) = (number("head"), number("body"));
        let since = |time: u64| time.cast_signed() - told.zero.cast_signed();
        let granted = plan.model.grants(plan.via);
        let unseen = (plan.model == Model::Uring).then_some(granted);
        let way = if tier > Tier::T0 { Way::Seen } else { Way::Inferred(unseen) };
        let mut totals = Totals::of(&told, since(cast.ended), (head, body), way);
        if recording.lost > 0 {
            // What is not whole may well contradict itself.
            totals.contradictions.clear();
        }
        let (took, asked) = (since(cast.ended), since(cast.begun));
        Trace {
            tier,
            without_t1: None,
            missing: Vec::new(),
            model: plan.model,
            via: plan.via,
            granted,
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
            threads: told.threads,
            events: told.events,
        }
    }
}

impl Served {
    fn find(plan: &Plan) -> Result<Self> {
        if let Some(path) = &plan.file {
            let path = path.canonicalize().doing("find", path.display())?;
            let kind = fs::metadata(&path).doing("stat", path.display())?;
            if !kind.is_file() || kind.len() == 0 {
                let why = "it is no file, or there is nothing in it";
                return Err(Error::new("trace", path.display(), why));
            }
            return Ok(Self::Given(path));
        }
        let place = tempfile::Builder::new().prefix("karez-lab-").tempdir_in(&plan.directory);
        let place = place.doing("make a directory in", plan.directory.display())?;
        let ground = Ground::new(place.path(), plan.bytes)?;
        ground.prepare(Cache::Warm)?;
        Ok(Self::Own(ground, place))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Own(ground, _) => ground.path(),
            Self::Given(path) => path,
        }
    }

    /// The directory to serve, and the path to ask for, escaped.
    fn root_and_name(&self) -> Result<(&Path, String)> {
        let parts = self.path().parent().zip(self.path().file_name());
        let (root, name) =
            parts.ok_or_else(|| Error::new("serve", self.path().display(), "it has no name"))?;
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
            Self::Own(ground, _) => ground.id(),
            Self::Given(path) => FileId::of(File::open(path).doing("open", path.display())?),
        }
    }

    /// How many of its pages are in memory, and how many it has.
    fn cached(&self) -> Result<(u64, u64)> {
        match self {
            Self::Own(ground, _) => Ok((ground.cached()?, ground.pages())),
            Self::Given(path) => {
                let file = File::open(path).doing("open", path.display())?;
                let length = file.metadata().doing("stat", path.display())?.len();
                let pages = length.div_ceil(karez_sys::page_size() as u64);
                // Where nobody can say, it is treated as one that is not.
                Ok((cached_pages(file.as_fd(), 0..length).unwrap_or(0), pages))
            }
        }
    }
}

/// Whether every thread of a process sleeps but for the main one, of which nothing is asked.
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

/// The names of the threads of a process.
fn names(pid: Pid) -> impl Iterator<Item = (u32, String)> {
    tasks(pid).filter_map(|path| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some((path.file_name()?.to_str()?.parse().ok()?, name.trim_end().to_owned()))
    })
}

/// What ptrace tells, in the form of what the kernel tells.
fn recording(process: u32, calls: &[TimedCall]) -> Recording {
    let mut recording = Recording::default();
    for call in calls {
        let thread = call.thread.as_raw_nonzero().get().cast_unsigned();
        let TimedCall { begun, number, arguments, .. } = *call;
        let Some((time, result)) = call.answer else {
            recording.open.push(Open { process, thread, begun, number, arguments });
            continue;
        };
        let [a, b, c, d, e, f] = arguments;
        let of = [number, result.cast_unsigned(), a, b, c, d, e, f, 0, 0];
        let name = String::new();
        recording.events.push(Raw { time, begun, kind: Kind::Call, process, thread, of, name });
    }
    recording.events.sort_by_key(|event| event.time);
    recording
}
