//! A soak test: clients of both protocols, hostile ones, writers and faults, drawn from a seed, for any length of time.
//! Each byte of each response is compared with the history of its file, and each end of a connection that was not
//! announced is a failure. docs/RELIABILITY.md describes it; `bench/soak.py` sets its options.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]
#![allow(unreachable_pub, reason = "nothing of a test is reachable from outside")]

mod ask;
mod check;
mod clients;
mod content;
mod directories;
#[path = "../e2e/environment.rs"]
mod environment;
mod faults;
mod hanging;
mod hostile;
mod http1;
mod http2;
mod options;
mod report;
mod response;
mod rng;
mod run;
mod samples;
mod server;
mod socket;
mod tls;
mod tree;
mod writer;

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::faults::Faults;
use crate::hanging::Hanging;
use crate::options::{Fault, Options};
use crate::rng::Rng;
use crate::run::Run;
use crate::samples::{Sample, connections};
use crate::server::{Server, TIMEOUT};
use crate::tree::Tree;

/// The longest time between two samples.
const SAMPLE_PERIOD: Duration = Duration::from_secs(2);

struct Soak<'a> {
    run: &'a Run,
    server: &'a Server,
    begun: Instant,
    samples: Vec<Sample>,
}

#[test]
fn each_byte_is_right_and_no_connection_ends_unannounced() {
    let options = Options::read();
    let seed = options.seed;
    println!("seed {seed}: repeat by KAREZ_SOAK_SEED={seed}");
    let mut rng = Rng::new(seed, 0);
    let mut tree = Tree::new(&mut rng);
    let hanging = options.has(Fault::Hang).then(|| Hanging::mount(&tree)).flatten();
    if hanging.is_some() {
        tree.add_hanging();
    }
    let tls = tls::issue(tree.ground.path());
    let prefix = hanging.as_ref().map(Hanging::prefix).unwrap_or_default();
    let server = Server::start(&options, &tree, &prefix);
    let run = Run::new(options, tree, [server.plain, server.secure], tls);
    let mut soak = Soak { run: &run, server: &server, begun: Instant::now(), samples: Vec::new() };
    soak.sample(true);
    let turn = Mutex::new(());
    thread::scope(|scope| {
        let _stop = StopOnPanic(&run);
        let run = &run;
        for number in 0..run.options.clients {
            let rng = Rng::new(seed, 100 + number);
            scope.spawn(move || guarded(run, || clients::run(run, rng)));
        }
        if run.options.has(Fault::Write) {
            let rng = Rng::new(seed, 1);
            scope.spawn(move || {
                guarded(run, || run.add("changes of files", writer::write(run, rng)));
            });
        }
        let (server, hanging, turn, rng) = (&server, hanging.as_ref(), &turn, Rng::new(seed, 2));
        let faults = Faults { run, server, hanging, rng, turn, reloads: 0 };
        scope.spawn(move || guarded(run, || faults.cause()));
        soak.watch(turn);
    });
    soak.end();
    let report = report::write(&run, &server, &soak.samples, soak.begun.elapsed());
    println!("{report}");
    let failures = run.failures();
    assert!(failures.is_empty(), "seed {seed}: {} failures: {failures:#?}", failures.len());
    drop(server);
}

/// Ends the run when a thread panics.
fn guarded(run: &Run, work: impl FnOnce()) {
    let _stop = StopOnPanic(run);
    work();
}

struct StopOnPanic<'a>(&'a Run);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("a thread of the test panicked".to_owned());
            self.0.stop();
        }
    }
}

impl Soak<'_> {
    /// Takes samples until the run ends, at rest sixty times in it.
    fn watch(&mut self, turn: &Mutex<()>) {
        let time = self.run.options.time;
        let between = (time / 60).clamp(Duration::from_secs(4), Duration::from_secs(60));
        let mut next = self.begun + between;
        let is_timed = self.run.options.requests.is_none();
        while self.run.goes_on() {
            let end = self.begun + time;
            let until = if is_timed { next.min(end) } else { next };
            let pause = until.saturating_duration_since(Instant::now());
            thread::sleep(pause.min(SAMPLE_PERIOD));
            self.sample(false);
            if is_timed && Instant::now() >= end {
                self.run.stop();
            } else if Instant::now() >= next {
                let _turn = turn.lock().unwrap();
                self.run.at_rest(|| self.rest());
                next = Instant::now() + between;
            }
        }
    }

    fn sample(&mut self, at_rest: bool) {
        let at = self.begun.elapsed().as_secs_f64();
        self.samples.extend(Sample::take(at, at_rest, self.server.pid(), &self.run.tree));
    }

    /// Waits until the server has no connection and no replaced process is left, then takes a sample.
    fn rest(&mut self) {
        let open = || connections([self.run.plain, self.run.secure]);
        if !wait_until(|| open() == 0) {
            self.run.fail(format!("{} connections without clients", open()));
        }
        if let Err(error) = self.server.wait_for_replaced() {
            self.run.fail(error);
        }
        self.sample(true);
    }

    /// Waits until all that clients have caused is gone, and compares with the start.
    fn end(&mut self) {
        self.rest();
        let mut last = None;
        // Requests trigger the closing of files that have been idle.
        let is_at_rest = wait_until(|| {
            let _status = self.probe();
            let at = self.begun.elapsed().as_secs_f64();
            last = Sample::take(at, true, self.server.pid(), &self.run.tree);
            last.as_ref().is_none_or(|sample| sample.files == 0.0)
        });
        let Some(last) = last else {
            return println!("skipped: descriptors and memory of the server are not readable");
        };
        if !is_at_rest {
            self.run.fail(format!("{} files stay open", last.files));
        }
        let own = self.samples.iter().find(|sample| sample.at_rest && sample.pid == last.pid);
        let grown = own.map_or(0.0, |own| last.others - own.others);
        // An event loop keeps up to 8 pipes.
        if grown > 16.0 {
            self.run.fail(format!("{grown} descriptors more than at the first rest"));
        }
        self.samples.push(last);
        if let Err(error) = self.server.stop() {
            self.run.fail(error);
        }
        for line in self.server.printed().1 {
            self.run.fail(line);
        }
    }

    fn probe(&self) -> Option<u16> {
        let mut client = http1::Http1::over(socket::Socket::connect(self.run.plain).ok()?);
        let ask = ask::Ask::to(ask::Target::Missing);
        client.socket.send(ask.text(&self.run.tree, true).as_bytes()).ok()?;
        Some(client.head().ok()?.status)
    }
}

fn wait_until(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    condition()
}
