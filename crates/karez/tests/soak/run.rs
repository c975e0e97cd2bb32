//! The state that clients, writer and faults share: the end of the run, pauses, excuses, counts and failures.

use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::tree::Tree;

/// A time in which a fault permits failures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Descriptors are missing: 503, and closed idle connections.
    Descriptors,
    /// The FUSE file system hangs: 503 and resets for its files.
    Hang,
}

pub struct Run {
    pub options: Options,
    pub tree: Tree,
    pub plain: SocketAddr,
    pub secure: SocketAddr,
    /// TLS with HTTP/1.1, and with HTTP/2.
    pub tls: [Arc<ClientConfig>; 2],
    pub by_reference: bool,
    stop: AtomicBool,
    /// Whether clients shall end their connections, and how many have some.
    gate: Mutex<(bool, u32)>,
    gate_changed: Condvar,
    phases: Mutex<Vec<(Phase, Instant, Option<Instant>)>>,
    pub requests: AtomicU64,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    failures: Mutex<Vec<String>>,
    begun: Instant,
    /// The faults so far, in seconds from the start of the run.
    faults: Mutex<Vec<(f64, &'static str)>>,
    slot: Mutex<Instant>,
}

/// More failures end the run.
const MOST_FAILURES: usize = 20;
/// The number of faults that a failure names.
const LATEST_FAULTS: usize = 4;

/// A client with connections.
pub struct Active<'a>(&'a Run);

impl Run {
    pub fn new(
        options: Options,
        tree: Tree,
        [plain, secure]: [SocketAddr; 2],
        tls: [Arc<ClientConfig>; 2],
    ) -> Self {
        Self {
            by_reference: options.sends_by_reference(),
            options,
            tree,
            plain,
            secure,
            tls,
            stop: AtomicBool::new(false),
            gate: Mutex::new((false, 0)),
            gate_changed: Condvar::new(),
            phases: Mutex::default(),
            requests: AtomicU64::new(0),
            counts: Mutex::default(),
            failures: Mutex::default(),
            begun: Instant::now(),
            faults: Mutex::default(),
            slot: Mutex::new(Instant::now()),
        }
    }

    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.gate_changed.notify_all();
    }

    /// Waits until clients may connect; `None` at the end of the run.
    pub fn enter(&self) -> Option<Active<'_>> {
        let mut gate = self.gate.lock().unwrap();
        while gate.0 && self.goes_on() {
            gate = self.gate_changed.wait(gate).unwrap();
        }
        if !self.goes_on() {
            return None;
        }
        gate.1 += 1;
        Some(Active(self))
    }

    /// Returns whether a client may send one more request on its connection.
    pub fn is_open(&self) -> bool {
        self.goes_on() && !self.gate.lock().unwrap().0
    }

    /// Waits until no client has a connection, calls `look`, and lets them connect again.
    pub fn at_rest<T>(&self, look: impl FnOnce() -> T) -> T {
        let mut gate = self.gate.lock().unwrap();
        gate.0 = true;
        while gate.1 > 0 {
            gate = self.gate_changed.wait(gate).unwrap();
        }
        drop(gate);
        let seen = look();
        self.gate.lock().unwrap().0 = false;
        self.gate_changed.notify_all();
        seen
    }

    /// Waits until the rate permits one more request.
    pub fn wait_for_slot(&self) {
        if self.options.rate == 0 {
            return;
        }
        let slot = {
            let mut next = self.slot.lock().unwrap();
            let slot = (*next).max(Instant::now());
            *next = slot + Duration::from_secs(1) / self.options.rate as u32;
            slot
        };
        thread::sleep(slot.saturating_duration_since(Instant::now()));
    }

    /// Runs a fault that permits failures until it returns.
    pub fn during<T>(&self, phase: Phase, fault: impl FnOnce() -> T) -> T {
        let place = {
            let mut phases = self.phases.lock().unwrap();
            phases.push((phase, Instant::now(), None));
            phases.len() - 1
        };
        let result = fault();
        self.phases.lock().unwrap()[place].2 = Some(Instant::now());
        result
    }

    /// Returns whether a phase meets this time.
    pub fn meets(&self, phase: Phase, from: Instant, to: Instant) -> bool {
        self.phases.lock().unwrap().iter().rev().any(|(known, begun, ended)| {
            *known == phase && *begun <= to && ended.is_none_or(|at| at >= from)
        })
    }

    pub fn count(&self, label: &'static str) {
        self.add(label, 1);
    }

    pub fn add(&self, label: &'static str, count: u64) {
        *self.counts.lock().unwrap().entry(label).or_default() += count;
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap().clone()
    }

    /// Counts a right and complete response.
    pub fn served(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a fault begins or has ended, for the text of failures.
    pub fn note(&self, fault: &'static str) {
        self.faults.lock().unwrap().push((self.begun.elapsed().as_secs_f64(), fault));
    }

    pub fn fail(&self, mut failure: String) {
        let now = self.begun.elapsed().as_secs_f64();
        failure.push_str(&format!("; at {now:.3} s, the latest faults:"));
        for (at, fault) in self.faults.lock().unwrap().iter().rev().take(LATEST_FAULTS) {
            failure.push_str(&format!(" {fault} {at:.3} s,"));
        }
        println!("FAILED: {failure}");
        let mut failures = self.failures.lock().unwrap();
        failures.push(failure);
        if failures.len() >= MOST_FAILURES {
            self.stop();
        }
    }

    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.gate.lock().unwrap().1 -= 1;
        self.0.gate_changed.notify_all();
    }
}
