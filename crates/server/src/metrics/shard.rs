//! The numbers of one thread.

use std::array;
use std::sync::{Mutex, OnceLock};

use karez_http::{Status, Version};
use karez_transfer::Via;

use super::counter::Counter;
use super::histogram::Histogram;
use super::top_files::TopFiles;
use crate::closing::CloseReason;

/// The most sites that are told apart; the last one is all others.
pub(super) const SITES: usize = 64;

/// The versions of HTTP, and their names.
pub(super) const PROTOCOLS: [(Version, &str); 3] =
    [(Version::Http10, "HTTP/1.0"), (Version::Http11, "HTTP/1.1"), (Version::Http2, "HTTP/2")];

/// The index of bodies that are sent from memory, behind all vias.
const MEMORY: usize = Via::ALL.len();
/// The index of responses without a body.
const NO_BODY: usize = MEMORY + 1;
/// The vias, and these two.
pub(super) const VIAS: usize = NO_BODY + 1;

/// The numbers of one thread, on cache lines that no other thread writes to: CPUs fetch them in pairs.
#[repr(align(128))]
pub(super) struct Shard {
    pub(super) accepted: Counter,
    pub(super) closed: [Counter; CloseReason::ALL.len()],
    /// Connections with a request.
    pub(super) active: Counter,
    pub(super) in_flight: Counter,
    /// By [`FileSource`](super::FileSource).
    pub(super) files: [Counter; 3],
    pub(super) watched: Counter,
    pub(super) jobs: Counter,
    pub(super) jobs_queued: Counter,
    pub(super) jobs_running: Counter,
    /// Full, resumed, failed.
    pub(super) handshakes: [Counter; 3],
    /// By protocol: the time to the head, and to the last byte.
    pub(super) heads: [Histogram; PROTOCOLS.len()],
    pub(super) wholes: [Histogram; PROTOCOLS.len()],
    pub(super) page_ins: Histogram,
    pub(super) page_in_bytes: Counter,
    fallbacks: [[Counter; Via::ALL.len()]; Via::ALL.len()],
    sites: [OnceLock<Box<SiteCounters>>; SITES],
    /// Requests since the last one whose target was sampled, and when that was, in nanoseconds.
    pub(super) unsampled: Counter,
    pub(super) sampled_at: Counter,
    pub(super) top_files: Mutex<TopFiles>,
}

/// The responses of a site, by protocol and via.
#[derive(Default)]
pub(super) struct SiteCounters([[OnceLock<Box<Responses>>; VIAS]; PROTOCOLS.len()]);

/// Responses of a kind.
pub(super) struct Responses {
    /// In the order of [`Status::ALL`].
    pub(super) statuses: [Counter; Status::ALL.len()],
    /// Bytes of bodies.
    pub(super) bytes: Counter,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            accepted: Counter::default(),
            closed: Default::default(),
            active: Counter::default(),
            in_flight: Counter::default(),
            files: Default::default(),
            watched: Counter::default(),
            jobs: Counter::default(),
            jobs_queued: Counter::default(),
            jobs_running: Counter::default(),
            handshakes: Default::default(),
            heads: Default::default(),
            wholes: Default::default(),
            page_ins: Histogram::default(),
            page_in_bytes: Counter::default(),
            fallbacks: Default::default(),
            sites: array::from_fn(|_| OnceLock::new()),
            unsampled: Counter::default(),
            sampled_at: Counter::default(),
            top_files: Mutex::default(),
        }
    }

    /// Returns the responses of a kind; allocates at the first of them.
    pub(super) fn responses(&self, site: usize, version: Version, via: usize) -> &Responses {
        let site = self.sites[site.min(SITES - 1)].get_or_init(Box::default);
        site.0[protocol(version)][via.min(NO_BODY)].get_or_init(|| {
            let statuses = array::from_fn(|_| Counter::default());
            Box::new(Responses { statuses, bytes: Counter::default() })
        })
    }

    /// Returns the responses of all kinds: site, protocol, via.
    pub(super) fn all_responses(
        &self,
    ) -> impl Iterator<Item = ((usize, usize, usize), &Responses)> {
        let sites = self.sites.iter().enumerate();
        let sites = sites.filter_map(|(site, counters)| Some((site, counters.get()?)));
        sites.flat_map(|(site, counters)| {
            counters.0.iter().enumerate().flat_map(move |(protocol, vias)| {
                let vias = vias.iter().enumerate();
                vias.filter_map(move |(via, responses)| {
                    Some(((site, protocol, via), &**responses.get()?))
                })
            })
        })
    }

    pub(super) fn fell_back(&self, from: Via, to: Via) {
        self.fallbacks[index_of(from)][index_of(to)].add(1);
    }

    pub(super) fn fallbacks(&self, from: Via, to: Via) -> u64 {
        self.fallbacks[index_of(from)][index_of(to)].get()
    }
}

/// Returns the index of a protocol.
pub(super) fn protocol(version: Version) -> usize {
    PROTOCOLS.iter().position(|(known, _)| *known == version).unwrap_or(1)
}

/// Returns the index of a status.
pub(super) fn status(status: Status) -> usize {
    Status::ALL.iter().position(|known| *known == status).unwrap_or(0)
}

/// Returns the index of the via of a body with so many bytes; without one they were in memory.
pub(super) fn via_of_body(via: Option<Via>, bytes: u64) -> usize {
    match via {
        _ if bytes == 0 => NO_BODY,
        // It has not been chosen where an event loop reads the bytes itself.
        Some(Via::Auto) => index_of(Via::Copy),
        Some(via) => index_of(via),
        None => MEMORY,
    }
}

/// Returns the name of a via by its index.
pub(super) fn via_name(index: usize) -> &'static str {
    match Via::ALL.get(index) {
        Some(via) => via.name(),
        None if index == MEMORY => "memory",
        None => "none",
    }
}

fn index_of(via: Via) -> usize {
    Via::ALL.iter().position(|known| *known == via).unwrap_or(0)
}
