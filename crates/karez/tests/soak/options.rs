//! The settings of a run, from variables of the environment (`bench/soak.py` sets them).

use std::env;
use std::path::PathBuf;
use std::time::Duration;

/// A group of disturbances.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Files are replaced, rewritten, truncated, removed and renamed.
    Write,
    /// Clients reset connections, close them half, or send no complete request.
    Hostile,
    /// SIGHUP, with valid and invalid configurations.
    Reload,
    /// `karez upgrade`.
    Upgrade,
    /// SIGSTOP and SIGCONT.
    Stop,
    /// The limit on open files falls below the number of connections.
    Descriptors,
    /// A FUSE file system that hangs.
    Hang,
}

impl Fault {
    pub fn name(self) -> &'static str {
        FAULTS.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

const FAULTS: [(&str, Fault); 7] = [
    ("write", Fault::Write),
    ("hostile", Fault::Hostile),
    ("reload", Fault::Reload),
    ("upgrade", Fault::Upgrade),
    ("stop", Fault::Stop),
    ("descriptors", Fault::Descriptors),
    ("hang", Fault::Hang),
];

pub struct Options {
    pub seed: u64,
    /// The length of the run, unless a number of requests is given.
    pub time: Duration,
    pub requests: Option<u64>,
    pub clients: u64,
    /// Requests per second of all clients together; 0 for any.
    pub rate: u64,
    pub faults: Vec<Fault>,
    /// The mean time between two faults, unless a number of requests is given.
    pub pause: Option<Duration>,
    pub upgrades: u64,
    pub reloads: u64,
    /// Flags of the server.
    pub flags: Vec<String>,
    pub server: PathBuf,
    pub json: Option<PathBuf>,
}

impl Options {
    pub fn read() -> Self {
        let clock = || {
            let since = std::time::UNIX_EPOCH.elapsed().unwrap();
            since.as_millis() as u64 % 1_000_000_000
        };
        let faults = text("FAULTS").map_or_else(
            || {
                FAULTS
                    .iter()
                    .map(|(_, fault)| *fault)
                    .filter(|fault| *fault != Fault::Hang)
                    .collect()
            },
            |names| names.split(',').map(fault).collect(),
        );
        Self {
            seed: number("SEED").unwrap_or_else(clock),
            time: Duration::from_secs(number("SECONDS").unwrap_or(15)),
            requests: number("REQUESTS"),
            clients: number("CLIENTS").unwrap_or(12),
            rate: number("RATE").unwrap_or(0),
            faults,
            pause: number("PAUSE").map(Duration::from_millis),
            upgrades: number("UPGRADES").unwrap_or(2),
            reloads: number("RELOADS").unwrap_or(20),
            flags: text("FLAGS")
                .map(|flags| flags.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            server: text("SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_karez").to_owned()).into(),
            json: text("JSON").map(PathBuf::from),
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Returns whether bodies over plain HTTP/1.1 may be sent by reference to pages of the file.
    pub fn sends_by_reference(&self) -> bool {
        !self.flags.windows(2).any(|pair| pair == ["--via", "copy"])
    }
}

fn text(name: &str) -> Option<String> {
    env::var(format!("KAREZ_SOAK_{name}")).ok().filter(|text| !text.is_empty())
}

fn number(name: &str) -> Option<u64> {
    text(name).map(|number| number.parse().unwrap_or_else(|_| panic!("{name}: {number}")))
}

fn fault(name: &str) -> Fault {
    let found = FAULTS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("unknown fault {name}")).1
}
