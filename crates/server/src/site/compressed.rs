//! The results of [compression](super::compression): a bounded number of anonymous files, the least recently used
//! of which are dropped.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use karez_http::Coding;

use super::identity::Identity;
use super::open_file::OpenFile;

/// Compresses bytes in a coding.
pub type Compressor = fn(Coding, &[u8]) -> io::Result<Vec<u8>>;

/// The memory for all results of a site, in bytes.
const MEMORY: usize = 64 << 20;
/// The number of results of a site: each is a descriptor.
const RESULTS: usize = 512;

/// The results of a site.
pub(super) struct Compressed {
    pub(super) compressor: Compressor,
    results: Mutex<Results>,
}

#[derive(Default)]
struct Results {
    of: HashMap<Key, Entry>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

/// A version of a file, by its name, in a coding.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) path: Vec<u8>,
    pub(super) version: Identity,
    pub(super) coding: Coding,
}

struct Entry {
    state: State,
    used: u64,
}

#[derive(Clone)]
enum State {
    Making,
    /// The result would not be smaller, or the file could not be read.
    Refused,
    Ready(Arc<OpenFile>),
}

/// What there is for a file and a coding.
pub(super) enum Found {
    Ready(Arc<OpenFile>),
    /// The plain file is to be sent.
    Plain,
    /// It has to be compressed.
    Absent,
}

impl Compressed {
    pub(super) fn new(compressor: Compressor) -> Self {
        Self { compressor, results: Mutex::default() }
    }

    /// Returns what there is for a version.
    pub(super) fn find(&self, key: &Key) -> Found {
        match self.lock().used(key) {
            Some(State::Ready(file)) => Found::Ready(file),
            Some(State::Making | State::Refused) => Found::Plain,
            None => Found::Absent,
        }
    }

    /// Returns whether there is no result, and will be none.
    pub(super) fn is_refused(&self, key: &Key) -> bool {
        matches!(self.lock().used(key), Some(State::Refused))
    }

    /// Lets one caller make the result of a version, or returns what there is.
    pub(super) fn claim<'a>(&'a self, key: &'a Key) -> Result<Claim<'a>, Found> {
        let mut results = self.lock();
        match results.used(key) {
            Some(State::Ready(file)) => Err(Found::Ready(file)),
            Some(State::Making | State::Refused) => Err(Found::Plain),
            None => {
                results.insert(key.clone(), State::Making);
                Ok(Claim { of: self, key, made: None })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to make a result, which is kept when this is dropped.
pub(super) struct Claim<'a> {
    of: &'a Compressed,
    key: &'a Key,
    pub(super) made: Option<Arc<OpenFile>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut results = self.of.lock();
        // This entry, and versions that are gone.
        let is_of_name = |key: &&Key| key.path == self.key.path && key.coding == self.key.coding;
        let old: Vec<Key> = results.of.keys().filter(is_of_name).cloned().collect();
        old.iter().for_each(|old| results.remove(old));
        let state = self.made.take().map_or(State::Refused, State::Ready);
        results.insert(self.key.clone(), state);
    }
}

impl Results {
    fn used(&mut self, key: &Key) -> Option<State> {
        self.clock += 1;
        let entry = self.of.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.state.clone())
    }

    fn insert(&mut self, key: Key, state: State) {
        let bytes = bytes_of(&state);
        while self.bytes + bytes > MEMORY || self.of.len() >= RESULTS {
            let settled = |(_, entry): &(&Key, &Entry)| !matches!(entry.state, State::Making);
            let oldest = self.of.iter().filter(settled).min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            self.remove(&oldest);
        }
        self.bytes += bytes;
        self.of.insert(key, Entry { state, used: self.clock });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.of.remove(key) {
            self.bytes -= bytes_of(&entry.state);
        }
    }
}

fn bytes_of(state: &State) -> usize {
    match state {
        State::Ready(file) => usize::try_from(file.size()).unwrap_or(usize::MAX),
        State::Making | State::Refused => 0,
    }
}
