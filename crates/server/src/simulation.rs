//! The service on an event loop that a seeded schedule drives. For tests only (the feature `simulation`).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use karez_reactor::simulation::{SimulatedLoop, SimulatedModel, simulate};
use karez_reactor::{Limits, Local, Peer, Service};

use crate::connection::Connection;
use crate::live::Live;
use crate::service::FileService;
use crate::site::HotFiles;

/// The event loop that a [`FileService`] is simulated on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SimulatedServer {
    /// Its model.
    pub model: SimulatedModel,
    /// It offloads all work that might block.
    pub pool: bool,
    /// It keeps hot files.
    pub hot_files: bool,
    /// Its limits.
    pub limits: Limits,
}

/// What a service has left behind when its event loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftovers {
    /// Bytes that listings have reserved.
    pub listing_memory: u64,
    /// Something still refers to the options, the sites and their open files.
    pub context: bool,
}

impl SimulatedServer {
    /// Returns an event loop of a model, without a pool and without hot files.
    #[must_use]
    pub fn new(model: SimulatedModel, limits: Limits) -> Self {
        Self { model, pool: false, hot_files: false, limits }
    }
}

impl FileService {
    /// Serves on a simulated event loop, which `run` drives. Returns its result, and what is left behind.
    ///
    /// # Errors
    /// As [`simulate`].
    pub fn simulate<R>(
        self,
        server: SimulatedServer,
        run: impl FnOnce(&mut dyn SimulatedLoop) -> R,
    ) -> io::Result<(R, Leftovers)> {
        let (live, stop) = self.into_live();
        let listing_memory = live.current().listing_memory.clone();
        let context = Arc::downgrade(&live.current());
        let service = SimulatedService { live, hot_files: server.hot_files };
        let SimulatedServer { model, pool, limits, .. } = server;
        let result = simulate(&service, model, pool, limits, &stop, run)?;
        drop(service);
        let (listing_memory, context) = (listing_memory.used(), context.strong_count() > 0);
        Ok((result, Leftovers { listing_memory, context }))
    }
}

struct SimulatedService {
    live: Arc<Live>,
    hot_files: bool,
}

impl Service for SimulatedService {
    type Task = Connection;

    fn connect(&self, peer: Peer, now: Instant) -> Connection {
        Connection::new(Arc::clone(&self.live), peer, now)
    }

    fn local(&self) -> Option<Box<dyn Local>> {
        self.hot_files.then(HotFiles::new).flatten().map(|files| Box::new(files) as _)
    }
}
