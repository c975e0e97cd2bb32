//! A rate that connections share: the kernel paces each of them at an equal part (`SO_MAX_PACING_RATE`, Linux 3.13,
//! which no man page has), and all parts change with the number of connections. Nothing is counted, so the bound holds
//! on every model, by every via, and below TLS and HTTP/2.
//!
//! A part changes while its connection is in the hands of an event loop that may be sending. So the group has a
//! descriptor of its own for each socket (dup(2)), which it closes when the connection ends.
//!
//! # Limitations
//!
//! An idle connection has its part, too. Where no descriptor is free for a connection, it keeps its first part. With
//! more than 64 connections the parts change at every quarter, so up to a quarter of the rate, and behind a fall of
//! the number up to half, is not used. UNIX sockets are not paced.

use karez_sys::set_max_pacing_rate;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Up to so many connections the parts are exact. Beyond it they change rarely, so that a connection costs few
/// calls whatever the number is.
const EXACT: u64 = 64;

/// A rate that connections share. Clones are the same rate.
///
/// ```
/// use karez_reactor::SharedRate;
///
/// let rate = SharedRate::new(1_000_000u64.try_into().unwrap(), None);
/// let (first, second) = (rate.join(), rate.join());
/// assert_eq!(rate.part(), 500_000);
/// drop(second);
/// assert_eq!(rate.part(), 1_000_000);
/// # drop(first);
/// ```
#[derive(Clone)]
pub struct SharedRate(Arc<Group>);

/// The place of a connection in a [`SharedRate`]. The others get its part when it is dropped.
#[must_use]
pub struct RateShare {
    group: Arc<Group>,
    number: u64,
}

/// A connection whose socket is to be paced.
pub(crate) struct PacedSocket {
    group: Arc<Group>,
    number: u64,
}

struct Group {
    rate: u64,
    /// The highest part.
    most: u64,
    members: Mutex<Members>,
}

struct Members {
    /// `None` until a connection has been paced.
    sockets: BTreeMap<u64, Option<OwnedFd>>,
    /// The number of parts into which the rate is divided.
    parts: u64,
    /// The number of the next connection.
    next: u64,
}

impl SharedRate {
    /// Returns a rate in bytes per second. `most`: the highest rate of one connection.
    #[must_use]
    pub fn new(rate: NonZeroU64, most: Option<NonZeroU64>) -> Self {
        let members = Members { sockets: BTreeMap::new(), parts: 1, next: 0 };
        let most = most.map_or(u64::MAX, NonZeroU64::get);
        Self(Arc::new(Group { rate: rate.get(), most, members: Mutex::new(members) }))
    }

    /// Adds a connection, which [`Io::pace`](crate::Io::pace) then paces.
    pub fn join(&self) -> RateShare {
        let mut members = self.0.members();
        let number = members.next;
        members.next += 1;
        members.sockets.insert(number, None);
        self.0.divide(&mut members);
        RateShare { group: Arc::clone(&self.0), number }
    }

    /// Returns the part of each connection, in bytes per second.
    #[must_use]
    pub fn part(&self) -> u64 {
        self.0.part(&self.0.members())
    }

    /// Returns whether no connection has a part.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.0.members().sockets.is_empty()
    }
}

impl RateShare {
    pub(crate) fn paced(&self) -> PacedSocket {
        PacedSocket { group: Arc::clone(&self.group), number: self.number }
    }
}

impl Drop for RateShare {
    fn drop(&mut self) {
        let mut members = self.group.members();
        let socket = members.sockets.remove(&self.number);
        self.group.divide(&mut members);
        drop(members);
        // It may be the last descriptor, whose close(2) ends the connection.
        drop(socket);
    }
}

impl PacedSocket {
    /// Paces a socket from now on.
    pub(crate) fn set(self, socket: BorrowedFd<'_>) {
        let mut members = self.group.members();
        let part = self.group.part(&members);
        // The connection may have ended.
        let Some(place) = members.sockets.get_mut(&self.number) else { return };
        *place = socket.try_clone_to_owned().ok();
        pace(socket, part);
    }
}

impl Group {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, members: &Members) -> u64 {
        (self.rate / members.parts).clamp(1, self.most)
    }

    /// Divides the rate anew if the number of connections asks for it.
    fn divide(&self, members: &mut Members) {
        let count = (members.sockets.len() as u64).max(1);
        let is_near = count > EXACT && count <= members.parts && count >= members.parts / 2;
        if count == members.parts || is_near {
            return;
        }
        members.parts = if count <= EXACT { count } else { count + count / 4 };
        let part = self.part(members);
        members.sockets.values().flatten().for_each(|socket| pace(socket.as_fd(), part));
    }
}

/// Sets the rate of a socket. An error is not possible on one of TCP.
fn pace(socket: BorrowedFd<'_>, part: u64) {
    let _unsupported = set_max_pacing_rate(socket, part);
}

impl fmt::Debug for SharedRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRate").field("part", &self.part()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RateShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateShare").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use karez_sys::max_pacing_rate;
    use std::net::{TcpListener, TcpStream};

    struct Connection {
        share: RateShare,
        socket: TcpStream,
    }

    fn connect(rate: &SharedRate, listener: &TcpListener) -> Connection {
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let share = rate.join();
        share.paced().set(socket.as_fd());
        Connection { share, socket }
    }

    fn rates(connections: &[Connection]) -> Vec<u64> {
        connections.iter().map(|it| max_pacing_rate(it.socket.as_fd()).unwrap()).collect()
    }

    fn shared(rate: u64, most: Option<u64>) -> SharedRate {
        SharedRate::new(rate.try_into().unwrap(), most.map(|most| most.try_into().unwrap()))
    }

    #[test]
    fn parts_change_with_the_number_of_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let rate = shared(1200, None);
        let mut open = Vec::new();
        for part in [1200, 600, 400, 300] {
            open.push(connect(&rate, &listener));
            assert_eq!(rates(&open), vec![part; open.len()]);
        }
        for part in [400, 600, 1200] {
            open.swap_remove(0);
            assert_eq!(rates(&open), vec![part; open.len()]);
        }
        drop(open);
        assert!(rate.is_unused());
        assert_eq!(rate.part(), 1200);
    }

    #[test]
    fn the_rate_of_one_connection_is_limited_as_well() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let rate = shared(1000, Some(400));
        let mut open = Vec::new();
        for part in [400, 400, 333] {
            open.push(connect(&rate, &listener));
            assert_eq!(rates(&open), vec![part; open.len()]);
        }
    }

    #[test]
    fn many_connections_never_have_more_than_the_rate_and_cost_few_changes() {
        let rate = shared(1 << 20, None);
        let (mut open, mut changes, mut last) = (Vec::new(), 0, 0);
        for count in 1..=1000 {
            open.push(rate.join());
            let part = rate.part();
            assert!(part * count <= 1 << 20, "{count}");
            assert!(part * count * 4 >= 3 << 20, "{count}");
            changes += u64::from(part != last);
            last = part;
        }
        assert!(changes < 64 + 20, "{changes}");
        while open.pop().is_some() {
            let count = open.len().max(1) as u64;
            assert!(rate.part() * count <= 1 << 20, "{count}");
            assert!(count > EXACT || rate.part() == (1 << 20) / count, "{count}");
        }
    }

    #[test]
    fn a_connection_that_has_ended_is_not_paced() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let rate = shared(100, None);
        let Connection { share, socket } = connect(&rate, &listener);
        let late = share.paced();
        drop(share);
        late.set(socket.as_fd());
        assert!(rate.is_unused());
        // Its descriptor is the last one: the peer gets the end.
        let (peer, _) = listener.accept().unwrap();
        drop(socket);
        assert_eq!(std::io::Read::read(&mut &peer, &mut [0]).unwrap(), 0);
    }
}
