//! A finding: a feature, whether it is available, and the reason if not.

use rustix::io::Errno;
use serde::Serialize;

/// All findings about a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Examination {
    /// The version of this structure.
    pub schema: u32,
    /// The kernel release, as in `uname -r`.
    pub kernel: String,
    /// The hardware name, as in `uname -m`.
    pub machine: String,
    /// The directory that the file tests used.
    pub directory: String,
    /// The findings, by theme.
    pub sections: Vec<Section>,
}

/// Findings about one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Section {
    /// The subject.
    pub title: &'static str,
    /// The findings, in the order of the report.
    pub findings: Vec<Finding>,
}

/// One examined feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The name of the feature.
    pub name: String,
    /// Whether it is available.
    pub verdict: Verdict,
    /// The reason, the amount, or the first kernel version.
    pub detail: String,
}

/// Availability of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// Tested, and it works.
    Available,
    /// Tested, and refused.
    Refused,
    /// Could not be tested.
    Unknown,
    /// A number or a name without a verdict.
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

    /// Turns the result of a test into a finding.
    pub(crate) fn from_result<T>(name: &str, outcome: &Result<T, Errno>, since: &str) -> Self {
        match outcome {
            Ok(_) => Self::available(name, since),
            Err(errno) => Self::refused(name, format!("{}, {since}", describe(*errno))),
        }
    }
}

/// Describes an errno by name and text: `EPERM: Operation not permitted (os error 1)`.
pub(crate) fn describe(errno: Errno) -> String {
    let text = std::io::Error::from(errno);
    match named(errno) {
        Some(name) => format!("{name}: {text}"),
        None => text.to_string(),
    }
}

/// Names of the errors that such tests return.
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
