//! A timed run: a fresh server and its clients.

use serde_json::json;

use super::blocked_job::reactors;
use super::plan::TopologiesPlan;
use super::row::TopologyRow;
use super::sample::{LoadSample, ResponseStats, small};
use super::test_site::TestSite;
use crate::error::Result;
use crate::workers::{ClientKind, CoreSplit, ServerProcess, Worker};

/// Runs one combination once.
pub(super) fn run(
    plan: &TopologiesPlan,
    cores: &CoreSplit,
    site: &TestSite,
    clients: &mut Worker,
    row: &TopologyRow,
) -> Result<LoadSample> {
    site.warm()?;
    let mut server = ServerProcess::start(
        &plan.workers,
        cores,
        json!({
            "model": row.model.name(), "topology": row.topology.name(),
            "reactors": reactors(cores), "at": "127.0.0.1:0", "root": site.root(),
        }),
    )?;
    let load = site.load(row.clients);
    clients.request(
        &json!({ "command": "connect-clients", "to": server.address(), "clients": load }),
    )?;
    let before = server.usage()?;
    let reply =
        clients.request(&json!({ "command": "run-load", "milliseconds": plan.milliseconds }))?;
    let usage = server.usage()?.since(before);
    let threads = server.threads()?;
    clients.request(&json!({ "command": "disconnect-clients" }))?;
    let of = |kind: ClientKind| ResponseStats::of(&reply["kinds"][kind.name()]);
    Ok(LoadSample {
        seconds: reply["nanoseconds"].as_f64().unwrap_or(0.0) / 1e9,
        fast: of(ClientKind::Fast),
        slow: of(ClientKind::Slow),
        blocking: of(ClientKind::Blocking),
        cpu: small(usage.cpu),
        clients_cpu: reply["cpu"].as_f64().unwrap_or(0.0),
        voluntary: small(usage.voluntary),
        involuntary: small(usage.involuntary),
        threads,
    })
}
