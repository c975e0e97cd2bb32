//! The command line of `karez upgrade`.

use clap::Args;

/// The arguments of `karez upgrade`.
#[derive(Args, Debug)]
pub(crate) struct UpgradeArgs {
    /// Process ID of the server [default: the only one that runs]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(crate) pid: Option<u32>,
}
