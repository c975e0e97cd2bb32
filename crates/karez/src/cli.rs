//! The one definition of the command line: help, man pages and completions are made from it.
#![expect(rustdoc::broken_intra_doc_links, reason = "these comments are help texts")]

mod lab;

pub(crate) use lab::{
    AllArgs, ClaimsArgs, CompareArgs, Lab, ModelsArgs, OutputArgs, SelfTestArgs, TopologiesArgs,
    TraceArgs, ViasArgs,
};

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::builder::styling::{AnsiColor, Effects, Styles};
use clap::{Args, Parser, Subcommand, ValueHint};
use karez_reactor::{Address, Model, Topology};
use karez_server::{FileEtag, Stamps};
use karez_transfer::{CachePolicy, Direction, Via};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Each is a thread with files open.
const MOST_JOBS: usize = 256;

/// Colours as cargo has them; clap leaves them out where there is no terminal.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::Cyan.on_default().effects(Effects::BOLD))
    .placeholder(AnsiColor::Cyan.on_default());

/// Moves bytes underground: serves files over every way that Linux has to wait for I/O and to
/// move bytes.
#[derive(Debug, Parser)]
#[command(name = "karez", version, styles = STYLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a directory over HTTP
    ///
    /// Serves the files below DIR, and nothing outside it. SIGTERM or SIGINT stops the server
    /// after what is in flight, a second one at once.
    Serve(Box<Serve>),
    /// Copy files and trees
    ///
    /// Copies SRC to DST, or into DST if that is a directory. A file appears under its name when it
    /// is whole, and keeps its holes. Says which way moved the bytes: where the file system can,
    /// both files share them and nothing is copied. Sources are copied as if one after the other:
    /// of trees that meet in DST the last one wins, with --no-clobber the first, and a file that was
    /// just made of one SRC is not overwritten with another. The SRC `-` is standard input, the DST
    /// `-` standard output; pipes and devices are read and written, without -r, as they come.
    #[command(
        after_help = "Examples:\n  karez copy disk.img backup.img\n  karez copy -a --json src/ /mnt/backup\n  tar c . | karez copy - /mnt/backup.tar\n\nExit status: 0 if all was copied, 1 if a file was not, or an attribute that -a keeps and cp(1) would fail for (owner as root, mode, times, ACL), 2 if the command makes no sense."
    )]
    Copy(Box<Copy>),
    /// Report the kernel features available to karez, with the error of each missing one
    ///
    /// Tries every model, every via (transfer method) in each direction, io_uring, the file system
    /// of a directory and the requirements of karez lab with the code that uses them, and prints
    /// the relevant limits.
    #[command(after_help = "Example: karez doctor --json . | jq '.sections[].findings[]'")]
    Doctor(Doctor),
    /// Measure the cost of each method of Linux I/O
    ///
    /// Runs the vias (transfer methods) and I/O models on this machine, with the code of the server,
    /// and counts system calls, page faults, mode switches and bytes copied by the CPU. As root the
    /// counts are exact, by tracepoints.
    #[command(subcommand)]
    Lab(Box<Lab>),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example: karez completions bash > ~/.local/share/bash-completion/completions/karez"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a man page
    #[command(after_help = "Example: karez man serve | man -l -")]
    Man {
        /// The command the page is about [default: karez itself]
        #[arg(value_parser = ["serve", "copy", "doctor", "lab", "completions", "man"])]
        command: Option<String>,
    },
}

/// The arguments of `karez serve`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The directory to serve. Its name is looked up anew for each request, so it may be a symbolic
    /// link that is swapped, or a directory that is replaced, while the server runs; files are
    /// confined to the directory that it leads to. Without one the answer is 404
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,

    /// Where to listen: IP:PORT, [IPv6]:PORT or unix:PATH; port 0 lets the kernel choose. May be
    /// given several times
    #[arg(long, short, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Vec<Address>,

    /// The file that stands for its directory
    #[arg(long, value_name = "NAME", default_value = "index.html", value_parser = index_name, help_heading = "Files")]
    pub(crate) index: String,

    /// Do not list directories that have no index file (403)
    #[arg(long, help_heading = "Files")]
    pub(crate) no_listing: bool,

    /// Serve names that begin with a dot, too; /.well-known/ is served in any case (RFC 8615)
    #[arg(long, help_heading = "Files")]
    pub(crate) hidden: bool,

    /// Replace FROM by TO, which is as long, in files as they leave; the files on the disk stay as
    /// they are, and what is compressed is not looked into. May be given several times
    #[arg(long, value_name = "FROM=TO", value_parser = stamp, help_heading = "Files")]
    pub(crate) stamp: Vec<(Vec<u8>, Vec<u8>)>,

    /// What the ETag of a file is made of
    #[arg(long, value_name = "FORM", default_value = "local", value_enum, help_heading = "Files")]
    pub(crate) etag: EtagForm,

    /// How to wait for I/O; auto takes the first of epoll-edge, poll, select and blocking that the
    /// kernel grants and that suits the rest. With uring and posix-aio files leave by copy, with uring
    /// also by splice and zerocopy
    #[arg(long, value_name = "NAME", default_value = AUTO, value_parser = models(), help_heading = "Ways")]
    pub(crate) model: ModelChoice,

    /// How to move bytes; auto copies what is small and in memory and passes pages otherwise
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = vias(), help_heading = "Ways")]
    pub(crate) via: Via,

    /// How reactors and threads are laid out: single, one that does everything; workers, one and
    /// a pool for what may block; multi, one that accepts for several; reuseport, several that
    /// each have a listener [default: what suits the model and the threads]
    #[arg(long, value_name = "NAME", value_parser = topologies(), help_heading = "Ways")]
    pub(crate) topology: Option<Topology>,

    /// Reactors that hold connections, in topology multi and reuseport [default: the number of
    /// cores]
    #[arg(long, value_name = "N", help_heading = "Ways")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Threads for what may block, at most for each file system, in every topology but single
    /// [default: 16; for model blocking, where each holds a connection, 256]
    #[arg(long, value_name = "N", help_heading = "Ways")]
    pub(crate) workers: Option<NonZeroUsize>,

    /// Keep each reactor on a core of its own
    #[arg(long, help_heading = "Ways")]
    pub(crate) pin: bool,

    /// With model nonblocking: offer the core to others after each lap
    #[arg(long = "yield", help_heading = "Ways")]
    pub(crate) yields: bool,

    /// The form of the access log on standard output
    #[arg(
        long,
        value_name = "FORM",
        default_value = "common",
        value_enum,
        help_heading = "Output"
    )]
    pub(crate) log: LogForm,

    /// Tell what each answer costs: in Server-Timing, which leaves before the body, the via that is
    /// tried first, the bytes that the page cache has of the body, and system calls and CPU time up
    /// to the head; in the access log the via that ran, whether the CPU copied, and all system calls
    /// and CPU microseconds of the answer. Waiting and accepting are nobody's. Clients then learn
    /// what of a file is in memory
    #[arg(long, help_heading = "Output")]
    pub(crate) explain: bool,

    /// Do not say where the server listens
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// How long a request may take to arrive, from its first byte
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Limits")]
    pub(crate) header_timeout: Duration,

    /// How long a connection may rest between requests
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, help_heading = "Limits")]
    pub(crate) idle_timeout: Duration,

    /// How long a client may take no byte of an answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, help_heading = "Limits")]
    pub(crate) send_timeout: Duration,

    /// How long the file system may take to find a name or to read the next entries of a directory;
    /// then the answer is 503, or the end of a listing that has begun. At once where every worker
    /// of a file system is past that time, or 64 requests for each wait. With topology single
    /// (but for uring) only for NFS, CIFS, FUSE and other file systems that are not local
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Limits")]
    pub(crate) lookup_timeout: Duration,

    /// How long a stop waits for what is in flight
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, help_heading = "Limits")]
    pub(crate) grace: Duration,

    /// Connections at once; one more closes the one that has been idle longest, of its reactor's [default: three
    /// quarters of the limit on open files, for model blocking at most 1024 or the workers, for posix-aio at most 1024]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) max_connections: Option<NonZeroUsize>,
}

/// The arguments of `karez doctor`.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Where files are tried: a few small ones without names come and go
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `karez copy`.
#[derive(Args, Debug)]
pub(crate) struct Copy {
    /// What to copy; `-` is standard input
    #[arg(required = true, value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<PathBuf>,

    /// Where to: a name, or a directory to copy into; for several SRC a directory; `-` is standard
    /// output, and the report then goes to standard error
    #[arg(required = true, value_name = "DST", value_hint = ValueHint::AnyPath)]
    pub(crate) target: PathBuf,

    /// Copy directories with all that is in them; symbolic links as links, FIFOs, sockets and
    /// devices made anew
    #[arg(long, short, visible_short_alias = 'R', help_heading = "What")]
    pub(crate) recursive: bool,

    /// Keep mode, times, extended attributes, ACLs, hard links among what is copied and, where it
    /// is permitted, ownership; includes --recursive and reports each refused attribute, without
    /// which the file is copied
    #[arg(long, short, help_heading = "What")]
    pub(crate) archive: bool,

    /// Leave alone what is there already
    #[arg(long, short, help_heading = "What")]
    pub(crate) no_clobber: bool,

    /// Exit only when all is on the disk: bytes, attributes and names (fsync of each file, then of
    /// its directory, many at once). Costs the time of the disk: a flush for every few new files,
    /// and for each file that replaces another
    #[arg(long, help_heading = "What")]
    pub(crate) sync: bool,
    /// Write into a file that is there instead of replacing it: for a mount point, or in a directory
    /// that is not writable. Inode, hard links, owner and mode stay; an interrupted copy leaves a
    /// part of the file
    #[arg(long, help_heading = "What")]
    pub(crate) in_place: bool,

    /// How to move bytes; auto shares them where the file system can, and goes down the ladder
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = copy_vias(), help_heading = "Ways")]
    pub(crate) via: Via,

    /// What becomes of the page cache; sequential reads further ahead, direct passes it by
    #[arg(long, value_name = "POLICY", default_value = "keep", value_parser = cache_policies(), help_heading = "Ways")]
    pub(crate) cache: CachePolicy,

    /// Files that are copied at once [default: the number of cores, at most 16]
    #[arg(long, short, value_name = "N", value_parser = jobs, help_heading = "Ways")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Say nothing but errors
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
}
/// The name under which the model is left to us.
const AUTO: &str = "auto";

/// A model, or none for the best that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModelChoice(pub(crate) Option<Model>);
/// The form of the access log.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LogForm {
    /// Common Log Format
    Common,
    /// The same with referrer and user agent
    Combined,
    /// A JSON object a line
    Json,
    /// No access log
    Off,
}

/// The form of entity tags.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum EtagForm {
    /// By modification time, size, change time and inode: no two contents on this host share an
    /// ETag. A date matches only if it is Last-Modified itself and the inode has not changed since
    /// (so not for a file whose time was set, as cp -p, rsync -t and tar do)
    Local,
    /// By modification time and size, so that replicas of a tree agree. Two contents of equal time and
    /// size share an ETag then: a client may keep the old one, or join parts of both. A file of time
    /// 0 or 1 has no ETag
    Shared,
}

impl From<EtagForm> for FileEtag {
    fn from(form: EtagForm) -> Self {
        match form {
            EtagForm::Local => Self::Local,
            EtagForm::Shared => Self::Shared,
        }
    }
}

/// A parser that knows names and what they stand for, so that help and completions list them.
macro_rules! named {
    ($type:ty) => {
        PossibleValuesParser::new(<$type>::ALL.iter().map(|one| one.name())).map(|name| {
            let found = <$type>::ALL.iter().copied().find(|one| one.name() == name);
            found.unwrap_or(<$type>::ALL[0])
        })
    };
}

fn models() -> impl clap::builder::TypedValueParser<Value = ModelChoice> {
    let names = [AUTO].into_iter().chain(Model::ALL.iter().map(|model| model.name()));
    PossibleValuesParser::new(names)
        .map(|name| ModelChoice(Model::ALL.iter().copied().find(|model| model.name() == name)))
}

fn vias() -> impl clap::builder::TypedValueParser<Value = Via> {
    let vias = Direction::FileToSocket.vias();
    PossibleValuesParser::new(vias.iter().map(|via| via.name())).try_map(|name| name.parse())
}

/// Without edits a private mapping is a mapping.
fn copy_vias() -> impl clap::builder::TypedValueParser<Value = Via> {
    let vias = Direction::FileToFile.vias().iter().filter(|&&via| via != Via::Cow);
    PossibleValuesParser::new(vias.map(|via| via.name())).try_map(|name| name.parse())
}

fn cache_policies() -> impl clap::builder::TypedValueParser<Value = CachePolicy> {
    named!(CachePolicy)
}

fn topologies() -> impl clap::builder::TypedValueParser<Value = Topology> {
    named!(Topology)
}

fn index_name(name: &str) -> Result<String, &'static str> {
    if name.contains('/') || name == "." || name == ".." {
        return Err("it is a name in the directory, not a path");
    }
    Ok(name.to_owned())
}

fn stamp(text: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let (from, to) = text.split_once('=').ok_or("it has no '='")?;
    let pair = (from.as_bytes().to_vec(), to.as_bytes().to_vec());
    Stamps::new(std::slice::from_ref(&pair)).map_err(|unequal| unequal.to_string())?;
    Ok(pair)
}

fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(jobs) if jobs.get() <= MOST_JOBS => Ok(jobs),
        Ok(_) => Err(format!("more than {MOST_JOBS} only get in each other's way")),
        Err(error) => Err(error.to_string()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    // Deadlines are added to the clock, which must not overflow.
    if parsed > Duration::from_secs(365 * 86_400) {
        return Err("it is longer than a year".to_owned());
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_name_is_known() {
        for model in Model::ALL {
            let cli = Cli::try_parse_from(["karez", "serve", "--model", model.name()]).unwrap();
            let Command::Serve(serve) = cli.command else { panic!() };
            assert_eq!(serve.model, ModelChoice(Some(*model)));
        }
        let cli = Cli::try_parse_from(["karez", "serve", "--model", AUTO]).unwrap();
        let Command::Serve(serve) = cli.command else { panic!() };
        assert_eq!(serve.model, ModelChoice(None));
        for via in Direction::FileToFile.vias().iter().filter(|&&via| via != Via::Cow) {
            let cli =
                Cli::try_parse_from(["karez", "copy", "a", "b", "--via", via.name()]).unwrap();
            let Command::Copy(copy) = cli.command else { panic!() };
            assert_eq!((copy.via, copy.sources.len()), (*via, 1));
        }
        for cache in CachePolicy::ALL {
            let cli =
                Cli::try_parse_from(["karez", "copy", "a", "b", "c", "--cache", cache.name()]);
            let Command::Copy(copy) = cli.unwrap().command else { panic!() };
            assert_eq!((copy.cache, copy.sources.len()), (*cache, 2));
        }
        for via in Direction::FileToSocket.vias() {
            let cli = Cli::try_parse_from(["karez", "serve", "--via", via.name()]).unwrap();
            let Command::Serve(serve) = cli.command else { panic!() };
            assert_eq!(serve.via, *via);
        }
    }
}
