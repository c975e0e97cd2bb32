//! The arguments of `karez serve` for metrics.

use clap::Args;
use karez_reactor::Address;

/// The arguments for metrics.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct ObserveArgs {
    /// Serve metrics for Prometheus (OpenMetrics) at /metrics of this address: IP:PORT, [IPv6]:PORT or
    /// unix:PATH, without TLS and password. See docs/OBSERVING.md
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<Address>,

    /// Serve a live page at this address: rates, latencies, connections and the most requested files, to
    /// everybody who reaches it. May be the address of --metrics
    #[arg(long, value_name = "ADDR")]
    pub(crate) status: Option<Address>,
}
