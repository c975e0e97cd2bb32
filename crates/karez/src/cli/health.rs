//! The arguments for the health of a server: of `karez serve`, and of `karez health`.

use clap::Args;
use karez_server::{HealthOptions, HealthPath};
#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::time::Duration;

use super::values::{duration, url};

/// The arguments of `karez serve`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthArgs {
    /// Path by which load balancers ask whether the server serves, such as /healthz. On every site GET and
    /// HEAD of it are answered by 200 and ok, from a stop signal on by 503; see --drain and karez health
    #[arg(long, value_name = "PATH")]
    pub(crate) health: Option<HealthPath>,

    /// Write requests for --health to the access log, too
    #[arg(long, requires = "health")]
    pub(crate) log_health: bool,
}

/// The arguments of `karez health`.
#[derive(Args, Debug)]
pub(crate) struct CheckHealthArgs {
    /// URL to request by GET: http or https
    #[arg(value_parser = url)]
    pub(crate) url: String,

    /// Maximum time for all of it
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// Accept any certificate
    #[cfg(feature = "tls")]
    #[arg(long, conflicts_with = "tls_ca")]
    pub(crate) insecure: bool,

    /// Trust the authorities in this PEM file, instead of those of the system
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) tls_ca: Option<PathBuf>,
}

impl HealthArgs {
    /// Returns the options of the server.
    pub(crate) fn options(&self) -> HealthOptions {
        let mut options = HealthOptions::default();
        options.path.clone_from(&self.health);
        options.log = self.log_health;
        options
    }
}
