//! A finding: a name, whether it is there, and why not.

use rustix::io::Errno;
use serde::Serialize;

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// The version of this structure.
    pub schema: u32,
    /// The kernel's release, as `uname -r` has it.
    pub kernel: String,
    /// The hardware, as `uname -m` has it.
    pub machine: String,
    /// Where files were tried.
    pub directory: String,
    /// The findings, by theme.
    pub sections: Vec<Section>,
}

/// Findings of one theme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// In the order in which they are told.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub name: String,
    /// Whether it is there.
    pub verdict: Verdict,
    /// Why not, how much, since which kernel.
    pub detail: String,
}

/// Whether a thing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was tried and works.
    Available,
    /// It was tried and refused.
    Refused,
    /// It could not be tried.
    Unknown,
    /// It is a figure or a name, neither good nor bad.
    Fact,
}

impl Finding {
    pub(crate) fn available(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Available, detail: detail.into() }
    }

    pub(crate) fn refused(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Refused, detail: detail.into() }
    }

    pub(crate) fn unknown(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Unknown, detail: detail.into() }
    }

    pub(crate) fn fact(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Fact, detail: detail.into() }
    }

    /// What came of trying.
    pub(crate) fn from_result<T>(name: &str, outcome: &Result<T, Errno>, since: &str) -> Self {
        match outcome {
            Ok(_) => Self::available(name, since),
            Err(errno) => Self::refused(name, format!("{}, {since}", describe(*errno))),
        }
    }
}

/// An errno with its name and text: `EPERM: Operation not permitted (os error 1)`.
pub(crate) fn describe(errno: Errno) -> String {
    let text = std::io::Error::from(errno);
    match named(errno) {
        Some(name) => format!("{name}: {text}"),
        None => text.to_string(),
    }
}

/// The names of those that refusals come with.
fn named(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::PERM => "EPERM",
        Errno::NOENT => "ENOENT",
        Errno::AGAIN => "EAGAIN",
        Errno::NOMEM => "ENOMEM",
        Errno::ACCESS => "EACCES",
        Errno::XDEV => "EXDEV",
        Errno::NODEV => "ENODEV",
        Errno::INVAL => "EINVAL",
        Errno::NFILE => "ENFILE",
        Errno::MFILE => "EMFILE",
        Errno::NOTTY => "ENOTTY",
        Errno::NOSPC => "ENOSPC",
        Errno::SPIPE => "ESPIPE",
        Errno::ROFS => "EROFS",
        Errno::NOSYS => "ENOSYS",
        Errno::ISDIR => "EISDIR",
        Errno::NOPROTOOPT => "ENOPROTOOPT",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        _ => return None,
    })
}
