//! The archives of a site: requests for the same tree share its walk, and equal archives their index.
//!
//! A walk has no thread of its own. Each request that waits for it advances it by bounded steps, as jobs, so it
//! goes on if the client that began it closes its connection, and ends when no client waits for it.
//!
//! # Limitations
//!
//! At most 16 archives are kept for requests with `Range`, 10 s long.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use karez_transfer::Device;

use super::directory::ArchiveDirectory;
use super::error::ArchiveError;
use super::index::Archive;
use super::memory::Memory;
use super::viewer::Viewer;

/// The time for which an archive is kept for requests with `Range`.
const KEPT: Duration = Duration::from_secs(10);
/// The most archives that are kept.
const MOST: usize = 16;

/// The archives of a site that are made or were made a short time ago.
#[derive(Default)]
pub(in super::super) struct Archives {
    memory: Arc<AtomicUsize>,
    known: Mutex<Vec<Arc<Shared>>>,
}

/// An archive that requests share.
pub(super) struct Shared {
    path: Vec<u8>,
    generation: u64,
    viewer: Viewer,
    pub(super) device: Device,
    state: Mutex<State>,
}

/// Makes an archive, a bounded part of it with each call; `None` if there is more to do.
pub(super) type Maker = Box<dyn FnMut() -> Result<Option<Archive>, ArchiveError> + Send>;

enum State {
    /// The archive that was there before is kept if the new one is equal.
    Making(Maker, Option<Arc<Archive>>),
    Ready(Arc<Archive>, Instant),
    Failed(ArchiveError),
}

impl Archives {
    #[cfg(test)]
    pub(super) fn memory(&self) -> &AtomicUsize {
        &self.memory
    }

    /// Returns the account of a new archive.
    pub(super) fn new_memory(&self) -> Memory {
        Memory::new(&self.memory)
    }

    /// Returns the archive of a directory for a client: one that is made, with `ranged` one that was made a short
    /// time ago, or a new one.
    pub(super) fn share(
        &self,
        (directory, viewer): (ArchiveDirectory, Viewer),
        ranged: bool,
        now: Instant,
        make: impl FnOnce(ArchiveDirectory, Viewer) -> Maker,
    ) -> Arc<Shared> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|shared| shared.is_of_use(now));
        let generation = directory.root.generation();
        let is_same = |shared: &Arc<Shared>| {
            (&shared.path, shared.generation) == (&directory.path, generation)
                && shared.viewer == viewer
        };
        let mut before = None;
        if let Some(place) = known.iter().position(is_same) {
            match known[place].ready() {
                Some(archive) if !ranged => before = Some(archive),
                _ => return Arc::clone(&known[place]),
            }
            known.remove(place);
        } else if known.len() >= MOST {
            known.remove(0);
        }
        let (path, device) = (directory.path.clone(), directory.device);
        let state = Mutex::new(State::Making(make(directory, viewer.clone()), before));
        let shared = Arc::new(Shared { path, generation, viewer, device, state });
        known.push(Arc::clone(&shared));
        shared
    }

    /// Forgets an archive that is not ready, unless other requests wait for it.
    pub(super) fn leave(&self, shared: &Arc<Shared>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The caller has one of two.
        if Arc::strong_count(shared) <= 2 && shared.ready().is_none() {
            known.retain(|other| !Arc::ptr_eq(other, shared));
        }
    }
}

impl Shared {
    /// Returns whether a request may still use it.
    fn is_of_use(&self, now: Instant) -> bool {
        match self.state.try_lock().as_deref() {
            Ok(State::Ready(_, made)) => now.saturating_duration_since(*made) < KEPT,
            Ok(State::Failed(_)) | Err(TryLockError::Poisoned(_)) => false,
            // In the second case a worker advances it.
            Ok(State::Making(..)) | Err(TryLockError::WouldBlock) => true,
        }
    }

    fn ready(&self) -> Option<Arc<Archive>> {
        match self.state.try_lock().as_deref() {
            Ok(State::Ready(archive, _)) => Some(Arc::clone(archive)),
            _ => None,
        }
    }

    /// Advances it by a bounded amount of work. Returns it when it is complete.
    pub(super) fn advance(&self) -> Result<Option<Arc<Archive>>, ArchiveError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // While it is advanced, and after a panic, it has failed.
        let lost = ArchiveError::Failed("the walk through a directory has failed".into());
        *state = match std::mem::replace(&mut *state, State::Failed(lost)) {
            State::Making(maker, before) => made(maker, before),
            done => done,
        };
        match &*state {
            State::Making(..) => Ok(None),
            State::Ready(archive, _) => Ok(Some(Arc::clone(archive))),
            State::Failed(error) => Err(error.clone()),
        }
    }
}

fn made(mut maker: Maker, before: Option<Arc<Archive>>) -> State {
    match maker() {
        Ok(None) => State::Making(maker, before),
        Ok(Some(archive)) => {
            let is_equal =
                |before: &Arc<Archive>| archive.etag().is_some() && before.etag() == archive.etag();
            let equal = before.filter(is_equal);
            State::Ready(equal.unwrap_or_else(|| Arc::new(archive)), Instant::now())
        }
        Err(error) => State::Failed(error),
    }
}
