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

use super::book::BookArgs;
use super::exercise::ExerciseArgs;
use super::report_output::OutputArgs;
use super::values::{duration, vias};

/// The experiments of `karez lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Validate the counters against known workloads
    ///
    /// Each check moves a known number of bytes along a known path and expects exactly that count.
    /// Exits with 1 if a counter fails.
    Selftest(SelfTestArgs),
    /// Benchmark each via (transfer method) from a file to a socket
    ///
    /// Measures every via by file size, cache state and transport: system calls, mode switches,
    /// page faults, bytes copied by the CPU, bytes read from the disk; CPU and throughput in
    /// separate runs. Starts with a self-test, and omits the counters that fail it.
    Vias(ViasArgs),
    /// Benchmark each I/O model by number of descriptors and connections
    ///
    /// Measures every readiness model by number of descriptors and of active ones: system calls and
    /// microseconds per wake-up, the cost of each idle descriptor, and the classic table of poll,
    /// select and epoll beside the published one. Then measures a server with every model: system
    /// calls, CPU and time per request.
    Models(ModelsArgs),
    /// Benchmark each topology (threading layout) under a mix of fast, slow and disk-bound requests
    ///
    /// Measures every topology of the file server by mix of clients: requests per second, median
    /// and tail latency, fairness, CPU. Also counts the responses while one job is blocked, which
    /// is exact.
    Topologies(TopologiesArgs),
    /// Test 64 common claims about Linux I/O on this kernel
    ///
    /// Tests each claim and derives its verdict from the measurements: confirmed, refuted, depends
    /// on a condition, or not measurable here with the reason. Starts with a self-test.
    Claims(ClaimsArgs),
    /// Predict a number, then measure it on this kernel
    ///
    /// Without a number, lists the exercises. With one, asks the question, reads the prediction from
    /// standard input, measures, and shows the difference and the reason.
    #[command(after_help = "Example: sudo karez lab exercise 17 --predict 32 --json -\n\n\
            Exit status: 0 if the prediction is right, 1 if it is wrong, 2 if the arguments are \
            invalid or the number cannot be measured here.")]
    Exercise(ExerciseArgs),
    /// Run all experiments and write one report
    ///
    /// Runs the self-test, the claims, the vias, the models, the topologies and some traces, and
    /// writes one report or one HTML page. Takes some minutes.
    #[command(after_help = "Example: sudo karez lab all --html io.html --json io.json")]
    All(AllArgs),
    /// Write a book about Linux I/O with the figures of this machine
    ///
    /// Runs all experiments, and writes the source of an mdBook to DIR/en and DIR/zh, which is also
    /// readable as Markdown. With --report it runs nothing and takes the figures from reports.
    #[command(after_help = "Example: sudo karez lab book io-book && mdbook serve io-book/en")]
    Book(BookArgs),
    /// Compare two reports and list the changes beyond the noise
    ///
    /// Reads two files written by --json. A count changed if it differs. A time changed if the
    /// ranges do not overlap, also after removing the drift common to all rows, and the number of
    /// runs rules out chance.
    #[command(after_help = "Exit status: 0 without changes, 1 with changes, 2 if a file is not a \
            comparable report.")]
    Compare(CompareArgs),
    /// Trace one request, from the wake-up of the server to the last byte
    ///
    /// Serves a file and requests it, first to warm up, then traced: system calls with their bytes
    /// and times, copies, page faults, packets, disk reads, sleeps and wake-ups of threads. As root
    /// it uses tracepoints and reports the fastest of five; otherwise ptrace, which shows system
    /// calls only.
    #[command(
        after_help = "Example: sudo karez lab trace --model epoll-edge --via sendfile --svg sendfile.svg"
    )]
    Trace(Box<TraceArgs>),
    /// Print the JSON Schema of a report
    ///
    /// JSON Schema (draft 2020-12) of the reports that --json writes.
    Schema {
        /// Report to print [default: list all]
        #[arg(value_parser = PossibleValuesParser::new(SCHEMAS.iter().map(|(name, _)| *name)))]
        name: Option<String>,
    },
    /// Serve commands of an experiment on standard input
    #[command(hide = true)]
    Worker,
}

/// The arguments of `karez lab selftest`.
#[derive(Args, Debug)]
pub(crate) struct SelfTestArgs {
    /// Move 8 MiB instead of 64
    #[arg(long)]
    pub(crate) quick: bool,

    /// Directory of the test file; on a disk, because tmpfs has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,

    /// Use this BPF object instead of the built-in one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) probe: Option<PathBuf>,

    /// The output options.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `karez lab vias`.
#[derive(Args, Debug)]
pub(crate) struct ViasArgs {
    /// Via (transfer method) to measure; repeatable [default: all]
    #[arg(long, value_name = "NAME", value_parser = vias(), help_heading = "Experiment")]
    pub(crate) via: Vec<Via>,

    /// Bytes to move, such as 65536, 64k or 16m; repeatable [default: 64k and 16m]
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Experiment")]
    pub(crate) size: Vec<u64>,

    /// Maximum length of one system call
    #[arg(long, value_name = "BYTES", default_value = "64k", value_parser = bytes, help_heading = "Experiment")]
    pub(crate) chunk: u64,

    /// Transport: unix, lo, veth or veth-sg-off; repeatable [default: all]
    #[arg(long, value_name = "NAME", help_heading = "Experiment")]
    pub(crate) transport: Vec<Transport>,

    /// Cache state of the file: warm or cold; repeatable [default: both]
    #[arg(long, value_name = "STATE", value_parser = caches(), help_heading = "Experiment")]
    pub(crate) cache: Vec<CacheState>,

    /// Discard received bytes without a copy (MSG_TRUNC, else splice to /dev/null)
    #[arg(long, help_heading = "Experiment")]
    pub(crate) copy_free_receiver: bool,

    /// Timed runs of each combination [default: 9]
    #[arg(long, value_name = "N", help_heading = "Experiment")]
    pub(crate) runs: Option<NonZeroUsize>,

    /// Three runs of 1 MiB
    #[arg(long, help_heading = "Experiment")]
    pub(crate) quick: bool,

    /// Directory of the test files; on a disk, because tmpfs has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "Experiment")]
    pub(crate) dir: PathBuf,

    /// The output options.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `karez lab models`.
#[derive(Args, Debug)]
pub(crate) struct ModelsArgs {
    /// I/O model to measure; repeatable [default: all]
    #[arg(long, value_name = "NAME", value_parser = models(), help_heading = "Experiment")]
    pub(crate) model: Vec<Model>,

    /// Number of descriptors and of connections; repeatable [default: 10, 100, 1000, 10000 and the
    /// descriptor limit, at most 20000]
    #[arg(long, value_name = "N", help_heading = "Experiment")]
    pub(crate) descriptors: Vec<NonZeroU32>,

    /// Number of active descriptors; repeatable [default: 1 and 100]
    #[arg(long, value_name = "N", help_heading = "Experiment")]
    pub(crate) active: Vec<NonZeroU32>,

    /// Timed runs of each combination [default: 9]
    #[arg(long, value_name = "N", help_heading = "Experiment")]
    pub(crate) runs: Option<NonZeroUsize>,

    /// Three short runs of at most 1000 descriptors
    #[arg(long, help_heading = "Experiment")]
    pub(crate) quick: bool,

    /// The output options.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `karez lab topologies`.
#[derive(Args, Debug)]
pub(crate) struct TopologiesArgs {
    /// Topology (threading layout) to measure; repeatable [default: all]
    #[arg(long, value_name = "NAME", value_parser = topologies(), help_heading = "Experiment")]
    pub(crate) topology: Vec<Topology>,

    /// I/O model to measure it with; repeatable [default: epoll-edge and blocking]
    #[arg(long, value_name = "NAME", value_parser = models(), help_heading = "Experiment")]
    pub(crate) model: Vec<Model>,

    /// Connections that request a small cached file [default: 32]
    #[arg(long, value_name = "N", help_heading = "Experiment")]
    pub(crate) fast: Option<NonZeroU32>,

    /// Connections that read a large file slowly [default: 8]
    #[arg(long, value_name = "N", help_heading = "Experiment")]
    pub(crate) slow: Option<u32>,

    /// Connections that request an uncached file [default: 4]
    #[arg(long, value_name = "N", help_heading = "Experiment")]
    pub(crate) blocking: Option<u32>,

    /// Timed runs of each combination [default: 9]
    #[arg(long, value_name = "N", help_heading = "Experiment")]
    pub(crate) runs: Option<NonZeroUsize>,

    /// Duration of a run, such as 1s [default: 300ms]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Experiment")]
    pub(crate) time_per_run: Option<Duration>,

    /// Three runs of 50 ms
    #[arg(long, help_heading = "Experiment")]
    pub(crate) quick: bool,

    /// Directory of the test files; on a disk, because tmpfs has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "Experiment")]
    pub(crate) dir: PathBuf,

    /// The output options.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `karez lab claims`.
#[derive(Args, Debug)]
pub(crate) struct ClaimsArgs {
    /// Number of a claim to test; repeatable [default: all]
    #[arg(long, value_name = "N", value_parser = claim, help_heading = "Experiment")]
    pub(crate) claim: Vec<u8>,

    /// 4 MiB instead of 16, fewer descriptors and runs
    #[arg(long, help_heading = "Experiment")]
    pub(crate) quick: bool,

    /// Directory of the test files; on a disk, because tmpfs has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "Experiment")]
    pub(crate) dir: PathBuf,

    /// The output options.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `karez lab all`.
#[derive(Args, Debug)]
pub(crate) struct AllArgs {
    /// Reduce every experiment; takes less than a minute
    #[arg(long, help_heading = "Experiment")]
    pub(crate) quick: bool,

    /// Directory of the test files; on a disk, because tmpfs has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "Experiment")]
    pub(crate) dir: PathBuf,

    /// The output options.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `karez lab compare`.
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// The earlier report
    #[arg(value_name = "A.json", value_hint = ValueHint::FilePath)]
    pub(crate) before: PathBuf,

    /// The later report
    #[arg(value_name = "B.json", value_hint = ValueHint::FilePath)]
    pub(crate) after: PathBuf,

    /// The output options.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of `karez lab trace`.
#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    /// File to request [default: a temporary test file]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,

    /// I/O model of the server
    #[arg(long, value_name = "NAME", default_value = "epoll-edge", value_parser = models(), help_heading = "Experiment")]
    pub(crate) model: Model,

    /// Via (transfer method) of the file
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = vias(), help_heading = "Experiment")]
    pub(crate) via: Via,

    /// Topology (threading layout) of the server
    #[arg(long, value_name = "NAME", default_value = "single", value_parser = topologies(), help_heading = "Experiment")]
    pub(crate) topology: Topology,

    /// Transport: unix or lo
    #[arg(long, value_name = "NAME", default_value = "lo", value_parser = near(), help_heading = "Experiment")]
    pub(crate) transport: Transport,

    /// Size of the test file, such as 65536, 64k or 16m
    #[arg(long, value_name = "BYTES", default_value = "1m", value_parser = bytes, conflicts_with = "file", help_heading = "Experiment")]
    pub(crate) size: u64,

    /// Drop the test file from the page cache first, so that the disk is read
    #[arg(long, conflicts_with = "file", help_heading = "Experiment")]
    pub(crate) cold: bool,

    /// Directory of the test file; on a disk, because tmpfs has no cold files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", value_hint = ValueHint::DirPath, help_heading = "Experiment")]
    pub(crate) dir: PathBuf,

    /// Use this BPF object instead of the built-in one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Experiment")]
    pub(crate) probe: Option<PathBuf>,

    /// Write the drawing as SVG; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) svg: Option<PathBuf>,

    /// The output options.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

fn claim(text: &str) -> Result<u8, String> {
    let known = |number: &u8| Claim::all().iter().any(|claim| claim.number == *number);
    text.parse().ok().filter(known).ok_or_else(|| "no claim has this number".to_owned())
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

/// Parses transports that need no network namespace.
fn near() -> impl clap::builder::TypedValueParser<Value = Transport> {
    let names = [Transport::Unix, Transport::Loopback].map(Transport::name);
    PossibleValuesParser::new(names).map(|name| name.parse().unwrap_or(Transport::Loopback))
}

/// Parses a number of bytes, with k, m or g for powers of 1024.
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
