//! Disturbances of the server: reloads, upgrades, stops, missing descriptors, a file system that hangs.

use rustix::process::{Pid, Signal};
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::ask::{Ask, Target};
use crate::check::Route;
use crate::hanging::Hanging;
use crate::http1::Http1;
use crate::options::Fault;
use crate::rng::Rng;
use crate::run::{Phase, Run};
use crate::server::{Server, TIMEOUT};
use crate::socket::{End, Socket};
use crate::tree::Kind;

pub struct Faults<'a> {
    pub run: &'a Run,
    pub server: &'a Server,
    pub hanging: Option<&'a Hanging>,
    pub rng: Rng,
    /// Held during a fault, so that none meets a rest.
    pub turn: &'a Mutex<()>,
    pub reloads: u64,
}

impl Faults<'_> {
    /// Causes faults until the run ends.
    pub fn cause(mut self) {
        match self.run.options.requests {
            Some(requests) => self.by_requests(requests),
            None => self.by_time(),
        }
    }

    /// Upgrades and reloads at even numbers of requests; the run ends with the last request.
    fn by_requests(&mut self, requests: u64) {
        let options = &self.run.options;
        let upgrades = if options.has(Fault::Upgrade) { options.upgrades } else { 0 };
        let reloads = if options.has(Fault::Reload) { options.reloads } else { 0 };
        let mut events: Vec<(u64, Fault)> = Vec::new();
        for (count, fault) in [(upgrades, Fault::Upgrade), (reloads, Fault::Reload)] {
            let shift = u64::from(fault == Fault::Reload) * requests / (2 * count.max(1) + 2);
            let at = |place| requests * (place + 1) / (count + 1) - shift;
            events.extend((0..count).map(|place| (at(place), fault)));
        }
        events.sort_by_key(|event| event.0);
        for (at, fault) in events {
            if !self.wait_for_requests(at) {
                return;
            }
            self.fault(fault);
        }
        self.wait_for_requests(requests);
        self.run.stop();
    }

    /// Returns whether the run goes on.
    fn wait_for_requests(&self, count: u64) -> bool {
        while self.run.goes_on() && self.run.requests.load(Ordering::Relaxed) < count {
            thread::sleep(Duration::from_millis(5));
        }
        self.run.goes_on()
    }

    /// Upgrades in the first quarter, since memory is then that of one process; the other faults in a random order.
    fn by_time(&mut self) {
        let options = &self.run.options;
        let begun = Instant::now();
        let upgrades = if options.has(Fault::Upgrade) { options.upgrades } else { 0 };
        let mut upgraded = 0;
        let known = [Fault::Reload, Fault::Stop, Fault::Descriptors, Fault::Hang];
        let usable = |fault: &Fault| {
            options.has(*fault) && (*fault != Fault::Hang || self.hanging.is_some())
        };
        let usable: Vec<Fault> = known.into_iter().filter(usable).collect();
        let usual = (options.time / 60).clamp(Duration::from_millis(500), Duration::from_secs(8));
        let mean = options.pause.unwrap_or(usual);
        while self.run.goes_on() {
            thread::sleep(mean * self.rng.below(200) as u32 / 100);
            let due = options.time / 4 * (upgraded + 1) / (upgrades as u32 + 1);
            if u64::from(upgraded) < upgrades && begun.elapsed() > due {
                upgraded += 1;
                self.fault(Fault::Upgrade);
            } else if !usable.is_empty() && self.run.goes_on() {
                let fault = *self.rng.pick(&usable);
                self.fault(fault);
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        let turn = self.turn;
        let _turn = turn.lock().unwrap();
        if self.server.has_ended() {
            self.run.fail("the server has ended".to_owned());
            return self.run.stop();
        }
        self.run.note(fault.name());
        let (label, result) = match fault {
            Fault::Reload => {
                self.reloads += 1;
                ("reloads", self.server.reload(self.reloads))
            }
            Fault::Upgrade => ("upgrades", self.server.upgrade()),
            Fault::Stop => ("stops", self.stop()),
            Fault::Descriptors => ("times without descriptors", self.take_descriptors()),
            Fault::Hang => ("hangs of the file system", self.hang()),
            Fault::Write | Fault::Hostile => return,
        };
        self.run.note("ended");
        self.run.count(label);
        if let Err(error) = result {
            self.run.fail(error);
        }
    }

    fn stop(&mut self) -> Result<(), String> {
        let pause = Duration::from_millis(20 + self.rng.below(1500));
        self.server.signal(Signal::STOP);
        thread::sleep(pause);
        self.server.signal(Signal::CONT);
        Ok(())
    }

    /// Sets the limit on open files to about the number of open ones, and connects more clients than it permits.
    fn take_descriptors(&mut self) -> Result<(), String> {
        let pid = self.server.pid();
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())) else {
            return Ok(()); // a confined process of another user
        };
        let limit = descriptors.count() as u64 + self.rng.below(8);
        let pause = Duration::from_millis(100 + self.rng.below(1500));
        self.run.during(Phase::Descriptors, || {
            let old = set_limit(pid, limit)?;
            let route = Route { name: "HTTP/1.1", by_reference: self.run.by_reference };
            let mut waiting = Vec::new();
            for _ in 0..40 {
                let mut ask = Ask::draw(&self.run.tree, &mut self.rng);
                let Ok(socket) = Socket::connect(self.run.plain) else { break };
                let mut client = Http1::over(socket);
                ask.sent = Instant::now();
                let text = ask.text(&self.run.tree, true);
                let sent = client.socket.send(text.as_bytes());
                waiting.push((client, ask, sent));
            }
            thread::sleep(pause);
            set_limit(pid, old)?;
            for (mut client, ask, sent) in waiting {
                let response = sent.map_err(|end| Box::new((None, end)));
                match response.and_then(|()| client.response(ask.is_head, None)) {
                    Ok(response) => self.run.take(&ask, route, &response),
                    Err(cut) => {
                        let since = ask.sent;
                        self.run.take_cut(&ask, route, cut.0.as_ref(), &cut.1.to_string(), since);
                    }
                }
            }
            Ok(())
        })
    }

    /// Stops the FUSE file system until a request for one of its files has ended by a deadline, and for a while longer.
    /// Another file is served meanwhile, and this one again behind it.
    fn hang(&mut self) -> Result<(), String> {
        let Some(hanging) = self.hanging else { return Ok(()) };
        let longer = Duration::from_millis(self.rng.below(3000));
        let largest = |kind| {
            let nodes = &self.run.tree.nodes;
            Ask::to(Target::File(nodes.iter().rposition(|node| node.kind == kind).unwrap()))
        };
        let (hung, other) = (largest(Kind::Hanging), largest(Kind::Fixed));
        self.run.during(Phase::Hang, || {
            let mut status = Ok(200);
            // The kernel knows attributes for a moment. A process can be continued by others, too.
            while matches!(status, Ok(200)) {
                hanging.stop();
                status = self.request(&hung);
            }
            let others = self.request(&other);
            thread::sleep(longer);
            hanging.resume();
            if !matches!((&status, &others), (Ok(503) | Err(End::Reset), Ok(200))) {
                return Err(format!("a file that hangs: {status:?}, another one: {others:?}"));
            }
            let start = Instant::now();
            loop {
                match self.request(&hung) {
                    Ok(200) => return Ok(()),
                    result if start.elapsed() > TIMEOUT => {
                        return Err(format!("the file system that hung is not served: {result:?}"));
                    }
                    _ => thread::sleep(Duration::from_millis(20)),
                }
            }
        })
    }

    /// Requests a file on a connection of its own, and returns the status.
    fn request(&self, ask: &Ask) -> Result<u16, End> {
        let mut client = Http1::over(Socket::connect(self.run.plain)?);
        let text = ask.text(&self.run.tree, true);
        client.socket.send(text.as_bytes())?;
        client.response(ask.is_head, None).map(|response| response.head.status).map_err(|cut| cut.1)
    }
}

/// Sets the soft limit on open files, and returns the old one. It takes a process of the same user, or a
/// capability that root of a container has not.
fn set_limit(pid: Pid, limit: u64) -> Result<u64, String> {
    let number = pid.as_raw_nonzero().to_string();
    let limits = fs::read_to_string(format!("/proc/{number}/limits"));
    let limits = limits.map_err(|error| error.to_string())?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let old = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    let mut words = Vec::new();
    if rustix::process::geteuid().is_root() {
        words = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    }
    let nofile = format!("--nofile={limit}:");
    words.extend(["prlimit", "--pid", &number, &nofile]);
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
    match old {
        Some(old) if output.status.success() => Ok(old),
        _ => Err(format!("prlimit: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
