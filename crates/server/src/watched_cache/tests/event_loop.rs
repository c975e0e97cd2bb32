//! Two ways in which an event loop may rely on the cache, against clients that change a file and
//! ask for it at once: a drain behind the receives, or a wait between receiving and answering.
//!
//! The report of the wait that reported a connection proves nothing: epoll may find the request of
//! a connection that was in its ready list already, and not the event queued just before.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::{Ground, version};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Wait, receive, drain, then answer.
    DrainEachWait,
    /// Receive, wait without blocking, drain only if that wait reported it, then answer.
    WaitBetween,
}

#[test]
fn a_drain_behind_the_receives_is_exact() {
    serve(Rule::DrainEachWait);
}

#[test]
fn a_wait_between_receiving_and_answering_is_exact() {
    serve(Rule::WaitBetween);
}

struct EventLoop {
    ground: Ground,
    epoll: OwnedFd,
    connections: HashMap<u64, TcpStream>,
    rule: Rule,
    drains: u32,
    hits: u32,
    answers: u32,
}

/// Tokens of the watched descriptors; those of connections follow.
const WATCHED: u64 = 2;
const CLIENTS: usize = 3;
const ROUNDS: usize = 500;

fn serve(rule: Rule) {
    let Some(ground) = Ground::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let clients: Vec<Child> =
        (0..CLIENTS).map_while(|client| start(&ground, port, client)).collect();
    if clients.len() < CLIENTS {
        println!("skipped: python3 does not run");
        return;
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let (connections, mut token) = (HashMap::new(), 0);
    let mut event_loop =
        EventLoop { ground, epoll, connections, rule, drains: 0, hits: 0, answers: 0 };
    for (fd, flags) in event_loop.ground.cache.descriptors() {
        let flags = EventFlags::from_bits_retain(u32::from(flags.bits()));
        epoll::add(&event_loop.epoll, fd, EventData::new_u64(token), flags).unwrap();
        token += 1;
    }
    for _ in 0..CLIENTS {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&event_loop.epoll, &stream, EventData::new_u64(token), flags).unwrap();
        event_loop.connections.insert(token, stream);
        token += 1;
    }
    event_loop.run();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let EventLoop { drains, hits, answers, .. } = event_loop;
    println!("{answers} answers, {hits} of them hits, {drains} drains");
    assert!(hits > answers / 20, "{hits} of {answers}");
}

fn start(ground: &Ground, port: u16, client: usize) -> Option<Child> {
    let arguments = [port.to_string(), format!("file{client}"), ROUNDS.to_string()];
    Command::new("python3")
        .args(["-c", include_str!("client.py")])
        .args(arguments)
        .current_dir(&ground.outer)
        .stderr(Stdio::piped())
        .spawn()
        .ok()
}

impl EventLoop {
    fn run(&mut self) {
        let mut requests: Vec<(u64, String)> = Vec::new();
        while !self.connections.is_empty() || !requests.is_empty() {
            let blocks = requests.is_empty();
            let (tokens, is_fresh) = self.wait(blocks);
            if self.rule == Rule::WaitBetween {
                // They arrived before the wait that has just reported no change, or is followed by
                // a drain.
                if !is_fresh {
                    self.drain();
                }
                self.answer(&mut requests);
            }
            // Time for a change, and for a request behind it, that the wait has not seen.
            thread::sleep(Duration::from_micros(200));
            for token in tokens.into_iter().filter(|token| *token >= WATCHED) {
                self.receive(token, &mut requests);
            }
            if self.rule == Rule::DrainEachWait {
                self.drain();
                self.answer(&mut requests);
            }
        }
    }

    /// Waits, and returns the tokens reported, and whether these are all that are ready and none of
    /// them is a watched descriptor.
    fn wait(&self, blocks: bool) -> (Vec<u64>, bool) {
        let mut events = Vec::with_capacity(CAPACITY);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = (!blocks).then_some(&now);
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout).unwrap();
        let tokens: Vec<u64> = events.iter().map(|event| event.data.u64()).collect();
        let is_fresh = tokens.len() < CAPACITY && tokens.iter().all(|token| *token >= WATCHED);
        (tokens, is_fresh)
    }

    fn drain(&mut self) {
        self.ground.cache.drain();
        self.drains += 1;
    }

    fn receive(&mut self, token: u64, requests: &mut Vec<(u64, String)>) {
        let Some(mut stream) = self.connections.get(&token) else { return };
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    self.connections.remove(&token);
                    return;
                }
                Ok(length) => {
                    let text = std::str::from_utf8(&buffer[..length]).unwrap();
                    assert!(text.ends_with('\n'), "whole requests");
                    requests.extend(text.lines().map(|name| (token, name.to_owned())));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn answer(&mut self, requests: &mut Vec<(u64, String)>) {
        for (token, name) in requests.drain(..) {
            let cached = self.ground.cache.get(name.as_bytes());
            let cached = cached.map(|entry| entry.value().version.content.clone());
            self.hits += u32::from(cached.is_some());
            self.answers += 1;
            let content = cached.unwrap_or_else(|| {
                let _refused = self.ground.keep(&name);
                self.look_up(&name)
            });
            let Some(mut stream) = self.connections.get(&token) else { continue };
            stream.write_all(format!("{content}\n").as_bytes()).unwrap();
        }
    }

    /// Reads the file as a server without a cache would.
    fn look_up(&self, name: &str) -> String {
        loop {
            // Its client may be replacing it, for the next request.
            let Ok(file) = File::open(self.ground.path(name)) else { continue };
            let content = version(&file).unwrap().content;
            if content.len() == 8 {
                return content;
            }
        }
    }
}

/// Small, so that it is full now and then.
const CAPACITY: usize = 3;
