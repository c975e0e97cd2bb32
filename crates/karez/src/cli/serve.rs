//! The command line of `karez serve`.

use clap::{Args, ValueHint};
use karez_reactor::Topology;
use karez_server::Torn;
use karez_transfer::Via;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::clients::ClientArgs;
use super::health::HealthArgs;
use super::logs::LogArgs;
use super::sandbox::SandboxArgs;
use super::site::SiteArgs;
use super::values::{
    AUTO, ListenAddress, ModelChoice, bytes, duration, listing_memory, lowat, models, rate,
    topologies, vias,
};

/// The arguments of `karez serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML). Its keys are the names of the flags, and root for DIR; a flag overrides
    /// the key of the same name. Read again on SIGHUP, see docs/CONFIGURATION.md
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Address to listen on: IP:PORT, [IPv6]:PORT or unix:PATH; with port 0 the kernel chooses one;
    /// repeatable. http: or https: in front selects the protocol. A socket that systemd passes for the same
    /// address is used; without this flag all that it passes are
    #[arg(long, short, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Vec<ListenAddress>,

    #[command(flatten)]
    pub(crate) site: SiteArgs,

    /// Run the server in a child process, and start it again if a signal ends it (SIGABRT, SIGSEGV, the OOM killer).
    /// Connections that it has not accepted wait for the next one; those that it has end. For containers and scripts:
    /// under systemd the unit restarts the server
    #[arg(long)]
    pub(crate) supervise: bool,

    /// Model: how a thread waits for I/O (I/O model). auto is the first of epoll-edge, poll, select
    /// and blocking that the kernel supports and that fits the other options. uring and posix-aio
    /// send files by copy, uring also by splice and zerocopy
    #[arg(long, value_name = "NAME", default_value = AUTO, value_parser = models(), help_heading = "I/O")]
    pub(crate) model: ModelChoice,

    /// Via: how bytes are moved (transfer method). auto copies small cached files, and with --torn abort
    /// files that were written less than 10 s ago; others it sends as pages by reference
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = vias(), help_heading = "I/O")]
    pub(crate) via: Via,

    /// Response whose file is written while it is sent. abort: the connection is reset before the last
    /// byte (HTTP/2: the stream), so that no complete response joins two contents; a file that is
    /// replaced by a rename is sent to its end. allow: it is sent, for files that grow, such as logs
    #[arg(long, value_name = "POLICY", default_value = "abort", value_enum, help_heading = "I/O")]
    pub(crate) torn: TornPolicy,

    /// Topology: how threads share the connections (threading layout). single: one event loop, which
    /// waits for local disks; workers: one event loop and a pool for blocking operations; multi: one
    /// thread accepts for several event loops; reuseport: several event loops, each with its own
    /// listener (SO_REUSEPORT); multi and reuseport have a pool, too [default: reuseport, or workers
    /// with one thread; with model blocking single]
    #[arg(long, value_name = "NAME", value_parser = topologies(), help_heading = "I/O")]
    pub(crate) topology: Option<Topology>,

    /// Number of event loops in topology multi and reuseport [default: the number of cores]
    #[arg(long, value_name = "N", help_heading = "I/O")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Maximum number of threads for blocking operations per file system, in every topology but
    /// single [default: 16; for model blocking, in which each serves one connection, 256]
    #[arg(long, value_name = "N", help_heading = "I/O")]
    pub(crate) workers: Option<NonZeroUsize>,

    /// Pin each event loop to its own core
    #[arg(long, help_heading = "I/O")]
    pub(crate) pin: bool,

    /// Call sched_yield(2) after each round of model nonblocking
    #[arg(long = "yield", help_heading = "I/O")]
    pub(crate) yields: bool,

    /// Congestion control of TCP connections, such as cubic or bbr [default: the system's; the
    /// available ones are in /proc/sys/net/ipv4/tcp_available_congestion_control]
    #[arg(long, value_name = "NAME", help_heading = "I/O")]
    pub(crate) congestion: Option<String>,

    /// Maximum bytes not yet sent that the kernel holds for a TCP connection (TCP_NOTSENT_LOWAT), so
    /// that slow clients use little memory, such as 1M [default: the system's, usually without limit]
    #[arg(long, value_name = "BYTES", value_parser = lowat, help_heading = "I/O")]
    pub(crate) notsent_lowat: Option<NonZeroU32>,

    /// Speak HTTP/1.1 only. Otherwise a client may choose HTTP/2 in the handshake of TLS (ALPN), and one
    /// without TLS may begin with it at once (prior knowledge)
    #[arg(long, help_heading = "I/O")]
    pub(crate) http1_only: bool,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    pub(crate) tls: super::tls::TlsArgs,

    #[cfg(feature = "acme")]
    #[command(flatten)]
    pub(crate) acme: super::acme::AcmeArgs,

    #[command(flatten)]
    pub(crate) clients: ClientArgs,

    #[command(flatten)]
    pub(crate) confinement: SandboxArgs,

    /// File that keeps the hashes of --etag content, so that a server that starts again has them at once; at most
    /// 4 MiB, made if it does not exist. Write access to it decides the ETags [default: in memory only]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Files")]
    pub(crate) etag_cache: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) health: HealthArgs,

    #[command(flatten)]
    pub(crate) logs: LogArgs,

    /// Report the cost of each response. Server-Timing, which is sent before the body, has the via
    /// that is tried first, the bytes of the body that are in the page cache, and the system calls and
    /// CPU time until the response head; the access log has the via that ran, whether the CPU copied,
    /// and all system calls and CPU microseconds of the response. Time spent waiting or accepting is
    /// not attributed to a request. Exposes page-cache residency to clients
    #[arg(long, help_heading = "Output")]
    pub(crate) explain: bool,

    #[cfg(feature = "metrics")]
    #[command(flatten)]
    pub(crate) observe: super::observe::ObserveArgs,

    /// Suppress the line that names the addresses
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Maximum bytes per second that are sent to a TCP connection, such as 500K or 10M (powers of
    /// 1024). The kernel paces the packets, by the queueing discipline fq or by TCP itself (Linux 4.13)
    #[arg(long, value_name = "BYTES", value_parser = rate, help_heading = "Limits")]
    pub(crate) rate: Option<NonZeroU64>,

    /// Maximum time from the first byte of a request to its last
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Limits")]
    pub(crate) header_timeout: Duration,

    /// Maximum time between two requests on a connection
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, help_heading = "Limits")]
    pub(crate) idle_timeout: Duration,

    /// Maximum time in which no byte of a response can be sent, or less than --min-rate on average
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, help_heading = "Limits")]
    pub(crate) send_timeout: Duration,

    /// Bytes per second that a client must take of a response on average over --send-timeout, such as
    /// 1K or 100K (powers of 1024); 0 for any. At most half of --rate
    #[arg(long, value_name = "BYTES", default_value = "1K", value_parser = bytes, help_heading = "Limits")]
    pub(crate) min_rate: u64,

    /// Maximum time for the file system to resolve a name or to read the next entries of a directory;
    /// after it the response is 503, or a listing that has begun ends. The response is 503 at once if
    /// all workers of a file system are past that time, or 64 requests per worker are queued. In
    /// topology single, except with model uring, only for file systems that are not local (NFS, CIFS,
    /// FUSE …)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Limits")]
    pub(crate) lookup_timeout: Duration,

    /// Maximum memory of all directory listings together, such as 256M (powers of 1024). Until its page is
    /// sent, a listing takes the name and 3 bytes for each entry, or 23 if it is sorted by size or time, and
    /// 48 KiB at least. One that gets none is answered by 503
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = listing_memory, help_heading = "Limits")]
    pub(crate) listing_memory: u64,

    /// Maximum time for requests in flight after SIGTERM or SIGINT, and for connections after an upgrade
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, help_heading = "Limits")]
    pub(crate) grace: Duration,

    /// Time between SIGTERM or SIGINT and the graceful shutdown, in which everything is served but --health is
    /// answered by 503, so that load balancers stop to send requests. A second signal ends it
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration, help_heading = "Limits")]
    pub(crate) drain: Duration,

    /// Maximum number of connections. At the limit a new connection closes the longest-idle one of
    /// the same event loop [default: three quarters of the limit on open files less 32; for model blocking at
    /// most 1024 or the number of workers, for posix-aio at most 1024; and as many as fit into half of the
    /// memory limit of the control group, by 6 KiB each, 16 KiB with model uring, or 128 KiB with models
    /// blocking and posix-aio]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) max_connections: Option<NonZeroUsize>,
}

/// The end of a response whose file is written while it is sent.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum TornPolicy {
    /// It is aborted
    Abort,
    /// It is sent
    Allow,
}

impl From<TornPolicy> for Torn {
    fn from(policy: TornPolicy) -> Self {
        match policy {
            TornPolicy::Abort => Self::Abort,
            TornPolicy::Allow => Self::Allow,
        }
    }
}
