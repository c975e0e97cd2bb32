//! System calls, and operations of a ring, that fail by plans drawn from seeds, while clients use the server: every
//! response has the right bytes or ends visibly, and afterwards the server serves everything, holds no more
//! descriptors than before, and rests.
//!
//! `KAREZ_FAULT_SEEDS=A..B` chooses the seeds, `KAREZ_LAYOUTS=all` runs them over all models, topologies and vias, and
//! `KAREZ_FAULT_PLAN=PLAN` makes every run use one plan, with which a failure is replayed; `KAREZ_FAULT_LAYOUT=TEXT` leaves
//! the layouts that have this text.
//!
//! Needs the cargo feature `fault-injection`, whose server has its plan from a file that this test shares.
//!
//! # Limitations
//!
//! Which thread makes the third of some calls is not determined, so a plan may find a fault at one of several runs.
//! A pipe that is never closed is found when more are open than the event loops may keep.

use karez_reactor::{ALLOWED, Model, Topology};
use karez_sys::faults::{Board, Count, Plan};
use karez_transfer::{Direction, Via};
use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::https::Authority;
use crate::layouts::{self, Layout};
use crate::server::Server;
use crate::timeouts::TEST_TIMEOUT;
use clients::{Clients, Mode, Site};

mod clients;

const SEEDS: Range<u64> = 0..300;

/// The window in which a server at rest makes no calls, and how many it may make: those of a timer.
const WINDOW: Duration = Duration::from_millis(20);
const CALLS_AT_REST: u64 = 4;

/// Descriptors of the pipes that an event loop may keep for later splices, and may not have made in the first runs.
const KEPT: usize = 16;

/// The same of a worker thread that serves connections, one after the other.
const KEPT_BY_WORKER: usize = 2;

/// The failures after which a run ends.
const FAILURES: usize = 20;

/// A server, and what it does without faults.
struct Subject<'a> {
    layout: Layout,
    server: Server,
    board: Board,
    clients: Clients<'a>,
    /// Its calls for the requests of one run.
    made: Vec<Count>,
    before: Held,
}

/// How many descriptors a server has: of pipes, and of anything else but files.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    pipes: usize,
    others: usize,
}

/// Counters over all runs.
#[derive(Default)]
struct Totals {
    runs: AtomicU64,
    /// Runs in which at least one fault was injected, and all faults.
    hit: AtomicU64,
    injected: AtomicU64,
    right: AtomicU64,
    refused: AtomicU64,
    aborted: AtomicU64,
    failures: Mutex<Vec<String>>,
}

#[test]
fn every_call_may_fail_at_any_time() {
    if !cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        println!("skipped: faults are injected on x86-64 with glibc only");
        return;
    }
    let (site, authority, totals) = (Site::new(), Authority::new(), Totals::default());
    let (mut layouts, seeds) = (chosen_layouts(), chosen_seeds());
    if let Ok(text) = std::env::var("KAREZ_FAULT_LAYOUT") {
        layouts.retain(|layout| layout.to_string().contains(&text));
    }
    let count = layouts.len() as u64;
    let next = Mutex::new(layouts.into_iter().enumerate());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((number, layout)) = { next.lock().unwrap().next() } {
                    let own = seeds.clone().filter(|seed| seed % count == number as u64);
                    run(layout, own, &site, &authority, &totals);
                }
            });
        }
    });
    totals.check();
}

/// Runs some seeds in one server after the other; a server that has failed is replaced.
fn run(
    layout: Layout,
    seeds: impl Iterator<Item = u64>,
    site: &Site,
    authority: &Authority,
    totals: &Totals,
) {
    let mut subject = None;
    for seed in seeds {
        if totals.failures.lock().unwrap().len() >= FAILURES {
            return;
        }
        let running = subject.take().unwrap_or_else(|| Subject::start(layout, site, authority));
        match running.survives(seed, totals) {
            Ok(still) => subject = Some(still),
            Err(failure) => {
                println!("{failure}");
                totals.failures.lock().unwrap().push(failure);
            }
        }
    }
}

impl<'a> Subject<'a> {
    fn start(layout: Layout, site: &'a Site, authority: &'a Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("board");
        let board = Board::create(&path).unwrap();
        let (server, secure) = serve(layout, site.root.path(), authority, &path);
        let clients = Clients::new(site, authority, server.address, secure);
        let mut subject =
            Self { layout, server, board, clients, made: Vec::new(), before: Held::default() };
        // Threads, pipes and cached files are made now, and again if they are not shared.
        for _ in 0..3 {
            subject.board.reset();
            if let Err(why) = subject.clients.run(0, Mode::Strict) {
                panic!("{layout}, without faults: {why}\n{}", end(subject.server));
            }
            subject.made = subject.board.counts();
            subject.rests().unwrap();
            let (held, before) = (subject.held().unwrap(), &mut subject.before);
            before.pipes = before.pipes.max(held.pipes);
            before.others = before.others.max(held.others);
        }
        subject
    }

    /// Runs the clients under a plan, and then without one.
    fn survives(self, seed: u64, totals: &Totals) -> Result<Self, String> {
        let plan = match std::env::var("KAREZ_FAULT_PLAN") {
            Ok(text) => text.parse().unwrap(),
            Err(_) => Plan::random(seed, &self.made),
        };
        self.board.arm(&plan);
        let outcome = self.clients.run(seed, Mode::Lenient);
        self.board.disarm();
        let injected: u64 = self.board.counts().iter().map(|count| count.injected).sum();
        let checked = outcome.and_then(|tally| {
            totals.add(tally, injected);
            self.clients.run(seed, Mode::Strict).map_err(|why| format!("afterwards: {why}"))?;
            self.rests()?;
            self.keeps_no_descriptors()
        });
        let gone = self.server.exits_within(Duration::ZERO);
        match checked {
            Ok(()) if !gone => Ok(self),
            checked => {
                let why = checked.err().unwrap_or_default();
                let why = if gone { format!("the server has ended; {why}") } else { why };
                Err(self.describe(seed, &plan, &why))
            }
        }
    }

    /// Waits until it makes no calls.
    fn rests(&self) -> Result<(), String> {
        let start = Instant::now();
        let mut before = self.board.counts();
        while self.layout.sleeps_when_idle() {
            let calls = self.board.calls_made();
            thread::sleep(WINDOW);
            if self.board.calls_made() - calls <= CALLS_AT_REST {
                break;
            }
            let after = self.board.counts();
            if start.elapsed() > TEST_TIMEOUT {
                let spun =
                    after.iter().zip(&before).filter(|(after, before)| after.made > before.made);
                let spun: Vec<_> = spun.map(|(after, _)| after.call).collect();
                return Err(format!("it does not rest: {spun:?}"));
            }
            before = after;
        }
        Ok(())
    }

    /// Waits until it has closed what it has opened for clients.
    fn keeps_no_descriptors(&self) -> Result<(), String> {
        let (start, before) = (Instant::now(), self.before);
        let pipes = KEPT * self.layout.reactors() + KEPT_BY_WORKER * self.serving_workers();
        let most = Held { pipes: before.pipes + pipes, ..before };
        while self.held().is_none_or(|held| held.pipes > most.pipes || held.others > most.others) {
            if start.elapsed() > TEST_TIMEOUT {
                let open = self.server.descriptors();
                return Err(format!("{:?}, at most {most:?}: {open:?}", self.held()));
            }
            thread::sleep(WINDOW);
        }
        Ok(())
    }

    /// Returns how many worker threads serve connections.
    fn serving_workers(&self) -> usize {
        let serves =
            (self.layout.model, self.layout.topology) == (Model::Blocking, Topology::Workers);
        let tasks = fs::read_dir(format!("/proc/{}/task", self.server.pid())).unwrap();
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| serves && name.starts_with("karez-work")).count()
    }

    /// Returns its descriptors besides those of files, of which each event loop may keep one; `None` if it has more of
    /// these. An event loop of model linux-aio keeps an epoll instance when the kernel has refused a poll once.
    fn held(&self) -> Option<Held> {
        let root = self.clients.site.root.path();
        let (files, others): (Vec<_>, Vec<_>) = self
            .server
            .descriptors()
            .into_values()
            .partition(|name| Path::new(name).starts_with(root));
        let most = self.layout.reactors() + 2;
        let excess =
            files.iter().any(|name| files.iter().filter(|&other| other == name).count() > most);
        let pipes = others.iter().filter(|name| name.starts_with("pipe:")).count();
        let epolls = others.iter().filter(|name| *name == "anon_inode:[eventpoll]").count();
        let fallbacks =
            if self.layout.model == Model::LinuxAio { self.layout.reactors() } else { 0 };
        let others = others.len() - pipes - epolls.min(fallbacks);
        (!excess).then_some(Held { pipes, others })
    }

    fn describe(self, seed: u64, plan: &Plan, why: &str) -> String {
        let counts = self.board.counts();
        let injected = counts.iter().filter(|count| count.injected > 0);
        let injected: Vec<_> = injected.map(|count| (count.call, count.injected)).collect();
        let layout = self.layout;
        let printed = end(self.server);
        format!("{layout}, seed {seed}, KAREZ_FAULT_PLAN={plan}, {injected:?}: {why}\n{printed}")
    }
}

/// Ends a server, and returns what it has printed last.
fn end(server: Server) -> String {
    server.signal(rustix::process::Signal::KILL);
    let (status, printed) = server.wait();
    let lines: Vec<_> = printed.lines().rev().take(8).collect();
    let lines: Vec<_> = lines.into_iter().rev().collect();
    format!("{status}: {}", lines.join("\n"))
}

fn serve(layout: Layout, root: &Path, authority: &Authority, board: &Path) -> (Server, SocketAddr) {
    // A confined process cannot be looked at by this user. No deadline ends what a fault has made wait.
    let flags = [
        ["--log", "off"],
        ["--sandbox", "off"],
        ["--header-timeout", "1h"],
        ["--idle-timeout", "1h"],
        ["--send-timeout", "1h"],
        ["--lookup-timeout", "1h"],
    ];
    let flags = flags.concat();
    let plan = format!("@{}", board.display());
    authority.spawn_both(layout, root, &flags, &[("KAREZ_FAULTS", &plan)])
}

impl Totals {
    fn add(&self, tally: clients::Tally, injected: u64) {
        let add = |counter: &AtomicU64, count: u64| counter.fetch_add(count, Ordering::Relaxed);
        add(&self.runs, 1);
        add(&self.hit, u64::from(injected > 0));
        add(&self.injected, injected);
        add(&self.right, tally.right);
        add(&self.refused, tally.refused);
        add(&self.aborted, tally.aborted);
    }

    fn check(self) {
        let failures = self.failures.into_inner().unwrap();
        let count = |counter: AtomicU64| counter.into_inner();
        let (runs, hit) = (count(self.runs), count(self.hit));
        println!(
            "{runs} runs, {hit} of them with faults, {} faults; responses: {} right, {} with an error status, {} aborted",
            count(self.injected),
            count(self.right),
            count(self.refused),
            count(self.aborted),
        );
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
        assert!(hit * 2 > runs, "the plans apply to few calls");
    }
}

fn chosen_seeds() -> Range<u64> {
    let Ok(text) = std::env::var("KAREZ_FAULT_SEEDS") else { return SEEDS };
    let (first, end) = text.split_once("..").unwrap();
    first.parse().unwrap()..end.parse().unwrap()
}

/// Returns one layout for each model, or all layouts with every via.
fn chosen_layouts() -> Vec<Layout> {
    let vias = Direction::FileToSocket.vias();
    let with = |(model, topology): (Model, _), via: Via| Layout { model, topology, via };
    if layouts::requested().is_some() {
        return ALLOWED
            .iter()
            .flat_map(|&pair| vias.iter().map(move |&via| with(pair, via)))
            .collect();
    }
    let share: usize = std::env::var("KAREZ_SHARE").map_or(0, |share| share.parse().unwrap());
    let of_model = |(number, &model): (usize, &Model)| {
        let pairs: Vec<_> = ALLOWED.iter().filter(|pair| pair.0 == model).collect();
        let via = model.supported_via(vias[(number + share) % vias.len()]);
        with(*pairs[(number + share) % pairs.len()], via)
    };
    Model::ALL.iter().enumerate().map(of_model).collect()
}
