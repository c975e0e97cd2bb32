//! One timed run: a server of its own, its clients, and what came of it.

use serde_json::json;

use super::held::reactors;
use super::plan::Plan;
use super::row::Row;
use super::sample::{Answers, Sample, small};
use super::site::Site;
use crate::crew::{Cores, Kind, Server, Worker};
use crate::error::Result;

/// Runs it once.
pub(super) fn run(
    plan: &Plan,
    cores: &Cores,
    site: &Site,
    clients: &mut Worker,
    row: &Row,
) -> Result<Sample> {
    site.warm()?;
    let mut server = Server::start(
        &plan.workers,
        cores,
        json!({
            "model": row.model.name(), "topology": row.topology.name(),
            "reactors": reactors(cores), "at": "127.0.0.1:0", "root": site.root(),
        }),
    )?;
    let peers = site.peers(row.clients);
    clients.ask(&json!({ "do": "approach", "to": server.at(), "peers": peers }))?;
    let before = server.spent()?;
    let told = clients.ask(&json!({ "do": "load", "milliseconds": plan.milliseconds }))?;
    let spent = server.spent()?.since(before);
    let threads = server.threads()?;
    clients.ask(&json!({ "do": "leave" }))?;
    let of = |kind: Kind| Answers::of(&told["kinds"][kind.name()]);
    Ok(Sample {
        seconds: told["nanoseconds"].as_f64().unwrap_or(0.0) / 1e9,
        fast: of(Kind::Fast),
        slow: of(Kind::Slow),
        blocking: of(Kind::Blocking),
        cpu: small(spent.cpu),
        clients_cpu: told["cpu"].as_f64().unwrap_or(0.0),
        voluntary: small(spent.voluntary),
        involuntary: small(spent.involuntary),
        threads,
    })
}
