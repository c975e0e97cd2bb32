//! Passes on what comes, to another server and back, by splice where the model can:
//! `proxy --model epoll-edge 127.0.0.1:7777 127.0.0.1:80`.
//!
//! What it does badly: it connects in a job, which in topology single holds up everybody.

use karez_reactor::{Event, Job, NoMail, Peer, Service, Task, Want};
use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod command_line;

const PATIENCE: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(300);

/// Where everybody is led.
pub struct Proxy(pub SocketAddr);

/// One who is led there, and what is next.
pub struct Client(Want<Connect>);

/// Connects to the upstream.
pub struct Connect(SocketAddr);

impl Job for Connect {
    type Done = io::Result<TcpStream>;

    fn run(self) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&self.0, PATIENCE)
    }
}

impl Service for Proxy {
    type Task = Client;

    fn connect(&self, _: Peer, now: Instant) -> Client {
        Client(Want::Work { job: Connect(self.0), until: now + PATIENCE })
    }
}

impl Task for Client {
    type Job = Connect;
    type Mail = NoMail;

    fn want(&mut self) -> Want<Connect> {
        mem::replace(&mut self.0, Want::Close)
    }

    fn hear(&mut self, event: Event<'_, io::Result<TcpStream>>, _: Instant) {
        if let Event::Worked(Ok(upstream)) = event {
            self.0 = Want::Relay { upstream: upstream.into(), stall: STALL };
        }
    }
}

fn main() -> ExitCode {
    let upstream = |rest: &[String]| match rest {
        [upstream] => upstream.parse().ok().map(Proxy),
        _ => None,
    };
    command_line::serve(upstream, "LISTEN UPSTREAM")
}
