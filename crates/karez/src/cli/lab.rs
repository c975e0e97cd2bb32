//! The command line of `karez lab`.

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, Subcommand, ValueHint};
use karez_lab::Transport;
use karez_lab::claims::Claim;
use karez_lab::models::MODELS;
use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use super::vias;

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
    /// poll, select and epoll beside the published one.
    Models(ModelsArgs),
    /// Hold what is told of Linux I/O against this kernel
    ///
    /// Each claim is tried, and what was measured makes the verdict: confirmed, refuted, depends on
    /// something, or not measurable here and why. Begins with a self-test.
    Claims(ClaimsArgs),
    /// Draw one real request, from the wake-up of the server to the last byte
    ///
    /// Serves a file and asks for it, first to warm up and then to be watched: system calls with
    /// their bytes and times, copies, faults, packets, the disk, where a thread slept and who woke
    /// it. As root by tracepoints, the quickest of five; for others by ptrace, which sees the system
    /// calls alone.
    #[command(
        after_help = "Example: sudo karez lab trace --model epoll-edge --via sendfile --svg sendfile.svg"
    )]
    Trace(Box<TraceArgs>),
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
    #[arg(long, value_name = "NAME", value_parser = demultiplexers(), help_heading = "What")]
    pub(crate) model: Vec<Model>,

    /// Descriptors to wait on; may be given several times [default: 10, 100, 1000, 10000 and
    /// what may be open, at most 20000]
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

/// The arguments of `karez lab trace`.
#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    /// The file to ask for [default: one of the laboratory's own]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,

    /// How the server waits
    #[arg(long, value_name = "NAME", default_value = "epoll-edge", value_parser = all_models(), help_heading = "What")]
    pub(crate) model: Model,

    /// How the file leaves
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = vias(), help_heading = "What")]
    pub(crate) via: Via,

    /// How the server's threads are laid out
    #[arg(long, value_name = "NAME", default_value = "single", value_parser = super::topologies(), help_heading = "What")]
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
}

fn claim(text: &str) -> Result<u8, String> {
    let known = |number: &u8| Claim::all().iter().any(|claim| claim.number == *number);
    text.parse().ok().filter(known).ok_or_else(|| "no claim has this number".to_owned())
}

fn demultiplexers() -> impl clap::builder::TypedValueParser<Value = Model> {
    let names = MODELS.map(Model::name);
    PossibleValuesParser::new(names).map(|name| {
        let found = MODELS.into_iter().find(|model| model.name() == name);
        found.unwrap_or(Model::Poll)
    })
}

fn all_models() -> impl clap::builder::TypedValueParser<Value = Model> {
    let names = Model::ALL.iter().map(|model| model.name());
    PossibleValuesParser::new(names).map(|name| name.parse().unwrap_or(Model::EpollEdge))
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
    let number: u64 = digits.parse().map_err(|_| "it is no number of bytes, such as 64k")?;
    let bytes = number.checked_mul(1 << bits).ok_or("it is too large")?;
    if bytes == 0 { Err("it is nothing") } else { Ok(bytes) }
}
