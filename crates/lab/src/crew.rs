//! Processes that do what is counted: one sends or serves, one receives or asks, each on cores of
//! its own, so that tgids tell them apart and nothing of the laboratory's own is counted with them.
//!
//! A worker is the same program started again, with a word that makes it call [`work`]. It reads
//! orders from its standard input and answers on its standard output, a line of JSON each, and
//! ends with its input.

mod client;
mod cold;
mod crowd;
mod errand;
mod exchange;
mod host;
mod limits;
mod load;
mod order;
mod receiver;
mod sender;
mod server;
mod watcher;
mod worker;

pub(crate) use load::Kind;
pub(crate) use server::{Cores, Server};
pub(crate) use worker::Worker;
pub use worker::Workers;

use serde_json::{Value, json};
use std::io::{self, BufRead as _, Write as _};
use std::net::Ipv4Addr;

use crate::error::{Error, ErrorContext as _, Result};
use crate::probe;
use order::{number, text};

/// Does what it is told on standard input until that ends: the whole life of a worker.
///
/// # Errors
/// Where nobody listens to the answers.
pub fn work() -> io::Result<()> {
    // A worker never outlives who started it, not even one that waits in a system call.
    let _without_it =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mut skills = Skills::default();
    for line in io::stdin().lock().lines() {
        let order = serde_json::from_str(&line?).unwrap_or_default();
        let answer = match skills.obey(&order) {
            Ok(answer) => json!({ "ok": answer }),
            Err(error) => {
                // Whoever traces this waits for both marks, and it may have come to neither.
                probe::mark::begin();
                probe::mark::end();
                json!({ "error": error.to_string() })
            }
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// What a worker can do, and what it holds meanwhile.
#[derive(Default)]
struct Skills {
    sender: sender::Sender,
    receiver: receiver::Receiver,
    watcher: watcher::Watcher,
    crowd: crowd::Crowd,
    load: load::Load,
    client: client::Client,
}

impl Skills {
    fn obey(&mut self, order: &Value) -> Result<Value> {
        match text(order, "do")? {
            "pin" => pin(order),
            "rest" => rest(order),
            "stir" => stir(),
            "mark" => mark(order),
            "connect" => self.sender.connect(order),
            "push" => self.sender.push(order),
            "copy-in-user-space" => self.sender.copy_in_user_space(order),
            "read" => sender::read(order),
            "pipe" => sender::pipe(order),
            "datagrams" => sender::datagrams(order),
            "lay" => self.watcher.lay(order),
            "watch" => self.watcher.watch(order),
            "limits" => limits::limits(),
            "clock" => limits::clock(order),
            "listen" => self.receiver.listen(order),
            "take" => self.receiver.take(order),
            "serve" => host::serve(order),
            "spent" => Ok(host::spent()),
            "threads" => host::threads(),
            "gather" => self.crowd.gather(order),
            "round" => self.crowd.round(order),
            "hold" => self.crowd.hold(order),
            "unanswered" => self.crowd.unanswered(),
            "release" => self.crowd.release(),
            "approach" => self.load.approach(order),
            "load" => self.load.load(order),
            "call" => self.client.call(order),
            "request" => self.client.request(order),
            "leave" => Ok(self.load.leave()),
            other => lay_network(other, order),
        }
    }
}

/// What has to do with networks of one's own.
fn lay_network(what: &str, order: &Value) -> Result<Value> {
    match what {
        "network" => {
            let with = order["with"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            karez_lab_sys::enter_private_network(with).context("make", "a network")?;
            karez_lab_sys::set_link_up("lo").context("set up", "lo")?;
            Ok(json!(
                karez_lab_sys::network_namespace_inode().context("stat", "/proc/self/ns/net")?
            ))
        }
        "cable" => {
            let of = u32::try_from(number(order, "of")?).context("read", "a process id")?;
            let made = karez_lab_sys::add_veth(text(order, "name")?, text(order, "peer")?, of);
            made.context("make", "a veth").map(|()| Value::Null)
        }
        "dummy" => {
            let made = karez_lab_sys::add_dummy(text(order, "name")?);
            made.context("make", "a dummy device").map(|()| Value::Null)
        }
        "up" => {
            let address: Ipv4Addr =
                text(order, "address")?.parse().context("read", "an address")?;
            let name = text(order, "name")?;
            let addressed = karez_lab_sys::add_address(name, address);
            addressed.context("give an address to", name)?;
            karez_lab_sys::set_link_up(name).context("set up", name).map(|()| Value::Null)
        }
        "scatter-gather" => {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("open", "a socket")?;
            let fd = std::os::fd::AsFd::as_fd(&socket);
            let on = order["on"].as_bool().unwrap_or(true);
            let set = karez_lab_sys::set_scatter_gather(fd, text(order, "name")?, on);
            set.context("change", "scatter-gather").map(|()| Value::Null)
        }
        other => Err(Error::new("do", other, "nobody knows how")),
    }
}

/// Stays on the core with this number among those allowed, counted around, or on the cores that are
/// named.
fn pin(order: &Value) -> Result<Value> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    if let Some(named) = order["cores"].as_array() {
        let mut those = CpuSet::new();
        named
            .iter()
            .filter_map(Value::as_u64)
            .filter_map(|core| usize::try_from(core).ok())
            .for_each(|core| those.set(core));
        sched_setaffinity(None, &those).context("pin to", &order["cores"])?;
        return Ok(order["cores"].clone());
    }
    let allowed = sched_getaffinity(None).context("ask for", "cores")?;
    let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    let wanted = usize::try_from(number(order, "core")?).context("read", "a core")?;
    let core = cores[wanted % cores.len().max(1)];
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).context("pin to", format_args!("core {core}"))?;
    Ok(json!(core))
}

/// Makes the network of this core do something: packets that were read may wait there to be freed
/// (Linux 6.0), and keep pages of the file in the cache meanwhile.
fn stir() -> Result<Value> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").context("open", "a socket")?;
    let own = socket.local_addr().context("ask for", "an address")?;
    socket.send_to(&[0], own).context("send to", own)?;
    socket.recv(&mut [0]).context("receive from", own)?;
    Ok(Value::Null)
}

/// Begins or ends what is counted of the other threads.
fn mark(order: &Value) -> Result<Value> {
    match text(order, "what")? {
        "begin" => probe::mark::begin(),
        _ => probe::mark::end(),
    }
    Ok(Value::Null)
}

/// Sleeps: one system call and nothing else.
fn rest(order: &Value) -> Result<Value> {
    let time = std::time::Duration::from_millis(number(order, "milliseconds")?);
    probe::mark::begin();
    std::thread::sleep(time);
    probe::mark::end();
    Ok(Value::Null)
}
