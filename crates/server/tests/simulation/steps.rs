//! The steps of a run: chaos, in which the schedule draws the next step; then everything that is left is delivered; then
//! the clients close.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Duration;

use karez_reactor::simulation::SimulatedLoop;
use karez_reactor::{Peer, Shutdown};
use karez_sys::simulation::{Point, Schedule, below, chance, elapsed, note};

use crate::client::Client;
use crate::draws::{length, one_of};
use crate::excuse::Excuse;

/// The most turns of an event loop for which nothing has happened outside.
const MOST_TURNS: usize = 2000;

/// The most rounds in which everything is delivered.
const MOST_ROUNDS: usize = 5000;

/// The grace period.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How long an event loop without a place accepts nothing.
const BACKOFF: Duration = Duration::from_millis(50);

/// How long a response of HTTP/2 waits for a window that is not small.
const SMALL_WINDOW_WAIT: Duration = Duration::from_millis(200);

pub(crate) struct Steps<'a> {
    pub(crate) schedule: &'a Schedule,
    pub(crate) server: &'a mut dyn SimulatedLoop,
    pub(crate) clients: Vec<Client>,
    /// The server's ends of those that it has not accepted.
    pub(crate) arrivals: VecDeque<(OwnedFd, Peer)>,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) plan: Plan,
    pub(crate) verbose: bool,
    pub(crate) turns: u32,
    pub(crate) offloads: u32,
    /// Time has passed for which a deadline may have ended a response.
    pub(crate) waited: bool,
}

/// What may happen in a run besides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: usize,
    /// Deadlines pass.
    pub(crate) time: bool,
    /// The server shuts down, or drains.
    pub(crate) stops: bool,
    /// Clients leave.
    pub(crate) leaves: bool,
    pub(crate) half_closes: bool,
    /// Clients connect meanwhile, not all at the beginning.
    pub(crate) arrive: bool,
    /// There are fewer places than clients may need.
    pub(crate) evicts: bool,
    /// Operations hold the sockets of closed connections.
    pub(crate) completes: bool,
}

impl Steps<'_> {
    fn say(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            println!("{}", text());
        }
    }

    /// Returns what may have happened to a response.
    fn excuse(&self) -> Excuse {
        let failed = self.schedule.count(Point::ReadFails) > 0;
        match self.waited || failed || self.shutdown.is_triggered() {
            true => Excuse::All,
            false if self.plan.evicts => Excuse::Eviction { late: self.plan.completes },
            false => Excuse::None,
        }
    }

    pub(crate) fn chaos(&mut self) -> Result<(), String> {
        for _ in 0..self.plan.steps {
            match below(20) {
                0..8 => self.turn().map(drop)?,
                8..10 => self.offload(),
                10 if self.plan.time => self.pass_time(),
                11 if self.plan.stops && chance(5) => self.stop(),
                12 if self.plan.leaves && chance(10) => self.leave()?,
                13 if self.plan.half_closes => self.half_close(),
                14 if self.plan.arrive => self.accept(),
                _ => self.client_step()?,
            }
        }
        Ok(())
    }

    /// Runs a turn. Returns whether anything was left to be done.
    fn turn(&mut self) -> Result<bool, String> {
        if self.server.is_over() {
            return Ok(false); // the grace period has ended, and with it the event loop
        }
        let pending = self.server.pending();
        let waited = self.server.turn().map_err(|error| format!("the event loop: {error}"))?;
        self.turns += 1;
        note(waited.delivered as u64);
        self.say(|| format!("turn: {waited:?}"));
        // One that has been admitted was not there when the event loop waited.
        let admitted = pending != self.server.pending();
        if waited.sleeps() && !admitted && self.server.offloads() == 0 {
            self.check_wakeups()?;
        }
        Ok(!waited.sleeps() || admitted)
    }

    /// Has the server accept a connection. One that shuts down accepts none: the connection ends with its listener.
    fn accept(&mut self) {
        if let Some((socket, peer)) = self.arrivals.pop_front()
            && !self.shutdown.is_triggered()
        {
            self.server.connect(socket, peer);
            self.say(|| "a connection is accepted".to_owned());
        }
    }

    pub(crate) fn accept_all(&mut self) {
        while !self.arrivals.is_empty() {
            self.accept();
        }
    }

    fn check_wakeups(&mut self) -> Result<(), String> {
        match self.server.lost_wakeup() {
            Some(lost) => Err(format!("a lost wake-up: {lost}")),
            None => Ok(()),
        }
    }

    fn offload(&mut self) {
        if self.server.offloads() > 0 {
            self.offloads += 1;
            self.server.run_offload();
            self.say(|| "a worker".to_owned());
        }
    }

    /// Completes the handshakes; then the first bytes of a request reach the server, and the rest its sockets.
    pub(crate) fn begin_records(&mut self) -> Result<(), String> {
        let mut moved = true;
        while moved {
            moved = false;
            for client in &mut self.clients {
                moved |= client.shake_hands()?;
            }
            while self.turn()? {
                moved = true;
            }
        }
        for client in &mut self.clients {
            client.speak();
            client.send(3);
        }
        while self.turn()? {}
        for client in &mut self.clients {
            client.send(usize::MAX);
        }
        Ok(())
    }

    fn pass_time(&mut self) {
        let time = one_of(&[1, 20, 500, 3_000, 11_000, 31_000, 61_000]);
        self.waited |= time >= 500;
        self.schedule.advance(Duration::from_millis(time));
        self.say(|| format!("{time} ms pass"));
    }

    fn stop(&mut self) {
        match below(2) {
            0 => self.shutdown.trigger(),
            _ => self.shutdown.drain(),
        }
        self.say(|| "the server stops".to_owned());
    }

    fn leave(&mut self) -> Result<(), String> {
        let index = below(self.clients.len());
        self.say(|| format!("client {index} leaves"));
        self.clients[index].leave()
    }

    fn half_close(&mut self) {
        let index = below(self.clients.len());
        if self.clients[index].half_close() {
            self.say(|| format!("client {index} closes its side"));
        }
    }

    fn client_step(&mut self) -> Result<(), String> {
        let (index, excuse) = (below(self.clients.len()), self.excuse());
        let client = &mut self.clients[index];
        match below(3) {
            0 => {
                let spoke = client.speak();
                self.say(|| format!("client {index} writes: {spoke}"));
            }
            1 => {
                let sent = client.send(length(20_000));
                note(sent as u64);
                self.say(|| format!("client {index} sends {sent} bytes"));
            }
            _ => {
                let received = client.receive(length(60_000), excuse)?;
                note(received.into());
                self.say(|| format!("client {index} receives: {received}"));
            }
        }
        Ok(())
    }

    /// Delivers everything, without a delay or a fault. Then every request has a response, or a visible end.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        for point in [Point::Late, Point::Spurious, Point::InterruptedWait, Point::EndsEarly] {
            self.schedule.set_chance(point, 0);
        }
        self.say(|| "everything is delivered".to_owned());
        self.accept_all();
        self.deliver_all()?;
        if self.server.is_over() {
            return Ok(()); // its connections are those that the end of the grace period found
        }
        self.check_wakeups()?;
        let waits = self.clients.iter().position(|client| !client.is_over());
        match waits {
            Some(index) => {
                let client = self.clients[index].describe();
                let waits = self.server.waits();
                Err(format!(
                    "client {index} waits for nothing that is left to happen: {client}; server: {waits:?}"
                ))
            }
            None => Ok(()),
        }
    }

    /// Delivers everything until nothing moves.
    fn deliver_all(&mut self) -> Result<(), String> {
        for _ in 0..MOST_ROUNDS {
            let (mut moved, excuse) = (false, self.excuse());
            for client in &mut self.clients {
                moved |= client.settle(excuse)?;
            }
            while self.server.offloads() > 0 {
                self.offload();
                moved = true;
            }
            let mut turns = 0;
            while self.turn()? {
                moved = true;
                turns += 1;
                if turns > MOST_TURNS {
                    return Err(format!("{turns} turns for nothing"));
                }
            }
            if !moved && self.server.pending() > 0 && !self.server.is_over() {
                // It looks for a place from time to time.
                self.schedule.advance(BACKOFF);
            } else if !moved {
                return Ok(());
            }
        }
        Err(format!("something moves still after {MOST_ROUNDS} rounds"))
    }

    /// Ends the event loop.
    pub(crate) fn end(&mut self) {
        if self.server.is_over() {
            self.server.end();
        }
    }

    /// Lets the clients close, after which the server has no connection and no operation; or the grace period end, after
    /// which its event loop ends.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        if self.shutdown.is_triggered() && chance(50) {
            self.schedule.advance(GRACE);
            self.deliver_all()?;
            return match self.server.is_over() {
                true => Ok(()),
                false => Err("the event loop goes on after the grace period".to_owned()),
            };
        }
        for client in &mut self.clients {
            client.leave()?;
        }
        self.deliver_all()?;
        if self.server.connections() > 0 {
            // The send of what a small window takes finds out that the client has gone.
            self.schedule.advance(SMALL_WINDOW_WAIT);
            self.deliver_all()?;
        }
        if self.server.connections() > 0 && self.plan.time {
            // A deadline that has been late is extended once, by as much as it was: at most by the time that has passed.
            self.schedule.advance(elapsed().unwrap_or_default());
            self.deliver_all()?;
        }
        if self.server.is_over() {
            return Ok(());
        }
        match (self.server.connections(), self.server.operations()) {
            // That of the waker.
            (0, 0 | 1) => Ok(()),
            (connections, operations) => Err(format!(
                "{connections} connections and {operations} operations are left behind: {:?}",
                self.server.waits()
            )),
        }
    }
}
