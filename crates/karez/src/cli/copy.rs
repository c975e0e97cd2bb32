//! The command line of `karez copy`.

use clap::{Args, ValueHint};
use karez_transfer::{CachePolicy, Via};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::values::{cache_policies, copy_vias, jobs};

/// The arguments of `karez copy`.
#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// File or directory to copy; `-` is standard input
    #[arg(required = true, value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<PathBuf>,

    /// Name of the copy, or directory to copy into; must be a directory if there are several SRC; `-`
    /// is standard output, and the report is then printed to standard error
    #[arg(required = true, value_name = "DST", value_hint = ValueHint::AnyPath)]
    pub(crate) target: PathBuf,

    /// Copy directories with their content; symbolic links as links; make new FIFOs, sockets and
    /// devices
    #[arg(long, short, visible_short_alias = 'R', help_heading = "Files")]
    pub(crate) recursive: bool,

    /// Keep mode, times, extended attributes, ACLs, hard links among the copied files and, if
    /// permitted, ownership; implies --recursive and reports each attribute that cannot be set, without
    /// which the file is copied
    #[arg(long, short, help_heading = "Files")]
    pub(crate) archive: bool,

    /// Skip sources whose destination exists
    #[arg(long, short, help_heading = "Files")]
    pub(crate) no_clobber: bool,

    /// Write into an existing file instead of replacing it: for a mount point, or in a directory that
    /// is not writable. Inode, hard links, owner and mode are kept; an interrupted copy is incomplete
    #[arg(long, help_heading = "Files")]
    pub(crate) in_place: bool,

    /// Via: how bytes are moved (transfer method). auto shares blocks if the file system supports it,
    /// and falls back to copy-range, sendfile and copy
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = copy_vias(), help_heading = "I/O")]
    pub(crate) via: Via,

    /// Page-cache policy: keep; sequential (larger read-ahead); drop (drop pages after use); uncached
    /// (RWF_DONTCACHE, falls back to drop); direct (O_DIRECT)
    #[arg(long, value_name = "POLICY", default_value = "keep", value_parser = cache_policies(), help_heading = "I/O")]
    pub(crate) cache: CachePolicy,

    /// Return when bytes, attributes and names are on the disk (fsync of each file, then of its
    /// directory, many at a time). Costs disk time: a cache flush for every few new files, and for each
    /// replaced file
    #[arg(long, help_heading = "I/O")]
    pub(crate) sync: bool,

    /// Number of files copied at the same time, at most 256 [default: the number of cores, at most 16]
    #[arg(long, short, value_name = "N", value_parser = jobs, help_heading = "I/O")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Print the report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Print errors only
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
}
