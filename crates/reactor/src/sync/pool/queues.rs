//! The queues of a pool: for each device its work, in order, and the devices in the order of their turns.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::clock;

/// The number of devices that may have all their threads at the same time.
pub(super) const DEVICES: usize = 4;

/// Jobs that may wait for one device, for each of its threads. Page-ins are not bounded here: each
/// is of a connection whose own deadline ends it.
pub(super) const WAITING: usize = 64;

/// The number of submitted work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    device: u64,
    number: u64,
}

/// The work of all devices and the threads that run it.
pub(super) struct DeviceQueues<W> {
    devices: HashMap<u64, DeviceQueue<W>>,
    /// Devices that have work and may have one more thread, in the order of their turns.
    turns: VecDeque<u64>,
    pub(super) threads: usize,
    pub(super) idle: usize,
    /// Threads that are at work.
    busy: usize,
    next: u64,
    pub(super) over: bool,
}

/// The work of one device.
struct DeviceQueue<W> {
    waiting: VecDeque<Queued<W>>,
    /// The numbers and deadlines of the work that runs.
    running: Vec<(u64, Instant)>,
    has_turn: bool,
}

struct Queued<W> {
    number: u64,
    until: Instant,
    work: W,
}

impl<W> DeviceQueues<W> {
    pub(super) fn new() -> Self {
        let (devices, turns) = (HashMap::new(), VecDeque::new());
        Self { devices, turns, threads: 0, idle: 0, busy: 0, next: 0, over: false }
    }

    /// Adds work for a device.
    pub(super) fn push(&mut self, device: u64, until: Instant, work: W, bound: usize) -> Ticket {
        let number = self.next;
        self.next += 1;
        let queue = self.devices.entry(device).or_insert_with(|| DeviceQueue {
            waiting: VecDeque::new(),
            running: Vec::new(),
            has_turn: false,
        });
        queue.waiting.push_back(Queued { number, until, work });
        self.give_turn(device, bound);
        Ticket { device, number }
    }

    /// Returns whether a device hangs (all its threads are past the deadlines of their work), or too much
    /// waits for it.
    pub(super) fn rejects(&self, device: u64, bound: usize) -> bool {
        let Some(queue) = self.devices.get(&device) else { return false };
        let hangs = queue.running.len() >= bound && queue.overdue(clock::now()) >= bound;
        hangs || queue.waiting.len() >= bound.saturating_mul(WAITING)
    }

    /// Gives a device a turn, if it has work and may have one more thread.
    fn give_turn(&mut self, device: u64, bound: usize) {
        if let Some(queue) = self.devices.get_mut(&device)
            && !queue.has_turn
            && queue.runnable(bound) > 0
        {
            queue.has_turn = true;
            self.turns.push_back(device);
        }
    }

    /// Returns whether there is work for one more thread, and it may be made.
    pub(super) fn lacks_thread(&self, bound: usize) -> bool {
        let runnable: usize = self.devices.values().map(|queue| queue.runnable(bound)).sum();
        if runnable <= self.threads - self.busy {
            return false;
        }
        let most = bound.saturating_mul(DEVICES);
        self.threads < most || {
            let now = clock::now();
            let overdue: usize = self.devices.values().map(|queue| queue.overdue(now)).sum();
            self.threads - overdue < most
        }
    }

    /// Takes the next work to be run.
    pub(super) fn start_next(&mut self, bound: usize) -> Option<(Ticket, W)> {
        while let Some(device) = self.turns.pop_front() {
            let Some(queue) = self.devices.get_mut(&device) else { continue };
            queue.has_turn = false;
            let Some(Queued { number, until, work }) = queue.waiting.pop_front() else {
                self.forget(device); // all was dequeued
                continue;
            };
            queue.running.push((number, until));
            self.busy += 1;
            self.give_turn(device, bound);
            return Some((Ticket { device, number }, work));
        }
        None
    }

    /// Notes that work has been run.
    pub(super) fn finish(&mut self, Ticket { device, number }: Ticket, bound: usize) {
        self.busy -= 1;
        if let Some(queue) = self.devices.get_mut(&device) {
            queue.running.retain(|running| running.0 != number);
        }
        self.give_turn(device, bound);
        self.forget(device);
    }

    /// Takes work back that has not been started.
    pub(super) fn dequeue(&mut self, Ticket { device, number }: Ticket) -> Option<W> {
        let waiting = &mut self.devices.get_mut(&device)?.waiting;
        let place = waiting.iter().position(|queued| queued.number == number)?;
        let work = waiting.remove(place)?.work;
        self.forget(device);
        Some(work)
    }

    /// Forgets a device without work. A turn that it may still have is skipped.
    fn forget(&mut self, device: u64) {
        if self.devices.get(&device).is_some_and(|queue| queue.is_empty() && !queue.has_turn) {
            self.devices.remove(&device);
        }
    }
}

impl<W> DeviceQueue<W> {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Returns how much of its work could run now.
    fn runnable(&self, bound: usize) -> usize {
        self.waiting.len().min(bound.saturating_sub(self.running.len()))
    }

    /// Returns how many of its threads are past the deadlines of their work.
    fn overdue(&self, now: Instant) -> usize {
        self.running.iter().filter(|(_, until)| *until <= now).count()
    }
}
