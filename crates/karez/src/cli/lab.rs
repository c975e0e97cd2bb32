//! The command line of `karez lab`.

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, Subcommand, ValueHint};
use karez_lab::claims::Claim;
use karez_lab::{CacheState, SCHEMAS, Transport};
use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::{duration, vias};

/// The experiments of `karez lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Let the counters count what is known beforehand
    ///
    /// Each check moves so many bytes in a way that leaves no doubt where they go, and expects
    /// exactly that. Exits with 1 if a counter fails.
    Selftest(SelfTestArgs),
    /// Count and time every way to move a file into a socket
    ///
    /// Every via by size, state of the cache and transport: system calls, mode switches, faults,
    /// bytes copied by the CPU, bytes of the disk; CPU and speed in runs of their own. Begins with
    /// a self-test, and leaves out what it does not trust.
    Vias(ViasArgs),
    /// Count and time every way to wait for one of many
    ///
    /// Every readiness model by how many descriptors there are and how many are active: system
    /// calls and microseconds a wake-up, what each idle descriptor costs, and the classic table of
    /// poll, select and epoll beside the published one. Then every model by a server: system calls,
    /// CPU and time a request.
    Models(ModelsArgs),
    /// Let fast, slow and blocking requests meet in every layout of threads
    ///
    /// Every topology of the file server by who asks it: requests a second, how long answers take
    /// in the middle and at worst, how fairly connections are served, CPU. And how many are
    /// answered while one job is held, which is exact.
    Topologies(TopologiesArgs),
    /// Hold what is told of Linux I/O against this kernel
    ///
    /// Each claim is tried, and what was measured makes the verdict: confirmed, refuted, depends on
    /// something, or not measurable here and why. Begins with a self-test.
    Claims(ClaimsArgs),
    /// Make every experiment, and one report of them
    ///
    /// The self-test, the claims, the vias, the models, the topologies, some traces: what each
    /// prints, in one report or on one page. Takes some minutes.
    #[command(after_help = "Example: sudo karez lab all --html io.html --json io.json")]
    All(AllArgs),
    /// Say what changed between two reports, beyond the noise
    ///
    /// Takes what --json of an experiment has written. What was counted changed if it is not the
    /// same; what was timed if the ranges are apart, also without what all rows have in common, and the
    /// runs are enough to rule out chance.
    #[command(after_help = "Exit status: 0 without changes, 1 with changes, 2 if a file is not a \
            comparable report.")]
    Compare(CompareArgs),
    /// Rng one real request, from the wake-up of the server to the last byte
    ///
    /// Serves a file and asks for it, first to warm up and then to be watched: system calls with
    /// their bytes and times, copies, faults, packets, the disk, where a thread slept and who woke
    /// it. As root by tracepoints, the quickest of five; for others by ptrace, which sees the system
    /// calls alone.
    #[command(
        after_help = "Example: sudo karez lab trace --model epoll-edge --via sendfile --svg sendfile.svg"
    )]
    Trace(Box<TraceArgs>),
    /// Print what stands in the JSON of a report
    ///
    /// JSON Schema (draft 2020-12) of the reports that --json writes.
    Schema {
        /// The report [default: list them]
        #[arg(value_parser = PossibleValuesParser::new(SCHEMAS.iter().map(|(name, _)| *name)))]
        name: Option<String>,
    },
    /// Do what a laboratory says on standard input
    #[command(hide = true)]
    Worker,
}

/// The arguments of `karez lab selftest`.
#[derive(Args, Debug)]
pub(crate) struct SelfTestArgs {
    /// Move 8 MiB instead of 64
    #[arg(long)]
    pub(crate) quick: bool,

    /// Where to make the file that is moved: on a disk, for memory has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,

    /// Count with this BPF object instead of the one built in
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) probe: Option<PathBuf>,

    /// Where to write it
    #[command(flatten)]
    pub(crate) forms: Forms,
}

/// The arguments of `karez lab vias`.
#[derive(Args, Debug)]
pub(crate) struct ViasArgs {
    /// A via to try; may be given several times [default: all]
    #[arg(long, value_name = "NAME", value_parser = vias(), help_heading = "What")]
    pub(crate) via: Vec<Via>,

    /// Bytes to move, such as 65536, 64k or 16m; may be given several times [default: 64k and 16m]
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "What")]
    pub(crate) size: Vec<u64>,

    /// The most that one system call is asked for
    #[arg(long, value_name = "BYTES", default_value = "64k", value_parser = bytes, help_heading = "What")]
    pub(crate) chunk: u64,

    /// A transport: unix, lo, veth or veth-sg-off; may be given several times [default: all]
    #[arg(long, value_name = "NAME", help_heading = "What")]
    pub(crate) transport: Vec<Transport>,

    /// Whether the file is in memory: warm or cold; may be given several times [default: both]
    #[arg(long, value_name = "STATE", value_parser = caches(), help_heading = "What")]
    pub(crate) cache: Vec<CacheState>,

    /// Let the receiver throw the bytes away without a copy (MSG_TRUNC, else splice to /dev/null)
    #[arg(long, help_heading = "What")]
    pub(crate) copy_free_receiver: bool,

    /// Timed runs of each combination [default: 9]
    #[arg(long, value_name = "N", help_heading = "What")]
    pub(crate) runs: Option<NonZeroUsize>,

    /// Three runs, of 1 MiB
    #[arg(long, help_heading = "What")]
    pub(crate) quick: bool,

    /// Where to make the files: on a disk, for memory has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "What")]
    pub(crate) dir: PathBuf,

    /// Where to write it
    #[command(flatten)]
    pub(crate) forms: Forms,
}

/// The arguments of `karez lab models`.
#[derive(Args, Debug)]
pub(crate) struct ModelsArgs {
    /// A model to try; may be given several times [default: all]
    #[arg(long, value_name = "NAME", value_parser = models(), help_heading = "What")]
    pub(crate) model: Vec<Model>,

    /// Descriptors to wait on, and connections; may be given several times [default: 10, 100, 1000,
    /// 10000 and what may be open, at most 20000]
    #[arg(long, value_name = "N", help_heading = "What")]
    pub(crate) descriptors: Vec<NonZeroU32>,

    /// How many of them are active; may be given several times [default: 1 and 100]
    #[arg(long, value_name = "N", help_heading = "What")]
    pub(crate) active: Vec<NonZeroU32>,

    /// Timed runs of each combination [default: 9]
    #[arg(long, value_name = "N", help_heading = "What")]
    pub(crate) runs: Option<NonZeroUsize>,

    /// Three short runs, of at most 1000 descriptors
    #[arg(long, help_heading = "What")]
    pub(crate) quick: bool,

    /// Where to write it
    #[command(flatten)]
    pub(crate) forms: Forms,
}

/// The arguments of `karez lab topologies`.
#[derive(Args, Debug)]
pub(crate) struct TopologiesArgs {
    /// A topology to try; may be given several times [default: all]
    #[arg(long, value_name = "NAME", value_parser = topologies(), help_heading = "What")]
    pub(crate) topology: Vec<Topology>,

    /// A model to try it with; may be given several times [default: epoll-edge and blocking]
    #[arg(long, value_name = "NAME", value_parser = models(), help_heading = "What")]
    pub(crate) model: Vec<Model>,

    /// Connections that ask for what is small and in memory [default: 32]
    #[arg(long, value_name = "N", help_heading = "What")]
    pub(crate) fast: Option<NonZeroU32>,

    /// Connections that ask for what is large, and take it slowly [default: 8]
    #[arg(long, value_name = "N", help_heading = "What")]
    pub(crate) slow: Option<u32>,

    /// Connections that ask for what is on the disk only [default: 4]
    #[arg(long, value_name = "N", help_heading = "What")]
    pub(crate) blocking: Option<u32>,

    /// Timed runs of each combination [default: 9]
    #[arg(long, value_name = "N", help_heading = "What")]
    pub(crate) runs: Option<NonZeroUsize>,

    /// How long a run is, such as 1s [default: 300ms]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "What")]
    pub(crate) time_per_run: Option<Duration>,

    /// Three runs of 50 ms
    #[arg(long, help_heading = "What")]
    pub(crate) quick: bool,

    /// Where to make the files: on a disk, for memory has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "What")]
    pub(crate) dir: PathBuf,

    /// Where to write it
    #[command(flatten)]
    pub(crate) forms: Forms,
}

/// The arguments of `karez lab claims`.
#[derive(Args, Debug)]
pub(crate) struct ClaimsArgs {
    /// The number of a claim to try; may be given several times [default: all]
    #[arg(long, value_name = "N", value_parser = claim, help_heading = "What")]
    pub(crate) claim: Vec<u8>,

    /// 4 MiB instead of 16, fewer descriptors and runs
    #[arg(long, help_heading = "What")]
    pub(crate) quick: bool,

    /// Where to make the files: on a disk, for memory has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "What")]
    pub(crate) dir: PathBuf,

    /// Where to write it
    #[command(flatten)]
    pub(crate) forms: Forms,
}

/// The arguments of `karez lab all`.
#[derive(Args, Debug)]
pub(crate) struct AllArgs {
    /// Less of everything: within a minute
    #[arg(long, help_heading = "What")]
    pub(crate) quick: bool,

    /// Where to make the files: on a disk, for memory has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "What")]
    pub(crate) dir: PathBuf,

    /// Where to write it
    #[command(flatten)]
    pub(crate) forms: Forms,
}

/// The arguments of `karez lab compare`.
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// The report that was made before
    #[arg(value_name = "A.json", value_hint = ValueHint::FilePath)]
    pub(crate) before: PathBuf,

    /// The one that was made after
    #[arg(value_name = "B.json", value_hint = ValueHint::FilePath)]
    pub(crate) after: PathBuf,

    /// Where to write it
    #[command(flatten)]
    pub(crate) forms: Forms,
}

/// The arguments of `karez lab trace`.
#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    /// The file to ask for [default: one of the laboratory's own]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,

    /// How the server waits
    #[arg(long, value_name = "NAME", default_value = "epoll-edge", value_parser = models(), help_heading = "What")]
    pub(crate) model: Model,

    /// How the file leaves
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = vias(), help_heading = "What")]
    pub(crate) via: Via,

    /// How the server's threads are laid out
    #[arg(long, value_name = "NAME", default_value = "single", value_parser = topologies(), help_heading = "What")]
    pub(crate) topology: Topology,

    /// The transport: unix or lo
    #[arg(long, value_name = "NAME", default_value = "lo", value_parser = near(), help_heading = "What")]
    pub(crate) transport: Transport,

    /// The size of the laboratory's own file, such as 65536, 64k or 16m
    #[arg(long, value_name = "BYTES", default_value = "1m", value_parser = bytes, conflicts_with = "file", help_heading = "What")]
    pub(crate) size: u64,

    /// Have nothing of that file in memory, so that the disk takes part
    #[arg(long, conflicts_with = "file", help_heading = "What")]
    pub(crate) cold: bool,

    /// Where to make that file: on a disk, for memory has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "What")]
    pub(crate) dir: PathBuf,

    /// Watch with this BPF object instead of the one built in
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "What")]
    pub(crate) probe: Option<PathBuf>,

    /// Write the drawing as SVG; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) svg: Option<PathBuf>,

    /// Where to write it
    #[command(flatten)]
    pub(crate) forms: Forms,
}

/// Where a report of `karez lab` goes.
#[derive(Args, Debug)]
pub(crate) struct Forms {
    /// Write the report as JSON; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    /// Write the table as CSV; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) csv: Option<PathBuf>,

    /// Write the table as Markdown; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) markdown: Option<PathBuf>,

    /// Write a page of HTML that needs nothing else; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,
}

fn claim(text: &str) -> Result<u8, String> {
    let known = |number: &u8| Claim::all().iter().any(|claim| claim.number == *number);
    text.parse().ok().filter(known).ok_or_else(|| "there is no claim with this number".to_owned())
}

fn caches() -> impl clap::builder::TypedValueParser<Value = CacheState> {
    PossibleValuesParser::new(CacheState::ALL.map(CacheState::name)).map(|name| {
        let found = CacheState::ALL.into_iter().find(|state| state.name() == name);
        found.unwrap_or(CacheState::Warm)
    })
}

fn models() -> impl clap::builder::TypedValueParser<Value = Model> {
    PossibleValuesParser::new(Model::ALL.iter().map(|model| model.name()))
        .try_map(|name| name.parse())
}

fn topologies() -> impl clap::builder::TypedValueParser<Value = Topology> {
    PossibleValuesParser::new(Topology::ALL.iter().map(|topology| topology.name()))
        .try_map(|name| name.parse())
}

/// Transports that need no network of one's own.
fn near() -> impl clap::builder::TypedValueParser<Value = Transport> {
    let names = [Transport::Unix, Transport::Loopback].map(Transport::name);
    PossibleValuesParser::new(names).map(|name| name.parse().unwrap_or(Transport::Loopback))
}

/// A number of bytes, with k, m or g for powers of 1024.
fn bytes(text: &str) -> Result<u64, &'static str> {
    let (digits, bits) = match text.to_ascii_lowercase().as_bytes() {
        [.., b'k'] => (&text[..text.len() - 1], 10),
        [.., b'm'] => (&text[..text.len() - 1], 20),
        [.., b'g'] => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes, such as 64k")?;
    let bytes = number.checked_mul(1 << bits).ok_or("the number of bytes is too large")?;
    if bytes == 0 { Err("the number of bytes is zero") } else { Ok(bytes) }
}
