//! Processes that do what is counted: one sends or serves, one receives or asks, each on cores of
//! its own, so that tgids tell them apart and nothing of the laboratory's own is counted with them.
//!
//! A worker is the same program started again, with a word that makes it call [`work`]. It reads
//! orders from its standard input and answers on its standard output, a line of JSON each, and
//! ends with its input.

mod cold_file;
mod command;
mod echo_clients;
mod echo_service;
mod http_client;
mod http_exchange;
mod limits;
mod load_generator;
mod receiver;
mod selector_bench;
mod sender;
mod serve;
mod server_process;
mod worker;

pub(crate) use load_generator::ClientKind;
pub(crate) use server_process::{CoreSplit, ServerProcess};
pub(crate) use worker::Worker;
pub use worker::WorkerCommand;

use serde_json::{Value, json};
use std::io::{self, BufRead as _, Write as _};
use std::net::Ipv4Addr;

use crate::error::{Error, ErrorContext as _, Result};
use crate::probe;
use command::{number, text};

/// Does what it is told on standard input until that ends: the whole life of a worker.
///
/// # Errors
/// Where nobody listens to the answers.
pub fn work() -> io::Result<()> {
    // A worker never outlives who started it, not even one that waits in a system call.
    let _without_it =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mut state = WorkerState::default();
    for line in io::stdin().lock().lines() {
        let command = serde_json::from_str(&line?).unwrap_or_default();
        let reply = match state.execute(&command) {
            Ok(result) => json!({ "ok": result }),
            Err(error) => {
                // Whoever traces this waits for both marks, and it may have come to neither.
                probe::mark::begin();
                probe::mark::end();
                json!({ "error": error.to_string() })
            }
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{reply}")?;
        out.flush()?;
    }
    Ok(())
}

/// What a worker can do, and what it holds meanwhile.
#[derive(Default)]
struct WorkerState {
    sender: sender::Sender,
    receiver: receiver::Receiver,
    selector_bench: selector_bench::SelectorBench,
    echo_clients: echo_clients::EchoClients,
    load: load_generator::LoadGenerator,
    client: http_client::HttpClient,
}

impl WorkerState {
    fn execute(&mut self, command: &Value) -> Result<Value> {
        match text(command, "command")? {
            "pin" => pin(command),
            "sleep" => sleep(command),
            "flush-network" => flush_network(),
            "mark" => mark(command),
            "connect" => self.sender.connect(command),
            "send-file" => self.sender.send_file(command),
            "copy-in-user-space" => self.sender.copy_in_user_space(command),
            "read-file" => sender::read_file(command),
            "pipe" => sender::pipe(command),
            "send-datagrams" => sender::send_datagrams(command),
            "prepare-wait" => self.selector_bench.prepare(command),
            "wait" => self.selector_bench.wait(command),
            "limits" => limits::limits(),
            "read-clock" => limits::read_clock(command),
            "listen" => self.receiver.listen(command),
            "receive" => self.receiver.receive(command),
            "serve" => serve::serve(command),
            "usage" => Ok(serve::usage()),
            "threads" => serve::threads(),
            "connect-echo" => self.echo_clients.connect(command),
            "echo" => self.echo_clients.echo(command),
            "block-job" => self.echo_clients.block_job(command),
            "unanswered" => self.echo_clients.unanswered(),
            "unblock-job" => self.echo_clients.unblock_job(),
            "connect-clients" => self.load.connect(command),
            "run-load" => self.load.run(command),
            "connect-http" => self.client.connect(command),
            "http-request" => self.client.request(command),
            "disconnect-clients" => Ok(self.load.disconnect()),
            other => configure_network(other, command),
        }
    }
}

/// What has to do with networks of one's own.
fn configure_network(what: &str, command: &Value) -> Result<Value> {
    match what {
        "enter-network" => {
            let user_of = command["user_of"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            karez_lab_sys::enter_private_network(user_of).context("make", "a network")?;
            karez_lab_sys::set_link_up("lo").context("set up", "lo")?;
            Ok(json!(
                karez_lab_sys::network_namespace_inode().context("stat", "/proc/self/ns/net")?
            ))
        }
        "add-veth" => {
            let of =
                u32::try_from(number(command, "peer_process")?).context("read", "a process id")?;
            let made = karez_lab_sys::add_veth(text(command, "name")?, text(command, "peer")?, of);
            made.context("make", "a veth").map(|()| Value::Null)
        }
        "add-dummy" => {
            let made = karez_lab_sys::add_dummy(text(command, "name")?);
            made.context("make", "a dummy device").map(|()| Value::Null)
        }
        "add-address" => {
            let address: Ipv4Addr =
                text(command, "address")?.parse().context("read", "an address")?;
            let name = text(command, "name")?;
            let addressed = karez_lab_sys::add_address(name, address);
            addressed.context("give an address to", name)?;
            karez_lab_sys::set_link_up(name).context("set up", name).map(|()| Value::Null)
        }
        "set-scatter-gather" => {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("open", "a socket")?;
            let fd = std::os::fd::AsFd::as_fd(&socket);
            let on = command["on"].as_bool().unwrap_or(true);
            let set = karez_lab_sys::set_scatter_gather(fd, text(command, "name")?, on);
            set.context("change", "scatter-gather").map(|()| Value::Null)
        }
        other => Err(Error::new("command", other, "nobody knows how")),
    }
}

/// Stays on the core with this number among those allowed, counted around, or on the cores that are
/// named.
fn pin(command: &Value) -> Result<Value> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    if let Some(named) = command["cores"].as_array() {
        let mut those = CpuSet::new();
        named
            .iter()
            .filter_map(Value::as_u64)
            .filter_map(|core| usize::try_from(core).ok())
            .for_each(|core| those.set(core));
        sched_setaffinity(None, &those).context("pin to", &command["cores"])?;
        return Ok(command["cores"].clone());
    }
    let allowed = sched_getaffinity(None).context("ask for", "cores")?;
    let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    let wanted = usize::try_from(number(command, "core")?).context("read", "a core")?;
    let core = cores[wanted % cores.len().max(1)];
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).context("pin to", format_args!("core {core}"))?;
    Ok(json!(core))
}

/// Makes the network of this core do something: packets that were read may wait there to be freed
/// (Linux 6.0), and keep pages of the file in the cache meanwhile.
fn flush_network() -> Result<Value> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").context("open", "a socket")?;
    let own = socket.local_addr().context("ask for", "an address")?;
    socket.send_to(&[0], own).context("send to", own)?;
    socket.recv(&mut [0]).context("receive from", own)?;
    Ok(Value::Null)
}

/// Begins or ends what is counted of the other threads.
fn mark(command: &Value) -> Result<Value> {
    match text(command, "edge")? {
        "begin" => probe::mark::begin(),
        _ => probe::mark::end(),
    }
    Ok(Value::Null)
}

/// Sleeps: one system call and nothing else.
fn sleep(command: &Value) -> Result<Value> {
    let time = std::time::Duration::from_millis(number(command, "milliseconds")?);
    probe::mark::begin();
    std::thread::sleep(time);
    probe::mark::end();
    Ok(Value::Null)
}
