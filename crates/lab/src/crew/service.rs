//! The worker that serves: `karez-server` on `karez-reactor`, the code of `karez serve`, in threads
//! of their own beside the one that takes orders.

use karez_reactor::{Bound, Layout, Limits, Model, Stop, Topology, Wishes};
use karez_server::{FileService, Log, Options, Patience, Stamps};
use karez_transfer::Via;
use serde_json::{Value, json};
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::order::text;
use crate::error::{Doing as _, Error, Result};

/// Nobody but the laboratory connects.
const CONNECTIONS: usize = 16;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server of this worker, until it ends or another is asked for.
#[derive(Default)]
pub(super) struct Server {
    running: Option<(Stop, JoinHandle<io::Result<()>>)>,
}

impl Server {
    /// Serves a directory by a model, a via and a topology; the answer is where.
    pub(super) fn serve(&mut self, order: &Value) -> Result<Value> {
        self.end();
        let wishes = Wishes {
            model: Some(word::<Model>(order, "model")?),
            topology: Some(word::<Topology>(order, "topology")?),
            ..Wishes::default()
        };
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let layout = Layout::choose(&wishes, cores).doing("lay out", "threads")?;
        let address = text(order, "at")?.parse().doing("read", "an address")?;
        let bound = Bound::bind(layout, &[address]).doing("listen at", text(order, "at")?)?;
        let at = bound.addresses().next().map(ToString::to_string);
        let (stop, options) = (Stop::new(), options(order)?);
        let lost = |count| format!("karez: {count} notices were dropped");
        let notices = Log::start("karez-notices", io::stderr(), lost).doing("start", "a log")?;
        let service = FileService::open(options, None, notices, stop.clone());
        let service = service.doing("serve", text(order, "root")?)?;
        let limits = Limits { connections: CONNECTIONS, grace: Duration::ZERO };
        let run = move || service.run(bound, limits);
        let thread = thread::Builder::new().name("karez-serve".to_owned()).spawn(run);
        self.running = Some((stop, thread.doing("start", "a thread")?));
        Ok(json!(at))
    }

    fn end(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.begin();
            let _how_it_ended = thread.join();
        }
    }
}

fn options(order: &Value) -> Result<Options> {
    Ok(Options {
        root: PathBuf::from(text(order, "root")?),
        index: Vec::new(),
        listing: false,
        hidden: true,
        stamps: Stamps::default(),
        via: word::<Via>(order, "via")?,
        patience: Patience { head: PATIENCE, idle: PATIENCE, send: PATIENCE },
    })
}

fn word<T: FromStr<Err: std::fmt::Display>>(order: &Value, name: &'static str) -> Result<T> {
    let word = text(order, name)?;
    word.parse().map_err(|error| Error::new("read", word, error))
}
