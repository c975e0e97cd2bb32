//! The configuration in use, which can be replaced while the server runs.
//!
//! A connection keeps the context that it has, and looks before each request whether there is a newer one:
//! a load of an atomic number. So a request ends under the context that it began with, and the next one
//! has the new context. The old one is dropped with its last connection or stream.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::context::ServerContext;

/// The context in use.
pub(crate) struct Live {
    current: RwLock<Arc<ServerContext>>,
    generation: AtomicU64,
}

impl Live {
    pub(crate) fn new(context: ServerContext) -> Arc<Self> {
        let generation = AtomicU64::new(context.generation);
        Arc::new(Self { current: RwLock::new(Arc::new(context)), generation })
    }

    /// Returns the context in use.
    pub(crate) fn current(&self) -> Arc<ServerContext> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether a context is in use.
    pub(crate) fn is_current(&self, context: &ServerContext) -> bool {
        self.generation.load(Ordering::Relaxed) == context.generation
    }

    /// Replaces the context. `make` gets the one in use, and an error of it changes nothing.
    pub(crate) fn replace(
        &self,
        make: impl FnOnce(&ServerContext) -> io::Result<ServerContext>,
    ) -> io::Result<()> {
        // Not under the lock: opening directories may block.
        let before = self.current();
        let mut context = make(&before)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        context.generation = current.generation + 1;
        let generation = context.generation;
        *current = Arc::new(context);
        drop(current);
        self.generation.store(generation, Ordering::Relaxed);
        before.sites.close_files();
        Ok(())
    }
}
