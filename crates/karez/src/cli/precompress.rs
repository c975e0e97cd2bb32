//! The command line of `karez precompress`.

use clap::{Args, ValueEnum, ValueHint};
use karez_compress::{Coding, Level};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::values::{bytes, jobs};

/// The arguments of `karez precompress`.
#[derive(Args, Debug)]
pub(crate) struct PrecompressArgs {
    /// Directory of the site
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,

    /// Coding (repeatable) [default: all]
    #[arg(long = "coding", value_enum, value_name = "NAME", help_heading = "Files")]
    pub(crate) codings: Vec<CodingChoice>,

    /// Skip files that are shorter than this number of bytes (suffixes K, M, G)
    #[arg(long, value_name = "BYTES", default_value = "1K", value_parser = bytes, help_heading = "Files")]
    pub(crate) min_size: u64,

    /// Include files and directories whose names begin with a dot
    #[arg(long, help_heading = "Files")]
    pub(crate) hidden: bool,

    /// Compress and report, but change no file
    #[arg(long, short = 'n', help_heading = "Files")]
    pub(crate) dry_run: bool,

    /// CPU time spent: fast (zstd 3, brotli 4, gzip 5), balanced (9, 9, 6), best (19, 11, 9)
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        default_value = "best",
        help_heading = "Compression"
    )]
    pub(crate) level: LevelChoice,

    /// Number of files compressed at the same time, at most 256 [default: the number of cores]
    #[arg(long, short, value_name = "N", value_parser = jobs, help_heading = "Compression")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Print a line for each file that is written or removed; --dry-run does it, too
    #[arg(long, short, help_heading = "Output")]
    pub(crate) verbose: bool,

    /// Print the report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Print errors only
    #[arg(long, short, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// A content coding by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CodingChoice {
    Zstd,
    Br,
    Gzip,
}

/// A level by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LevelChoice {
    Fast,
    Balanced,
    Best,
}

impl From<CodingChoice> for Coding {
    fn from(choice: CodingChoice) -> Self {
        match choice {
            CodingChoice::Zstd => Self::Zstd,
            CodingChoice::Br => Self::Brotli,
            CodingChoice::Gzip => Self::Gzip,
        }
    }
}

impl From<LevelChoice> for Level {
    fn from(choice: LevelChoice) -> Self {
        match choice {
            LevelChoice::Fast => Self::Fast,
            LevelChoice::Balanced => Self::Balanced,
            LevelChoice::Best => Self::Best,
        }
    }
}
