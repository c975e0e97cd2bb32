//! The arguments of `karez serve` for its confinement.

use clap::{ArgAction, Args, ValueEnum, ValueHint};
use std::path::PathBuf;

/// The arguments for the confinement.
#[derive(Args, Debug)]
#[command(next_help_heading = "Confinement")]
pub(crate) struct SandboxArgs {
    /// User to become after the addresses are bound and the keys are read: a name or a number. Without
    /// GROUP the user's own groups. Needs root; certificates that change later have to be readable by
    /// this user
    #[arg(long, value_name = "NAME[:GROUP]")]
    pub(crate) user: Option<String>,

    /// Confinement of the running server: no capabilities, no core dumps, Landlock rules, by which it can
    /// only read the served directories and those of its files, and neither connect to other hosts nor
    /// signal other processes, and a seccomp filter, by which it starts no program. best-effort enforces what the kernel
    /// has, and also permits reading beside a root, so that it can be replaced; strict permits the root
    /// alone and refuses to start if something cannot be enforced. See docs/SERVE.md
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    pub(crate) sandbox: SandboxMode,

    /// Directory whose files may be read besides: for roots that a symbolic link is switched to, or
    /// that a reload names; repeatable
    #[arg(long, value_name = "DIR", action = ArgAction::Append, value_hint = ValueHint::DirPath)]
    pub(crate) sandbox_read: Vec<PathBuf>,
}

/// How the running server is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SandboxMode {
    /// Not at all
    Off,
    /// By everything that the kernel has
    #[default]
    BestEffort,
    /// By everything, or not started
    Strict,
}
