//! Relays bytes to another server and back, by splice where the model can:
//! `proxy --model epoll-edge 127.0.0.1:7777 127.0.0.1:80`.
//!
//! # Limitations
//!
//! It connects in a job, which in topology single blocks all connections.

use karez_reactor::{Event, Io, Job, JobId, Peer, Service, Task};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod command_line;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// Proxies every connection to this address.
pub struct Proxy(pub SocketAddr);

/// One connection.
pub struct Client(SocketAddr);

/// Connects to the upstream.
pub struct Connect(SocketAddr);

impl Job for Connect {
    type Done = io::Result<TcpStream>;

    fn run(self) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&self.0, CONNECT_TIMEOUT)
    }
}

impl Service for Proxy {
    type Task = Client;

    fn connect(&self, _: Peer, _: Instant) -> Client {
        Client(self.0)
    }
}

impl Task for Client {
    type Job = Connect;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, Connect>) {
        match event {
            Event::Opened(_) => {
                let _one_job = io.run(JobId(0), Connect(self.0));
            }
            Event::JobDone(_, Ok(Ok(upstream))) => io.relay(upstream.into(), STALL_TIMEOUT),
            Event::Closing(_) => {}
            _ => io.close(),
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
