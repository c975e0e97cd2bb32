//! The definition of the command line. Help, man pages and completions are generated from it.
#![expect(rustdoc::broken_intra_doc_links, reason = "these comments are help texts")]

#[cfg(feature = "acme")]
mod acme;
mod book;
mod clients;
mod copy;
mod exercise;
mod health;
mod lab;
mod logs;
#[cfg(feature = "metrics")]
mod observe;
mod passwd;
#[cfg(feature = "compress")]
mod precompress;
mod report_output;
mod rules;
mod sandbox;
mod serve;
mod site;
#[cfg(feature = "tls")]
mod tls;
mod upgrade;
mod values;

pub(crate) use book::BookArgs;
pub(crate) use copy::CopyArgs;
pub(crate) use exercise::{ExerciseArgs, prediction};
pub(crate) use health::CheckHealthArgs;
pub(crate) use lab::{
    AllArgs, ClaimsArgs, CompareArgs, Lab, ModelsArgs, SelfTestArgs, TopologiesArgs, TraceArgs,
    ViasArgs,
};
pub(crate) use logs::{LogArgs, LogForm};
pub(crate) use passwd::PasswdArgs;
#[cfg(feature = "compress")]
pub(crate) use precompress::PrecompressArgs;
pub(crate) use report_output::OutputArgs;
pub(crate) use sandbox::SandboxMode;
pub(crate) use serve::ServeArgs;
pub(crate) use site::{SiteArgs, SiteTable};
#[cfg(feature = "tls")]
pub(crate) use tls::KtlsChoice;
pub(crate) use upgrade::UpgradeArgs;
pub(crate) use values::{ListenAddress, Scheme};

use clap::builder::styling::{AnsiColor, Effects, Styles};
use clap::{Args, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

/// The colours of cargo. clap omits them if the output is not a terminal.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::Cyan.on_default().effects(Effects::BOLD))
    .placeholder(AnsiColor::Cyan.on_default());

/// Static file server, file copier and I/O laboratory for Linux
///
/// Three words occur in all commands. Via: how bytes are moved (transfer method, such as sendfile).
/// Model: how a thread waits for I/O (I/O model, such as epoll). Topology: how threads share the
/// connections (threading layout).
#[derive(Debug, Parser)]
#[command(name = "karez", version, styles = STYLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a directory over HTTP or HTTPS
    ///
    /// Serves the files below DIR over HTTP/1.1, and without TLS also over HTTP/2 (prior knowledge),
    /// and no file outside it. SIGTERM or SIGINT begins a graceful shutdown, a second signal ends the
    /// server at once. SIGUSR2 has another process take over, see karez upgrade.
    #[command(
        after_help = "Examples:\n  karez serve\n  karez serve --listen 0.0.0.0:80 --topology reuseport --log json /srv/www\n  karez serve --tls-cert cert.pem --tls-key key.pem --listen 0.0.0.0:443 /srv/www\n\nExit status: 0 after a shutdown, 1 after an error, 2 if the arguments are invalid."
    )]
    Serve(Box<ServeArgs>),
    /// Check a configuration file of karez serve
    ///
    /// Reads FILE and checks everything that it names: keys and values, directories, certificates and
    /// their keys, rules. Prints every fault with its line.
    #[command(
        after_help = "Example: karez check /etc/karez.toml && systemctl reload karez\n\nExit status: 0 if there is no fault, 1 if there is one."
    )]
    Check(CheckArgs),
    /// Print the effective configuration of karez serve
    ///
    /// Prints what karez serve would run with these flags and this file, as a file that can be loaded
    /// again. A comment behind each value names the flag or the line that it comes from.
    #[command(
        after_help = "Examples:\n  karez config > karez.toml\n  karez config --config karez.toml --log json\n  karez config --schema > karez.schema.json"
    )]
    Config(Box<ConfigArgs>),
    /// Replace a running karez serve without a lost request
    ///
    /// Has another process, of the same file name and arguments, take over the listeners of a running server. When
    /// it serves, the old process accepts no more, announces the end of each connection with the next
    /// response, and ends within --grace. If the new program or its configuration fails, the old process
    /// goes on. SIGUSR2 does the same.
    #[command(
        after_help = "Examples:\n  karez upgrade\n  karez upgrade $(systemctl show --value --property MainPID karez)\n\nExit status: 0 if the new process serves, 1 if the old one goes on."
    )]
    Upgrade(UpgradeArgs),
    /// Make a password for karez serve --auth
    ///
    /// Reads a password, from the terminal without echo or from the first line of standard input, and
    /// prints the line USER:HASH, or writes it into FILE in place of the user's line.
    #[command(
        allow_missing_positional = true,
        after_help = "Examples:\n  karez passwd /etc/karez/users anna\n  karez passwd --bcrypt anna < password >> .htpasswd\n\nExit status: 0, or 1 after an error."
    )]
    Passwd(PasswdArgs),
    /// Ask a server whether it serves
    ///
    /// Requests URL, such as that of karez serve --health, and succeeds if the status is 2xx: for health
    /// checks of containers without curl. Redirects and proxies are not followed. Otherwise one line on
    /// standard error names the URL and the reason.
    #[command(
        after_help = "Examples:\n  karez health http://127.0.0.1:8080/healthz\n  karez health --tls-ca ca.pem --timeout 2s https://localhost/healthz\n\nExit status: 0 if it serves, 1 if not, 2 if the arguments are invalid."
    )]
    Health(CheckHealthArgs),
    /// Copy files and directory trees
    ///
    /// Copies SRC to DST, or into DST if it is a directory. A copy is written without a name and gets
    /// its name when it is complete; holes are preserved. The report names the via (transfer method)
    /// that moved the bytes: if the file system supports it, both files share their blocks and no
    /// byte is copied.
    ///
    /// The result for several sources is as if they were copied one after the other: where two trees
    /// write to one directory the last wins, with --no-clobber the first, and a file made from one
    /// source is not overwritten by another. SRC `-` is standard input, DST `-` standard output. Without
    /// --recursive pipes and devices are read and written.
    #[command(
        after_help = "Examples:\n  karez copy disk.img backup.img\n  karez copy -a --json src/ /mnt/backup\n  tar c . | karez copy - /mnt/backup.tar\n\nExit status: 0 if every file was copied; 1 if a file was not, or an attribute for which cp -a would fail (owner as root, mode, times, ACL); 2 if the arguments are invalid."
    )]
    Copy(Box<CopyArgs>),
    /// Report the kernel features available to karez, with the error of each missing one
    ///
    /// Tries every model (I/O model), every via (transfer method) in each direction, io_uring, the
    /// file system of a directory and the requirements of karez lab with the code that uses them, and
    /// prints the relevant limits.
    #[command(after_help = "Example: karez doctor --json . | jq '.sections[].findings[]'")]
    Doctor(DoctorArgs),
    /// Measure the cost of each method of Linux I/O
    ///
    /// Runs the vias (transfer methods) and models (I/O models) on this machine, with the code of the
    /// server, and counts system calls, page faults, mode switches and bytes copied by the CPU. As
    /// root the counts are exact, by tracepoints.
    #[command(subcommand)]
    Lab(Box<Lab>),
    /// Write compressed files beside the files of a site
    ///
    /// Writes NAME.zst, NAME.br and NAME.gz beside each file below DIR that becomes at least 5 % smaller,
    /// with its time and permissions; karez serve sends them to clients that accept the coding. A
    /// compressed file that is not older than its original is current and left as it is; one that is older
    /// is replaced, or removed if it would not be smaller. Formats that are compressed by definition, such
    /// as PNG and ZIP, are skipped, and symbolic links are not followed.
    #[cfg(feature = "compress")]
    #[command(
        after_help = "Examples:\n  karez precompress --dry-run /srv/www\n  karez precompress --coding br --coding gzip /srv/www\n\nExit status: 0 if every file was considered, 1 after an error, 2 if the arguments are invalid."
    )]
    Precompress(PrecompressArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example: karez completions bash > ~/.local/share/bash-completion/completions/karez"
    )]
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Print a man page
    #[command(after_help = "Example: karez man serve | man -l -")]
    Man {
        /// Command to describe [default: karez itself]
        #[arg(value_parser = ["serve", "check", "config", "upgrade", "passwd", "health", "copy", "doctor", "lab", "precompress", "completions", "man"])]
        command: Option<String>,
    },
}

/// The arguments of `karez check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Configuration file (TOML)
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// The arguments of `karez config`.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// Print a JSON Schema of the file, for editors
    #[arg(long)]
    pub(crate) schema: bool,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// The arguments of `karez doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Directory for test files, a few small ones without names
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::values::{AUTO, ModelChoice};
    use super::*;
    use clap::CommandFactory as _;
    use karez_reactor::Model;
    use karez_transfer::{CachePolicy, Direction, Via};

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_name_is_accepted() {
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
