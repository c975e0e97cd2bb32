//! The cases: every via of every direction, over every transport, blocking and non-blocking.

use karez_transfer::{Copied, Direction, Report, Via};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use crate::pipes::DIRECTIONS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Unix,
}

impl Transport {
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Unix];

    /// Two connected sockets.
    pub fn pair(self) -> (OwnedFd, OwnedFd) {
        match self {
            Self::Unix => {
                let (near, far) = UnixStream::pair().unwrap();
                (near.into(), far.into())
            }
            Self::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (far, _) = listener.accept().unwrap();
                (near.into(), far.into())
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub direction: Direction,
    pub via: Via,
    pub transport: Transport,
    pub blocking: bool,
}

impl Case {
    pub fn new(direction: Direction, via: Via, transport: Transport, blocking: bool) -> Self {
        Self { direction, via, transport, blocking }
    }

    /// Every one there is but those of pipes (pipes.rs); from file to file nothing is connected and
    /// nothing waits.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for &direction in Direction::ALL.iter().filter(|direction| !DIRECTIONS.contains(direction))
        {
            for &via in direction.vias() {
                for transport in Transport::ALL {
                    for blocking in [true, false] {
                        all.push(Self::new(direction, via, transport, blocking));
                    }
                }
                if direction == Direction::FileToFile {
                    all.truncate(all.len() - 3);
                }
            }
        }
        all
    }

    pub fn of_file(self) -> bool {
        matches!(self.direction, Direction::FileToSocket | Direction::FileToFile)
    }

    pub fn to_file(self) -> bool {
        matches!(self.direction, Direction::SocketToFile | Direction::FileToFile)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, via, transport, blocking } = self;
        let blocking = if *blocking { "blocking" } else { "non-blocking" };
        write!(f, "{via} {direction} {transport:?} {blocking}")
    }
}

/// The system calls that a via makes in a direction: those by which bytes move, and those around
/// them. It must make no other call.
pub fn calls_of(
    direction: Direction,
    via: Via,
) -> (&'static [&'static str], &'static [&'static str]) {
    use Direction as D;
    match (via, direction) {
        (Via::Auto, _) => (&[], &[]),
        (Via::Copy, D::FileToSocket) => (&["pread64", "sendto"], &[]),
        (Via::Copy, D::SocketToFile) => (&["recvfrom", "pwrite64"], &[]),
        (Via::Copy, D::SocketToSocket) => (&["recvfrom", "sendto"], &[]),
        (Via::Copy, D::FileToFile) => (&["pread64", "pwrite64"], &[]),
        (Via::Copy, D::FileToPipe) => (&["pread64", "write"], &[]),
        (Via::Copy, D::PipeToFile) => (&["read", "pwrite64"], &[]),
        (Via::Copy, D::PipeToPipe) => (&["read", "write"], &[]),
        (Via::Splice, D::FileToPipe | D::PipeToFile | D::PipeToPipe) => (&["splice"], &[]),
        (Via::Direct, D::FileToFile) => {
            (&["pread64", "pwrite64"], &["open", "statx", "fcntl", "fstat"])
        }
        (Via::Direct, _) => (&["pread64", "sendto"], &["open", "statx", "fcntl", "fstat"]),
        (Via::Mmap, D::FileToFile) => (&["pwrite64"], &["mmap", "madvise", "fstat"]),
        (Via::Mmap, _) => (&["sendto"], &["mmap", "madvise", "fstat"]),
        (Via::Cow, D::FileToFile) => {
            (&["pwrite64"], &["mmap", "madvise", "fstat", "pipe2", "read", "write"])
        }
        (Via::Cow, _) => (&["sendto"], &["mmap", "madvise", "fstat", "pipe2", "read", "write"]),
        (Via::Sendfile, D::FileToFile) => (&["sendfile"], &["lseek", "open", "fcntl", "fstat"]),
        (Via::Sendfile, _) => (&["sendfile"], &[]),
        (Via::Splice, D::FileToSocket | D::FileToFile) => (&["splice"], &["pipe2", "fcntl"]),
        // A peek verifies the end of the stream.
        (Via::Splice, _) => (&["splice"], &["pipe2", "fcntl", "recvfrom"]),
        (Via::Zerocopy, _) => (&["sendto"], &["setsockopt", "recvmsg", "mmap", "madvise", "fstat"]),
        (Via::Reflink, _) => (&["ioctl"], &["fstat"]),
        (Via::CopyRange, _) => (&["copy_file_range"], &[]),
        _ => panic!("{via} {direction}: a case without calls"),
    }
}

/// Asserts the report of an undisturbed transfer.
pub fn assert_report(case: Case, report: &Report, len: u64, what: &str) {
    let Case { direction, via, .. } = case;
    assert_eq!((report.direction, report.requested), (direction, via), "{what}");
    assert_eq!(report.bytes, len, "{what}");
    let refused = refusals(case, report);
    for (fallback, from) in report.fallbacks.iter().zip(&refused) {
        assert_eq!((fallback.from, fallback.after), (*from, 0), "{what}: {report:?}");
        let never = [Errno::OPNOTSUPP, Errno::NOTTY, Errno::INVAL, Errno::XDEV];
        assert!(fallback.errno().is_none_or(|errno| never.contains(&errno)), "{what}: {report:?}");
    }
    assert_eq!(report.fallbacks.len(), refused.len(), "{what}: {report:?}");
    let expected = refused.last().map_or(via, |last| last.fallback().unwrap());
    let ran = if via == Via::Auto { report.effective } else { expected };
    assert_eq!(report.effective, ran, "{what}: {report:?}");
    assert!(direction.has(ran) && (ran != Via::Auto || len == 0), "{what}: {report:?}");
    assert_calls(case, report, what);
    if len > 0 {
        assert_eq!(report.copied(), copied(direction, report), "{what}: {report:?}");
    }
}

/// The vias that this kernel may refuse before the first byte.
fn refusals(case: Case, report: &Report) -> Vec<Via> {
    let refused: Vec<_> = report.fallbacks.iter().map(|fallback| fallback.from).collect();
    match case.via {
        Via::Zerocopy if case.transport == Transport::Unix && report.bytes > 0 => {
            vec![Via::Zerocopy]
        }
        // Few file systems have it. `auto` tries it once for each.
        Via::Reflink | Via::Auto if refused == [Via::Reflink] => refused,
        // Nor do all have this.
        Via::Direct if refused == [Via::Direct] => refused,
        _ => Vec::new(),
    }
}

/// Asserts that only the calls of the effective via moved bytes.
fn assert_calls(case: Case, report: &Report, what: &str) {
    let (movers, around) = calls_of(case.direction, report.effective);
    let tried = report.fallbacks.iter().map(|fallback| calls_of(case.direction, fallback.from));
    let tried: Vec<_> = tried.flat_map(|(movers, around)| [movers, around].concat()).collect();
    // `auto` reads only resident bytes, and sends the pages of the rest.
    let name_of = |name| if (case.via, name) == (Via::Auto, "preadv2") { "pread64" } else { name };
    let made: Vec<_> = report.calls.iter().map(|call| name_of(call.0)).collect();
    for mover in movers {
        assert!(report.bytes == 0 || made.contains(mover), "{what}: no {mover}: {report:?}");
    }
    for name in made {
        // After a fallback, and with `auto`, the cache of unsupported vias is searched.
        let looked = name == "fstat" && (case.via == Via::Auto || !report.fallbacks.is_empty());
        let known =
            looked || movers.contains(&name) || around.contains(&name) || tried.contains(&name);
        assert!(known, "{what}: {name}: {report:?}");
    }
}

/// Whether the CPU copied, as it must have.
fn copied(direction: Direction, report: &Report) -> Copied {
    let to_file = matches!(direction, Direction::FileToFile | Direction::SocketToFile);
    match report.effective {
        Via::Reflink => Copied::No,
        Via::Sendfile | Via::Splice if !to_file => Copied::No,
        Via::Direct if to_file => Copied::No,
        Via::CopyRange | Via::Auto => Copied::Unknown,
        // Loopback copies after all; a short send does not use the flag.
        Via::Zerocopy if report.zerocopy.sends == 0 => Copied::Unknown,
        _ => Copied::Yes,
    }
}
