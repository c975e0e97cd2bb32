//! Worker processes: separate processes for sending, serving, receiving and requesting, pinned to
//! separate cores, so that the counters can tell them apart by tgid and count nothing of the
//! laboratory itself.
//!
//! A worker is the same program with arguments that make it call [`work`]. It reads commands from
//! standard input and replies on standard output, one line of JSON each, until the end of its
//! input.

mod cold_file;
mod command;
mod costs;
mod drained_events;
mod echo_clients;
mod echo_service;
mod framed;
mod http_client;
mod http_exchange;
mod limits;
mod load_generator;
mod receiver;
mod ring;
mod round_trips;
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

/// Executes commands from standard input until its end; this is the main function of a worker.
///
/// # Errors
/// If a reply cannot be written.
pub fn work() -> io::Result<()> {
    // Ends the worker with its parent, even during a blocking system call.
    let _without_it =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mut state = WorkerState::default();
    for line in io::stdin().lock().lines() {
        let command = serde_json::from_str(&line?).unwrap_or_default();
        let reply = match state.execute(&command) {
            Ok(result) => json!({ "ok": result }),
            Err(error) => {
                // A tracer waits for both marks, which a failed command may not have reached.
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

/// The state of a worker between commands.
#[derive(Default)]
struct WorkerState {
    sender: sender::Sender,
    receiver: receiver::Receiver,
    round_trips: round_trips::RoundTrips,
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
            "sender-options" => Ok(self.sender.set_options(command)),
            "connect" => self.sender.connect(command),
            "send-file" => self.sender.send_file(command),
            "copy-in-user-space" => self.sender.copy_in_user_space(command),
            "send-frames" => framed::send_frames(&self.sender.take_connection()?, command),
            "send-sealed" => framed::send_sealed(&self.sender.take_connection()?, command),
            "read-file" => sender::read_file(command),
            "pipe" => sender::pipe(command),
            "send-datagrams" => sender::send_datagrams(command),
            "prepare-wait" => self.selector_bench.prepare(command),
            "wait" => self.selector_bench.wait(command),
            "limits" => limits::limits(),
            "read-clock" => limits::read_clock(command),
            "switch-threads" => costs::switch_threads(command),
            "touch-pages" => costs::touch_pages(command),
            "read-blocks" => ring::read_blocks(command),
            "ring-datagrams" => ring::ring_datagrams(command),
            "drain-events" => drained_events::drain_events(command),
            "send-two-parts" => costs::send_two_parts(command),
            "listen" => self.receiver.listen(command),
            "receive" => self.receiver.receive(command),
            "listen-round-trips" => self.round_trips.listen(command),
            "answer-round-trips" => self.round_trips.answer(),
            "make-round-trips" => round_trips::make(command),
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

/// Executes a command that configures a private network.
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
            let name = text(command, "name")?;
            karez_lab_sys::add_dummy(name).context("make", "a dummy device")?;
            if let Some(mtu) = command["mtu"].as_u64() {
                let mtu = u32::try_from(mtu).context("read", "an MTU")?;
                karez_lab_sys::set_mtu(name, mtu).context("set the MTU of", name)?;
            }
            Ok(Value::Null)
        }
        "add-address" => {
            let address: Ipv4Addr =
                text(command, "address")?.parse().context("read", "an address")?;
            let name = text(command, "name")?;
            let addressed = karez_lab_sys::add_address(name, address);
            addressed.context("add an address to", name)?;
            karez_lab_sys::set_link_up(name).context("set up", name).map(|()| Value::Null)
        }
        "set-offload" => set_offload(command),
        other => Err(Error::new("command", other, "unknown command")),
    }
}

/// Turns an offload of a device on or off.
fn set_offload(command: &Value) -> Result<Value> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("open", "a socket")?;
    let set = match text(command, "offload")? {
        "receive" => karez_lab_sys::set_receive_offload,
        "segmentation" => karez_lab_sys::set_segmentation_offload,
        "scatter-gather" => karez_lab_sys::set_scatter_gather,
        other => return Err(Error::new("change", other, "unknown offload")),
    };
    let on = command["on"].as_bool().unwrap_or(true);
    let done = set(std::os::fd::AsFd::as_fd(&socket), text(command, "name")?, on);
    done.context("change an offload of", text(command, "name")?).map(|()| Value::Null)
}

/// Pins the worker to the given cores, or to the allowed core with the given index modulo their
/// number.
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
    let allowed = sched_getaffinity(None).context("get", "the CPU affinity")?;
    let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    let wanted = usize::try_from(number(command, "core")?).context("read", "a core")?;
    let core = cores[wanted % cores.len().max(1)];
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).context("pin to", format_args!("core {core}"))?;
    Ok(json!(core))
}

/// Sends and receives a datagram on this core, which frees received packets that still hold pages
/// of the file (Linux 6.0).
fn flush_network() -> Result<Value> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").context("open", "a socket")?;
    let own = socket.local_addr().context("get the address of", "a socket")?;
    socket.send_to(&[0], own).context("send to", own)?;
    socket.recv(&mut [0]).context("receive from", own)?;
    Ok(Value::Null)
}

/// Marks the begin or end of counting for the other threads.
fn mark(command: &Value) -> Result<Value> {
    match text(command, "edge")? {
        "begin" => probe::mark::begin(),
        _ => probe::mark::end(),
    }
    Ok(Value::Null)
}

/// Sleeps: a single system call.
fn sleep(command: &Value) -> Result<Value> {
    let time = std::time::Duration::from_millis(number(command, "milliseconds")?);
    probe::mark::begin();
    std::thread::sleep(time);
    probe::mark::end();
    Ok(Value::Null)
}
