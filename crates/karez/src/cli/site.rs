//! The arguments of `karez serve` that belong to a site: each is a key of a `[[site]]`, too.

use clap::{Args, ValueHint};
use karez_server::{FileEtag, HostName};
use std::path::PathBuf;

use super::rules::RuleArgs;
#[cfg(feature = "tls")]
use super::tls::PairArgs;
use super::values::{bytes, index_name, substitution};

/// The arguments of a site.
#[derive(Args, Debug)]
pub(crate) struct SiteArgs {
    /// Directory to serve. The name is resolved for each request, so a symbolic link may be switched
    /// or the directory replaced while the server runs; the files are confined to the directory that
    /// it resolves to. While it does not exist, every response is 404
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,

    /// File to serve for a directory request
    #[arg(long, value_name = "NAME", default_value = "index.html", value_parser = index_name, help_heading = "Files")]
    pub(crate) index: String,

    /// Respond with 403 to a request for a directory without an index file, instead of a listing
    #[arg(long, help_heading = "Files")]
    pub(crate) no_listing: bool,

    /// Offer each directory that is listed as a tar archive, by a link in the listing and the query format=tar:
    /// with a length, an ETag and ranges, so that an interrupted download resumes. It has what the client could
    /// get file by file. Off by default, because one request then reads a whole tree
    #[arg(long, help_heading = "Files")]
    pub(crate) tar: bool,

    /// File of a directory to show above its listing, such as README.md: HTML (.html, .htm) as it is, any other
    /// as text. Repeatable: the first that the directory has
    #[arg(long, value_name = "NAME", value_parser = index_name, help_heading = "Files")]
    pub(crate) listing_header: Vec<String>,

    /// The same, below the listing
    #[arg(long, value_name = "NAME", value_parser = index_name, help_heading = "Files")]
    pub(crate) listing_footer: Vec<String>,

    /// Serve names that begin with a dot; /.well-known/ is always served (RFC 8615)
    #[arg(long, help_heading = "Files")]
    pub(crate) hidden: bool,

    /// Replace the bytes FROM by the equally long TO in each file that is sent; files on the disk
    /// are not changed, and precompressed files are not searched; repeatable
    #[arg(long, value_name = "FROM=TO", value_parser = substitution, help_heading = "Files")]
    pub(crate) substitute: Vec<(Vec<u8>, Vec<u8>)>,

    /// Compress text and similar files of 1 KiB to 10 MiB for clients that accept zstd, br or gzip, where no
    /// precompressed file is: once for each version, by a worker; results of 64 MiB stay in memory. Until
    /// one is made, and for a range, the plain file is sent
    #[cfg(feature = "compress")]
    #[arg(long, help_heading = "Files")]
    pub(crate) compress: bool,

    /// Attributes of a file from which its ETag is made, or its content
    #[arg(long, value_name = "FORM", default_value = "local", value_enum, help_heading = "Files")]
    pub(crate) etag: EtagForm,

    /// Maximum size of a file that has an ETag with --etag content, such as 64M (powers of 1024)
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = bytes, help_heading = "Files")]
    pub(crate) etag_max: u64,

    #[command(flatten)]
    pub(crate) rules: RuleArgs,
}

/// The keys of a `[[site]]`, which has no command line of its own.
#[derive(Args, Debug)]
pub(crate) struct SiteTable {
    /// Names of the site, such as example.org or *.example.org, for one label in place of the asterisk.
    /// A site without hosts, or otherwise the first, serves requests for all other names
    #[arg(long, value_name = "NAME")]
    pub(crate) hosts: Vec<HostName>,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    pub(crate) pairs: PairArgs,

    #[command(flatten)]
    pub(crate) site: SiteArgs,
}

/// The form of entity tags.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum EtagForm {
    /// Modification time, size, change time, device and inode: no two contents on this host share an
    /// ETag. A date matches only if it equals Last-Modified and the inode has not changed since (so
    /// not for a file whose time was set by cp -p, rsync -t or tar)
    Local,
    /// Modification time and size, so that replicas of a tree agree. Two contents of equal time and
    /// size share an ETag: a client may keep the old one, or combine parts of both. A file with time 0
    /// or 1 has no ETag
    Shared,
    /// SHA-256 of the content, so that replicas of a tree agree, and equal ETags are equal bytes. It is
    /// computed once for each version of a file, by a thread; until it is known, responses have no ETag
    Content,
}

impl SiteArgs {
    /// Returns the form of entity tags.
    pub(crate) fn etag(&self) -> FileEtag {
        match self.etag {
            EtagForm::Local => FileEtag::Local,
            EtagForm::Shared => FileEtag::Shared,
            EtagForm::Content => FileEtag::Content { max_size: self.etag_max },
        }
    }
}
