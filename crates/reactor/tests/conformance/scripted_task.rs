//! A task that follows the client's first byte, a server of such tasks in every layout, and
//! their clients.

use karez_reactor::{
    ALLOWED, Address, Config, Device, Event, Io, Job, JobError, JobId, Limits, Model, OpenRequest,
    OpenedFile, Peer, SendError, Server, Service, Shutdown, Task, Topology,
};
use karez_transfer::Mark;
use rustix::io::Errno;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::names::Sizes;

pub const LONG: Duration = Duration::from_secs(60);
pub const SHORT: Duration = Duration::from_millis(50);

/// Follows the first byte of a message, and sends the result.
pub struct ScriptedTask {
    /// The job that it waits for, or the last.
    job: u64,
    gave_up: Sender<u64>,
}

/// Jobs whose results differ from an echo.
pub enum Chore {
    Double(Vec<u8>),
    /// Waits until the gate is opened.
    Wait,
    /// Hangs in a device of its own until that answers.
    Hang,
    /// The name of the thread that does it, which need not be another.
    Name,
    Panic,
    /// Again and again, without a wait; whether it has begun already.
    Endless(bool),
    /// The size of each of these files, and the thread that opened them.
    Sizes(Sizes),
}

/// How many [`Chore::Endless`] run, and whether they are to end.
static ENDLESS: (Mutex<(usize, bool)>, Condvar) = (Mutex::new((0, false)), Condvar::new());

/// Waits until so many go on for ever.
pub fn until_running(count: usize) {
    let running = ENDLESS.0.lock().unwrap();
    drop(ENDLESS.1.wait_while(running, |endless| endless.0 < count).unwrap());
}

/// Ends them all, and waits for that.
pub fn end_all() {
    let mut running = ENDLESS.0.lock().unwrap();
    running.1 = true;
    let mut none = ENDLESS.1.wait_while(running, |endless| endless.0 > 0).unwrap();
    none.1 = false;
}

/// One round: the reply at its end, if there is one.
fn go_round(begun: bool) -> Vec<u8> {
    let mut endless = ENDLESS.0.lock().unwrap();
    endless.0 += usize::from(!begun);
    let ended = endless.1;
    endless.0 -= usize::from(ended);
    ENDLESS.1.notify_all();
    if ended { b"ended".to_vec() } else { Vec::new() }
}

/// Where [`Chore::Wait`] waits: how many do, and how many may pass.
pub static GATE: (Mutex<(usize, usize)>, Condvar) = (Mutex::new((0, 0)), Condvar::new());

/// The device that [`Chore::Hang`] asks: how many wait for it, and whether it answers.
pub static HANGING: (Mutex<(usize, bool)>, Condvar) = (Mutex::new((0, false)), Condvar::new());

fn hang() -> Vec<u8> {
    let mut device = HANGING.0.lock().unwrap();
    device.0 += 1;
    HANGING.1.notify_all();
    let mut device = HANGING.1.wait_while(device, |device| !device.1).unwrap();
    device.0 -= 1;
    HANGING.1.notify_all();
    b"answered".to_vec()
}

impl Job for Chore {
    type Done = Vec<u8>;

    fn run(self) -> Vec<u8> {
        match self {
            Self::Double(bytes) => bytes.repeat(2),
            Self::Wait => {
                let mut gate = GATE.0.lock().unwrap();
                gate.0 += 1;
                GATE.1.notify_all();
                let mut gate = GATE.1.wait_while(gate, |gate| gate.1 == 0).unwrap();
                *gate = (gate.0 - 1, gate.1 - 1);
                GATE.1.notify_all();
                b"through".to_vec()
            }
            Self::Hang => hang(),
            Self::Name => thread::current().name().unwrap_or("?").as_bytes().to_vec(),
            Self::Panic => panic!("a job that panics, as this test wants it"),
            Self::Endless(begun) => go_round(begun),
            Self::Sizes(sizes) => sizes.run(),
        }
    }

    fn device(&self) -> Device {
        match self {
            Self::Hang => Device { number: 7, remote: true },
            _ => Device::default(),
        }
    }

    fn try_run(self) -> Result<Vec<u8>, Self> {
        match self {
            Self::Name | Self::Endless(_) => Ok(self.run()),
            job => Err(job),
        }
    }

    fn open_request(&mut self) -> Option<OpenRequest> {
        match self {
            Self::Sizes(sizes) => sizes.open_request(),
            _ => None,
        }
    }

    fn opened(self, opened: Result<OpenedFile, Errno>) -> Result<Vec<u8>, Self> {
        match self {
            Self::Sizes(sizes) => sizes.opened(opened).map_err(Self::Sizes),
            job => Err(job),
        }
    }
}

impl ScriptedTask {
    fn obey(&mut self, order: u8, rest: &[u8], io: &mut Io<'_, Chore>) {
        let long = io.now() + LONG;
        match order {
            b'e' => say(rest.to_vec(), io),
            b'd' => self.run(Chore::Double(rest.to_vec()), LONG, io),
            b'g' => self.run(Chore::Wait, LONG, io),
            b'h' => self.run(Chore::Hang, LONG, io),
            b'H' => self.run(Chore::Hang, SHORT, io),
            b'n' => self.run(Chore::Name, LONG, io),
            b'p' => self.run(Chore::Panic, LONG, io),
            b'l' => self.run(Chore::Endless(false), LONG, io),
            b'o' => self.run(Chore::Sizes(Sizes::of(rest)), LONG, io),
            b'b' => say(vec![b'b'; 8 << 20], io),
            b's' => {
                say(vec![b's'; 64 << 20], io);
                io.send_timeout(SHORT);
            }
            b't' => io.receive(io.now() + SHORT, false, None),
            b'w' => io.receive(long, false, None),
            b'f' => {
                io.shutdown_write();
                io.receive(long, false, None);
            }
            _ => io.close(),
        }
    }

    /// Has a job run, that is overdue after so long.
    fn run(&mut self, chore: Chore, patience: Duration, io: &mut Io<'_, Chore>) {
        self.job += 1;
        io.set_timer(Some(io.now() + patience));
        assert!(io.run(JobId(self.job), chore).is_ok());
    }
}

/// Sends this, and goes on when it has left.
pub fn say(bytes: Vec<u8>, io: &mut Io<'_, Chore>) {
    io.send_timeout(LONG);
    io.outbox().push_bytes(bytes);
    io.notify_sent(Mark(1));
}

impl Task for ScriptedTask {
    type Job = Chore;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, Chore>) {
        match event {
            Event::Opened(_) => io.receive(io.now() + LONG, true, None),
            Event::Received(bytes, _) => self.obey(bytes[0], &bytes[1..], io),
            Event::JobDone(JobId(job), _) if job != self.job => {} // it came too late
            Event::JobDone(_, Ok(bytes)) if bytes.is_empty() => {
                self.run(Chore::Endless(true), LONG, io);
            }
            Event::JobDone(_, Ok(bytes)) => {
                io.set_timer(None);
                say(bytes, io);
            }
            Event::JobDone(_, Err(JobError::Rejected)) => {
                io.set_timer(None);
                say(b"too many".to_vec(), io);
            }
            Event::Timer => {
                self.job += 1;
                say(b"too late".to_vec(), io);
            }
            Event::Sent(mark) => {
                assert_eq!(mark, Mark(1));
                assert!(io.outbox().is_empty());
                io.receive(io.now() + LONG, true, None);
            }
            Event::ReceiveTimedOut => say(b"too late".to_vec(), io),
            Event::SendFailed(error) => {
                assert!(!matches!(error, SendError::Truncated { .. }));
                let _nobody_waits = self.gave_up.send(io.outbox().moved());
                io.close();
            }
            Event::Closing(_) => {}
            _ => io.close(),
        }
    }
}

/// Receives the number of bytes of sends that ended early.
pub struct ScriptedService(pub Mutex<Sender<u64>>);

impl Service for ScriptedService {
    type Task = ScriptedTask;

    fn connect(&self, _: Peer, _: Instant) -> ScriptedTask {
        ScriptedTask { job: 0, gave_up: self.0.lock().unwrap().clone() }
    }
}

/// Of two reactors, where there can be several.
pub fn config(model: Model, topology: Topology) -> Config {
    let two = NonZeroUsize::new(2).unwrap();
    // Several event loops that never wait leave too little of a small machine for their clients.
    let yields = model == Model::Nonblocking;
    let (model, topology) = (Some(model), Some(topology));
    Config::builder().model(model).topology(topology).yields(yields).build(two).unwrap()
}

/// Runs `script` against a server in every config, and the server to its end.
pub fn everywhere(limits: Limits, script: impl Fn(SocketAddr, &Shutdown, &str)) {
    everywhere_hearing(limits, |address, stop, name, _| script(address, stop, name));
}

/// The same, and receives the bytes of sends that ended early.
pub fn everywhere_hearing(
    limits: Limits,
    script: impl Fn(SocketAddr, &Shutdown, &str, &Receiver<u64>),
) {
    for &(model, topology) in ALLOWED {
        serve(config(model, topology), limits, &script);
    }
}

/// Runs `script` against a server of this config, and the server to its end.
pub fn serve(
    config: Config,
    limits: Limits,
    script: impl Fn(SocketAddr, &Shutdown, &str, &Receiver<u64>),
) {
    let (sender, given_up) = mpsc::channel();
    let service = ScriptedService(Mutex::new(sender));
    serve_with(config, limits, &service, |address, stop, name| {
        script(address, stop, name, &given_up);
    });
}

/// The same with another service.
pub fn serve_with<S: Service>(
    config: Config,
    limits: Limits,
    service: &S,
    script: impl Fn(SocketAddr, &Shutdown, &str),
) {
    let name = format!("{} × {}", config.model(), config.topology());
    let bound = Server::bind(config, &["127.0.0.1:0".parse().unwrap()]).unwrap();
    let Some(&Address::Tcp(address)) = bound.addresses().next() else { panic!("{name}") };
    let stop = Shutdown::new();
    thread::scope(|scope| {
        let server = scope.spawn(|| bound.run(service, limits, &stop));
        // A script that panics would wait for the server for ever.
        let stops = StopsWhenDropped(&stop);
        script(address, &stop, &name);
        drop(stops);
        server.join().unwrap().unwrap();
    });
}

struct StopsWhenDropped<'a>(&'a Shutdown);

impl Drop for StopsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

pub fn many() -> Limits {
    Limits::new(1000, LONG)
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

pub fn ask(stream: &mut TcpStream, order: &[u8], answer: &[u8], name: &str) {
    stream.write_all(order).unwrap();
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, answer, "{name}");
}

/// One read. The signals of model posix-aio go to any thread, and a read with a timeout is not
/// restarted (signal(7)).
pub fn try_read(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

pub fn read_some(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    try_read(stream, buffer).unwrap()
}

pub fn end_of(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}
