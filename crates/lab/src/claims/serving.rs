//! Claims about servers: io_uring, threads, and how the kernel distributes connections.

use karez_reactor::Model;
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept, bind, getsockname, listen, socket_with,
};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;

use super::bench::{ClaimsBench, MANY, SOME};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::ratio::{Order, costs_less, noise};
use super::verdict::Verdict;
use crate::error::ErrorContext as _;
use crate::language::msg;
use crate::models::{Models, RequestRow};
use crate::selftest::ExperimentError;

/// Subjects of the ratios.
const ONE_IN_FLIGHT: &str = msg!("uring/epoll-edge, 1 in flight");
const MANY_IN_FLIGHT: &str = msg!("uring/epoll-edge, 64 in flight");
const THREADS: &str = msg!("blocking, 1,000/64 connections");
const THREADS_AND_EPOLL: &str = msg!("blocking/epoll-edge, 1,000 connections");

/// Connections and listeners of the experiment on SO_REUSEPORT.
const CONNECTIONS: u64 = 400;
const LISTENERS: u64 = 4;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 38,
        name: "uring-faster",
        statement: msg!("io_uring is faster than epoll"),
        reason: msg!(
            "io_uring submits many operations by one call, so it gains with many requests in flight; \
             with one in flight, each takes about as many calls"
        ),
        needs: &[],
        experiment: uring_and_epoll,
        rule: |evidence| {
            let orders = [evidence.order(ONE_IN_FLIGHT)?, evidence.order(MANY_IN_FLIGHT)?];
            Some(costs_less(&orders, msg!("the number of requests in flight")))
        },
    },
    Claim {
        number: 43,
        name: "reuseport-balances",
        statement: msg!("SO_REUSEPORT balances connections over the listeners"),
        reason: msg!(
            "the kernel selects the listener by a hash of the addresses and ports: it knows neither the \
             queues nor the load"
        ),
        needs: &[],
        experiment: listeners,
        rule: |evidence| {
            let fair = evidence.count("connections")? / evidence.count("listeners")?.max(1);
            if evidence.count("fewest of a listener")? * 2 < fair {
                return Some(Verdict::Refuted);
            }
            let what = msg!(
                "what is balanced: the numbers are about equal, but a listener that does not accept \
                 gets its share too"
            );
            Some(match evidence.count("waiting at the listener that does not accept")? {
                0 => Verdict::Confirmed,
                _ => Verdict::DependsOn(what.to_owned()),
            })
        },
    },
    Claim {
        number: 44,
        name: "thread-per-connection",
        statement: msg!("one thread per connection does not scale"),
        reason: msg!(
            "a sleeping thread costs memory but no CPU; a wake-up does not depend on the number of \
             sleeping threads"
        ),
        needs: &[],
        experiment: threads,
        rule: |evidence| {
            let what = msg!(
                "the limit of threads: up to the measured number the CPU time per request does not \
                 rise"
            );
            Some(match evidence.order(THREADS)? {
                Order::More => Verdict::Confirmed,
                Order::Unclear => noise(),
                Order::Less | Order::Same => Verdict::DependsOn(what.to_owned()),
            })
        },
    },
];

fn uring_and_epoll(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let models = bench.requests()?;
    let mut evidence = Evidence::default();
    for (subject, active) in [(ONE_IN_FLIGHT, 1), (MANY_IN_FLIGHT, SOME)] {
        let uring = row(models, Model::Uring, SOME, active)?;
        let epoll = row(models, Model::EpollEdge, SOME, active)?;
        for (name, row) in [("uring", uring), ("epoll-edge", epoll)] {
            if let Some(calls) = row.total_calls() {
                let name = format!("{name}, {active}: {}", msg!("system calls per request"));
                evidence = evidence.with(name, calls);
            }
        }
        evidence = evidence.with_ratio(subject, &cpu_of(uring, epoll));
    }
    Ok(evidence)
}

fn threads(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let models = bench.requests()?;
    let few = row(models, Model::Blocking, SOME, SOME)?;
    let many = row(models, Model::Blocking, MANY, SOME)?;
    let epoll = row(models, Model::EpollEdge, MANY, SOME)?;
    let limit = fs::read_to_string("/proc/sys/kernel/threads-max").ok();
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
    Ok(Evidence::default()
        .with(msg!("threads"), many.threads.values().sum::<u64>())
        .with(msg!("threads-max"), limit.unwrap_or(0))
        .with_ratio(THREADS, &cpu_of(many, few))
        .with_ratio(THREADS_AND_EPOLL, &cpu_of(many, epoll)))
}

/// Returns a row with timed runs.
fn row(
    models: &Models,
    model: Model,
    connections: u32,
    active: u32,
) -> Result<&RequestRow, ExperimentError> {
    let wanted = (model, connections, active);
    let mut rows = models.requests.iter();
    let row = rows.find(|row| (row.model, row.connections, row.active) == wanted);
    row.filter(|row| !row.timed.is_empty()).ok_or_else(|| {
        let name = model.name();
        let mut reasons = models.skipped.iter().filter(|(subject, _)| subject.contains(name));
        let reason = reasons.next().map_or("it was not measured", |(_, reason)| reason);
        ExperimentError::Skipped(format!("{name}, {connections} connections: {reason}"))
    })
}

/// Pairs the runs of two rows: those of one round.
fn cpu_of(first: &RequestRow, second: &RequestRow) -> Vec<(f64, f64)> {
    first.timed.iter().zip(&second.timed).map(|(first, second)| (first.cpu, second.cpu)).collect()
}

fn listeners(_: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut port = 0;
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        let listener = listen_shared(port).context("listen with", "SO_REUSEPORT")?;
        let own = getsockname(&listener).context("get the address of", "a socket")?;
        port = SocketAddr::try_from(own).context("get the address of", "a socket")?.port();
        listeners.push(listener);
    }
    let mut counts = vec![0_u64; listeners.len()];
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect to", port)?);
        // The first listener accepts nothing before the end.
        for (listener, count) in listeners.iter().zip(&mut counts).skip(1) {
            *count += accept_all(listener);
        }
    }
    let waiting = accept_all(&listeners[0]);
    for (listener, count) in listeners.iter().zip(&mut counts) {
        *count += accept_all(listener);
    }
    counts[0] += waiting;
    Ok(Evidence::default()
        .with(msg!("connections"), counts.iter().sum::<u64>())
        .with(msg!("listeners"), listeners.len())
        .with(msg!("fewest of a listener"), counts.iter().copied().min().unwrap_or(0))
        .with(msg!("most of a listener"), counts.iter().copied().max().unwrap_or(0))
        .with(msg!("waiting at the listener that does not accept"), waiting))
}

/// Listens on a port of loopback that several sockets share; 0 selects one.
fn listen_shared(port: u16) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    listen(&socket, i32::try_from(CONNECTIONS).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// Accepts and closes the waiting connections, and returns their number.
fn accept_all(listener: &OwnedFd) -> u64 {
    let mut count = 0;
    while accept(listener).is_ok() {
        count += 1;
    }
    count
}
