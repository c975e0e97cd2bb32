//! A transfer between its ends, with a feeder and a drainer where an end is a socket, and a driver
//! that waits for exactly the events that the transfer needs.

use karez_transfer::{
    Direction, Edit, FileToFile, FileToSocket, Progress, Report, Settings, SocketToFile,
    SocketToSocket,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::sockopt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::case::{Case, Transport};
use crate::peers::{Drainer, Feeder};
use crate::random::Random;

/// The bytes behind the content if only a part of a stream is moved.
pub const BEHIND: &[u8] = b"the next request";

/// The plan of a transfer.
#[derive(Clone)]
pub struct Plan {
    pub case: Case,
    pub settings: Settings,
    pub content: Vec<u8>,
    /// Where the content stands in the source, if that is a file.
    pub source_at: u64,
    /// Its offset in the sink.
    pub sink_at: u64,
    pub edits: Option<Arc<[Edit]>>,
    /// Of a stream, so many bytes and not all until its end.
    pub limited: bool,
    /// The length for a stream, independent of the content.
    pub promised: Option<u64>,
    /// The sizes of the buffers of the sockets.
    pub buffers: Option<usize>,
    /// Where files are made.
    pub files: &'static str,
}

/// A directory on a disk, most likely: a temporary one may be in memory.
pub const DISK: &str = env!("CARGO_TARGET_TMPDIR");

impl Plan {
    pub fn new(case: Case, content: Vec<u8>) -> Self {
        Self {
            case,
            settings: case.via.into(),
            content,
            source_at: 0,
            sink_at: 0,
            edits: None,
            limited: false,
            promised: None,
            buffers: None,
            files: DISK,
        }
    }

    pub fn stage(self) -> Stage {
        let source = Arc::new(tempfile::tempfile_in(self.files).unwrap());
        let sink = Arc::new(tempfile::tempfile_in(self.files).unwrap());
        if self.case.of_file() {
            source.write_all_at(&self.content, self.source_at).unwrap();
        }
        self.between(source, sink)
    }

    /// With these files, where files are its ends.
    pub fn between(self, source: Arc<File>, sink: Arc<File>) -> Stage {
        let mut stage = self.alone(source, sink);
        if !self.case.of_file() {
            let (from, peer) = self.sockets();
            let mut bytes = self.content.clone();
            if self.limited {
                bytes.extend_from_slice(BEHIND);
            }
            stage.from = Some(from);
            stage.feeder = Some(Feeder::new(peer, bytes));
        }
        if !self.case.to_file() {
            let (to, peer) = self.sockets();
            stage.to = Some(to);
            stage.drainer = Some(Drainer::new(peer));
        }
        stage
    }

    /// Without peers of its own.
    pub fn alone(&self, source: Arc<File>, sink: Arc<File>) -> Stage {
        Stage {
            moving: self.moving(Arc::clone(&source), Arc::clone(&sink)),
            from: None,
            to: None,
            feeder: None,
            drainer: None,
            source,
            sink,
            sink_at: self.sink_at,
            blocking: self.case.blocking,
        }
    }

    fn moving(&self, source: Arc<File>, sink: Arc<File>) -> Moving {
        let (settings, len) = (self.settings, self.content.len() as u64);
        let range = self.source_at..self.source_at + len;
        let limit = self.promised.or(self.limited.then_some(len));
        let sink_at = self.sink_at;
        match (self.case.direction, self.edits.clone()) {
            (Direction::FileToSocket, None) => {
                Moving::FileToSocket(FileToSocket::new(source, range, settings))
            }
            (Direction::FileToSocket, Some(edits)) => {
                Moving::FileToSocket(FileToSocket::edited(source, range, edits, settings))
            }
            (Direction::FileToFile, edits) => {
                let plain = FileToFile::new(source, range, sink, sink_at, settings);
                Moving::FileToFile(match edits {
                    Some(edits) => plain.edited(edits),
                    None => plain,
                })
            }
            (Direction::SocketToFile, _) => {
                Moving::SocketToFile(SocketToFile::new(sink, sink_at, limit, settings))
            }
            (Direction::SocketToSocket, _) => {
                Moving::SocketToSocket(SocketToSocket::new(limit, settings))
            }
            (pipes, _) => panic!("{pipes} has tests of its own"),
        }
    }

    /// The transfer's socket and its peer's.
    fn sockets(&self) -> (OwnedFd, OwnedFd) {
        let (near, far) = self.case.transport.pair();
        if let Some(size) = self.buffers {
            // Less than some segments of loopback, and TCP continues only after a timer.
            let least = if self.case.transport == Transport::Tcp { 150_000 } else { 0 };
            for socket in [&near, &far] {
                sockopt::set_socket_send_buffer_size(socket, size).unwrap();
                sockopt::set_socket_recv_buffer_size(socket, size.max(least)).unwrap();
            }
        }
        ioctl_fionbio(&near, !self.case.blocking).unwrap();
        ioctl_fionbio(&far, !self.case.blocking).unwrap();
        (near, far)
    }
}

/// A transfer of any direction.
#[derive(Debug)]
pub enum Moving {
    FileToSocket(FileToSocket),
    SocketToFile(SocketToFile),
    SocketToSocket(SocketToSocket),
    FileToFile(FileToFile),
}

impl Moving {
    pub fn report(&self) -> &Report {
        match self {
            Self::FileToSocket(moving) => moving.report(),
            Self::SocketToFile(moving) => moving.report(),
            Self::SocketToSocket(moving) => moving.report(),
            Self::FileToFile(moving) => moving.report(),
        }
    }

    /// Bytes that the source has no more and the sink not yet.
    pub fn in_flight(&self) -> u64 {
        match self {
            Self::SocketToFile(moving) => moving.in_flight(),
            Self::SocketToSocket(moving) => moving.in_flight(),
            Self::FileToSocket(_) | Self::FileToFile(_) => 0,
        }
    }

    fn warm(&self) -> io::Result<()> {
        match self {
            Self::FileToSocket(moving) => moving.page_in().run(),
            Self::FileToFile(moving) => moving.page_in().run(),
            other => panic!("{other:?} reads no disk"),
        }
    }
}

/// A transfer and all that it touches.
pub struct Stage {
    pub moving: Moving,
    pub from: Option<OwnedFd>,
    pub to: Option<OwnedFd>,
    pub feeder: Option<Feeder>,
    pub drainer: Option<Drainer>,
    pub source: Arc<File>,
    pub sink: Arc<File>,
    pub sink_at: u64,
    blocking: bool,
}

/// The result.
pub struct Outcome {
    pub end: io::Result<Progress>,
    pub report: Report,
    /// The content of the sink; of a file as much as the report counts.
    pub received: Vec<u8>,
    pub in_flight: u64,
    /// The bytes left in the source.
    pub behind: Vec<u8>,
}

impl Stage {
    pub fn step(&mut self) -> io::Result<Progress> {
        self.step_at_most(u64::MAX)
    }

    pub fn step_at_most(&mut self, most: u64) -> io::Result<Progress> {
        let from = self.from.as_ref().map(|from| from.as_fd());
        let to = self.to.as_ref().map(|to| to.as_fd());
        match &mut self.moving {
            Moving::FileToSocket(moving) => moving.step_at_most(to.unwrap(), most),
            Moving::SocketToFile(moving) => moving.step_at_most(from.unwrap(), most),
            Moving::SocketToSocket(moving) => moving.step_at_most(from.unwrap(), to.unwrap(), most),
            Moving::FileToFile(moving) => moving.step_at_most(most),
        }
    }

    /// To the end, with the peers in threads of their own if the sockets block.
    pub fn run(self, chance: &mut Random) -> Outcome {
        self.run_with(chance, |stage, chance| stage.drive(chance))
    }

    /// The same, with something else to drive it.
    pub fn run_with(
        mut self,
        chance: &mut Random,
        drive: impl FnOnce(&mut Self, &mut Random) -> io::Result<Progress>,
    ) -> Outcome {
        let feeder = self.feeder.take_if(|_| self.blocking).map(|mut feeder| {
            let mut chance = chance.clone();
            thread::spawn(move || {
                while feeder.feed(&mut chance) {}
                feeder
            })
        });
        let drainer = self.drainer.take_if(|_| self.blocking).map(|mut drainer| {
            let mut chance = chance.clone();
            thread::spawn(move || {
                while drainer.drain(&mut chance) {}
                drainer
            })
        });
        let end = drive(&mut self, chance);
        let behind = self.left_behind(&end, chance);
        self.to = None;
        self.from = None;
        if let Some(feeder) = feeder {
            feeder.join().unwrap();
        }
        if let Some(drainer) = drainer {
            self.drainer = Some(drainer.join().unwrap());
        }
        self.outcome(end, behind, chance)
    }

    /// Runs the page-in of the transfer.
    pub fn warm(&self) -> io::Result<()> {
        self.moving.warm()
    }

    /// The peer sends some.
    pub fn feed(&mut self, chance: &mut Random) {
        self.feeder.as_mut().unwrap().feed(chance);
    }

    /// The peer takes some.
    pub fn drain(&mut self, chance: &mut Random) {
        self.drainer.as_mut().unwrap().drain(chance);
    }

    /// Steps to the end, and provides every event that a step needs.
    ///
    /// A socket that poll(2) reports as writable takes a byte, but for one case: the memory of TCP is used up
    /// (`tcp_mem`, tcp(7)). poll compares the queue of the socket with its send buffer alone; sendfile(2) and
    /// send(2) also charge the memory to all TCP sockets together (`tcp_wmem_schedule` of Linux), and return
    /// `EAGAIN` until another socket gives some back, although poll returns at once. Beside tests with thousands of
    /// stalled connections `a_rewritten_file_arrives_as_it_was_or_as_it_is` failed once by that, and it fails in the
    /// same way where `tcp_mem` is set below what other sockets hold. So such attempts are not counted.
    pub fn drive(&mut self, chance: &mut Random) -> io::Result<Progress> {
        let (mut asked, mut shortages) = (0, 0);
        loop {
            match self.step()? {
                Progress::Moved(bytes) => {
                    assert!(bytes > 0);
                    asked = 0;
                    continue;
                }
                Progress::NeedsWorker => self.moving.warm()?,
                Progress::NeedsReadable if !self.blocking => self.until(PollFlags::IN, chance),
                Progress::NeedsWritable if !self.blocking => self.until(PollFlags::OUT, chance),
                Progress::NeedsZerocopyCompletion => self.until(PollFlags::empty(), chance),
                end @ (Progress::Done | Progress::Truncated { .. }) => return Ok(end),
                wait => panic!("a blocking socket waits inside the call: {wait:?}"),
            }
            asked += 1;
            if asked == 1000 && shortages < 600 && tcp_memory_is_short() {
                (asked, shortages) = (0, shortages + 1);
                thread::sleep(Duration::from_millis(100)); // another program has to give some back
            }
            assert!(asked < 1000, "it asks for what is there: {:?}", self.moving);
        }
    }

    /// Until the socket that the transfer waits for is ready; its peers go on meanwhile.
    fn until(&mut self, flags: PollFlags, chance: &mut Random) {
        loop {
            let side = if flags == PollFlags::IN { &self.from } else { &self.to };
            let feeding = self.feeder.as_ref().filter(|feeder| !feeder.ended);
            let feeds = feeding.is_some();
            let mut fds = vec![PollFd::new(side.as_ref().unwrap(), flags)];
            fds.extend(feeding.map(|feeder| PollFd::new(&feeder.peer, PollFlags::OUT)));
            let drains = self.drainer.as_ref();
            fds.extend(drains.map(|drainer| PollFd::new(&drainer.peer, PollFlags::IN)));
            poll(&mut fds, None).unwrap();
            let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0] {
                return;
            }
            if feeds && ready[1] {
                self.feeder.as_mut().unwrap().feed(chance);
            }
            if let Some(drainer) = self.drainer.as_mut().filter(|_| ready[ready.len() - 1]) {
                drainer.drain(chance);
            }
        }
    }

    /// The bytes that the transfer left, if it was limited.
    fn left_behind(&mut self, end: &io::Result<Progress>, chance: &mut Random) -> Vec<u8> {
        let mut behind = Vec::new();
        let Some(from) = self.from.as_ref().filter(|_| matches!(end, Ok(Progress::Done))) else {
            return behind;
        };
        loop {
            let mut part = [0; 64];
            match rustix::io::read(from, &mut part) {
                Ok(0) => return behind,
                Ok(count) => behind.extend_from_slice(&part[..count]),
                Err(Errno::AGAIN) => {
                    self.feeder.as_mut().unwrap().feed(chance);
                }
                Err(errno) => panic!("behind the content: {errno}"),
            }
        }
    }

    fn outcome(
        mut self,
        end: io::Result<Progress>,
        behind: Vec<u8>,
        chance: &mut Random,
    ) -> Outcome {
        let report = self.moving.report().clone();
        let received = match self.drainer.take() {
            Some(mut drainer) => {
                ioctl_fionbio(&drainer.peer, false).unwrap();
                while drainer.drain(chance) {}
                drainer.drained
            }
            None => {
                let mut stored = vec![0; report.bytes as usize];
                self.sink.read_exact_at(&mut stored, self.sink_at).unwrap();
                stored
            }
        };
        Outcome { end, report, received, in_flight: self.moving.in_flight(), behind }
    }
}

/// Returns whether the kernel may refuse memory to TCP sockets.
fn tcp_memory_is_short() -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (sockets, limits) = (read("/proc/net/sockstat"), read("/proc/sys/net/ipv4/tcp_mem"));
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:"));
    let used = tcp.and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok());
    let pressure = limits.split_whitespace().nth(1).and_then(|limit| limit.parse().ok());
    used.zip(pressure).is_some_and(|(used, pressure)| used >= pressure)
}
