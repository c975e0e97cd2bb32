//! One run: what its seed draws, and what has to hold at its end.

use karez_reactor::simulation::{SimulatedLoop, SimulatedModel};
use karez_reactor::{Limits, Peer, Shutdown, Via};
use karez_server::simulation::{Leftovers, SimulatedServer};
use karez_server::{ErrorLog, FileService, Options};
use karez_sys::simulation::{Point, Schedule, below, chance};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::collections::VecDeque;
use std::fs;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

use crate::client::{Client, Protocol};
use crate::draws::one_of;
use crate::http1::Http1;
use crate::http2::Http2;
use crate::steps::{GRACE, Plan, Steps};
use crate::tls::Tls;
use crate::tree;

/// Panics of the server, which its event loop survives.
static PANICS: AtomicU32 = AtomicU32::new(0);

/// The descriptors of pipes that a thread may keep.
const MOST_PIPES: usize = 32;

/// The files and certificates of all runs.
pub(crate) struct Simulation {
    ground: TempDir,
    errors: ErrorLog,
    tls: Tls,
}

/// What has happened in runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Responses that were right.
    pub(crate) right: u64,
    /// Responses that reported an error.
    pub(crate) errors: u64,
    /// Requests with a visible end in place of a response.
    pub(crate) cut: u64,
    pub(crate) offloads: u64,
    pub(crate) turns: u64,
    /// How often something has happened at each [`Point`].
    pub(crate) happened: [u64; Point::ALL.len()],
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.errors += other.errors;
        self.cut += other.cut;
        self.offloads += other.offloads;
        self.turns += other.turns;
        for (count, more) in self.happened.iter_mut().zip(other.happened) {
            *count += more;
        }
    }
}

/// What a seed draws for the server.
#[derive(Clone, Copy, Debug)]
struct Setting {
    server: SimulatedServer,
    via: Via,
    plan: Plan,
}

impl Simulation {
    pub(crate) fn new() -> Self {
        let ground = tempfile::tempdir().unwrap();
        let root = ground.path().join("root");
        fs::create_dir(&root).unwrap();
        tree::write(&root);
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            report(panic);
        }));
        let (errors, tls) =
            (ErrorLog::start("errors", std::io::sink()).unwrap(), Tls::new(ground.path()));
        let simulation = Self { ground, errors, tls };
        // What the process remembers of the kernel is the same for all seeds then.
        (0..50).for_each(|seed| drop(simulation.run(seed, false)));
        simulation
    }

    /// Runs a seed.
    pub(crate) fn run(&self, seed: u64, verbose: bool) -> Result<Outcome, String> {
        self.run_traced(seed, verbose).map(|(outcome, _)| outcome)
    }

    /// Returns a number that two runs of a seed have in common.
    pub(crate) fn trace(&self, seed: u64) -> Result<u64, String> {
        self.run_traced(seed, false).map(|(_, trace)| trace)
    }

    fn run_traced(&self, seed: u64, verbose: bool) -> Result<(Outcome, u64), String> {
        self.run_script(seed, verbose, Setting::draw, |steps| {
            for _ in 0..1 + below(3) {
                self.connect(steps, chance(50), chance(25));
            }
            if !steps.plan.arrive {
                steps.accept_all();
            }
            steps.chaos()?;
            steps.settle()?;
            steps.close()
        })
    }

    /// Has a server shut down when the record of a request has begun to arrive. Returns how many responses are right.
    pub(crate) fn run_shutdown(&self, model: SimulatedModel, seed: u64) -> Result<u64, String> {
        let setting = |_: &Schedule| {
            let server = SimulatedServer::new(model, Limits::new(100, GRACE));
            Setting { server, via: Via::Sendfile, plan: Plan::default() }
        };
        let ended = self.run_script(seed, false, setting, |steps| {
            self.connect(steps, false, true);
            steps.accept_all();
            steps.begin_records()?;
            steps.shutdown.trigger();
            steps.settle()?;
            steps.close()
        });
        ended.map(|(outcome, _)| outcome.right)
    }

    /// Runs a script of steps on a server, and checks what it leaves behind.
    fn run_script(
        &self,
        seed: u64,
        verbose: bool,
        setting: impl FnOnce(&Schedule) -> Setting,
        script: impl FnOnce(&mut Steps<'_>) -> Result<(), String>,
    ) -> Result<(Outcome, u64), String> {
        let (descriptors, panics) = (Descriptors::count(), PANICS.load(Ordering::Relaxed));
        let schedule = Schedule::start(seed);
        let setting = setting(&schedule);
        let shutdown = Shutdown::new();
        let mut options = Options::new(self.ground.path().join("root"));
        options.site.archives = true;
        (options.via, options.tls) = (setting.via, Some(self.tls.options()));
        let service =
            FileService::open(options, None, self.errors.clone(), shutdown.clone()).unwrap();
        if verbose {
            println!("{setting:#?}");
        }
        let run = |server: &mut dyn SimulatedLoop| {
            #[rustfmt::skip]
            let mut steps = Steps {
                schedule: &schedule, server, clients: Vec::new(), arrivals: VecDeque::new(), shutdown: &shutdown,
                plan: setting.plan, verbose, turns: 0, offloads: 0, waited: false,
            };
            let outcome = script(&mut steps).map(|()| outcome(&steps))?;
            steps.end();
            Ok((outcome, steps.clients))
        };
        let simulated = catch_unwind(AssertUnwindSafe(|| service.simulate(setting.server, run)));
        let (ended, leftovers) = simulated.map_err(|_| "a panic".to_owned())?.unwrap();
        let (outcome, clients) =
            ended.map_err(|failure: String| format!("{failure}\n{setting:?}"))?;
        clients
            .into_iter()
            .try_for_each(Client::finish)
            .map_err(|it| format!("{it}\n{setting:?}"))?;
        let trace = schedule.trace();
        drop((schedule, shutdown));
        if PANICS.load(Ordering::Relaxed) > panics {
            return Err(format!("a panic that the event loop has survived\n{setting:?}"));
        }
        check_leftovers(leftovers, descriptors).map_err(|left| format!("{left}\n{setting:?}"))?;
        Ok((outcome, trace))
    }

    /// Makes a client, whose other end the server has not accepted.
    fn connect(&self, steps: &mut Steps<'_>, http2: bool, tls: bool) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        for socket in [&near, &far] {
            set_size(socket, one_of(&[1, 8 << 10, 64 << 10, 200 << 10]));
        }
        let protocol: Box<dyn Protocol> =
            if http2 { Box::new(Http2::new()) } else { Box::new(Http1::new()) };
        steps.arrivals.push_back((near, Peer::new(None, usize::from(tls))));
        steps.clients.push(Client::new(far, tls.then(|| self.tls.connect(http2)), protocol));
    }
}

impl Setting {
    /// Draws a setting. Each run has only some of the faults, so that none hides the effect of another.
    fn draw(schedule: &Schedule) -> Self {
        for point in Point::ALL {
            let (share, most) = match point {
                Point::ReadFails => (5, 5),
                Point::EndsEarly | Point::InterruptedWait => (30, 20),
                Point::Unsupported => (20, 30),
                Point::Spurious => (40, 30),
                Point::PageCacheMiss | Point::JobWouldBlock | Point::Late | Point::Short => {
                    (50, 70)
                }
                _ => (50, 30),
            };
            if chance(share) {
                schedule.set_chance(point, 1 + u32::try_from(below(most)).unwrap());
            }
        }
        // Of three clients, one or two are evicted, or wait for a place.
        let evicts = chance(10);
        let connections = if evicts { 1 + below(2) } else { 100 };
        let limits = Limits::new(connections, GRACE);
        let mut server = SimulatedServer::new(one_of(&SimulatedModel::ALL), limits);
        (server.pool, server.hot_files) = (chance(70), chance(3));
        let vias = [Via::Sendfile, Via::Copy, Via::Splice, Via::Mmap, Via::Zerocopy];
        let plan = Plan {
            steps: one_of(&[20, 60, 150, 300]),
            time: chance(15),
            stops: chance(10),
            leaves: chance(15),
            half_closes: chance(20),
            arrive: chance(30),
            evicts,
            completes: server.model == SimulatedModel::Completion,
        };
        Self { server, via: one_of(&vias), plan }
    }
}

fn outcome(steps: &Steps<'_>) -> Outcome {
    let (turns, offloads) = (steps.turns.into(), steps.offloads.into());
    let happened = Point::ALL.map(|point| steps.schedule.count(point).into());
    let mut outcome = Outcome { turns, offloads, happened, ..Outcome::default() };
    for client in &steps.clients {
        let answers = client.protocol.answers();
        outcome.right += u64::from(answers.right);
        outcome.errors += u64::from(answers.errors);
        outcome.cut += u64::from(answers.cut);
    }
    outcome
}

fn check_leftovers(leftovers: Leftovers, before: Descriptors) -> Result<(), String> {
    let left = Descriptors::count();
    if left.others != before.others || left.pipes > before.pipes + MOST_PIPES {
        return Err(format!("{before:?}, and {left:?} are left behind"));
    }
    if leftovers.listing_memory > 0 || leftovers.context {
        return Err(format!("{leftovers:?}"));
    }
    Ok(())
}

/// The numbers of open descriptors.
#[derive(Clone, Copy, Debug)]
struct Descriptors {
    /// Of pipes, a few of which each thread keeps.
    pipes: usize,
    others: usize,
}

impl Descriptors {
    fn count() -> Self {
        let (mut pipes, mut others) = (0, 0);
        for entry in fs::read_dir("/proc/self/fd").unwrap() {
            // One of them reads the directory, and is not there any more when it is looked at.
            let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
            let is_pipe = target.as_os_str().as_encoded_bytes().starts_with(b"pipe:");
            *(if is_pipe { &mut pipes } else { &mut others }) += 1;
        }
        Self { pipes, others }
    }
}

/// Sets the size of both buffers, of which the kernel makes at least 4 KiB.
fn set_size(socket: &OwnedFd, size: usize) {
    set_socket_send_buffer_size(socket, size).unwrap();
    set_socket_recv_buffer_size(socket, size).unwrap();
}
