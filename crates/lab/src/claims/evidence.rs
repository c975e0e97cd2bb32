//! Evidence of an experiment: named figures and words. A rule reads them by name; a missing name is
//! no evidence.

use rustix::io::Errno;
use serde_json::{Value, json};
use std::fmt;

use crate::language::{msg, tr_name, tr_word};
use crate::regression::Slope;
use crate::selftest::ExperimentError;
use crate::table::grouped;

/// Names of the errors that the experiments provoke.
const ERRNO_NAMES: [(Errno, &str); 11] = [
    (Errno::NODEV, "ENODEV"),
    (Errno::PERM, "EPERM"),
    (Errno::INVAL, "EINVAL"),
    (Errno::FAULT, "EFAULT"),
    (Errno::MFILE, "EMFILE"),
    (Errno::BADF, "EBADF"),
    (Errno::EXIST, "EEXIST"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::NOTTY, "ENOTTY"),
    (Errno::NOPROTOOPT, "ENOPROTOOPT"),
];

/// A measured value.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// A count.
    Count(u64),
    /// A number.
    Number(f64),
    /// The result of a call: the name of an error, or `ok`.
    Word(String),
}

impl From<u64> for Figure {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Figure {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f64> for Figure {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Figure {
    fn from(word: &str) -> Self {
        Self::Word(word.to_owned())
    }
}

/// Converts the result of a call.
impl<T> From<Result<T, Errno>> for Figure {
    fn from(result: Result<T, Errno>) -> Self {
        let Err(errno) = result else { return Self::from("ok") };
        let known = ERRNO_NAMES.iter().find(|(known, _)| *known == errno);
        let number = || format!("errno {}", errno.raw_os_error());
        Self::Word(known.map_or_else(number, |(_, name)| (*name).to_owned()))
    }
}

/// Evidence of an experiment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence(Vec<(String, Figure)>);

/// The evidence of an experiment, or the reason for its absence.
pub(super) type ExperimentResult = Result<Evidence, ExperimentError>;

impl Evidence {
    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, figure: impl Into<Figure>) -> Self {
        self.0.push((name.into(), figure.into()));
        self
    }

    /// Adds a slope in nanoseconds of CPU time per idle descriptor, with its interval.
    #[must_use]
    pub fn with_slope(self, of: &str, slope: Slope) -> Self {
        self.with(format!("{of}: {}", msg!("CPU ns per idle descriptor")), slope.fitted)
            .with(format!("{of}: {}", msg!("at least")), slope.low)
            .with(format!("{of}: {}", msg!("at most")), slope.high)
    }

    /// Returns a count by name.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        match self.find(name)? {
            Figure::Count(count) => Some(*count),
            Figure::Number(_) | Figure::Word(_) => None,
        }
    }

    /// Returns a number by name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.find(name)? {
            Figure::Number(number) => Some(*number),
            Figure::Count(_) | Figure::Word(_) => None,
        }
    }

    /// Returns a word by name.
    #[must_use]
    pub fn word(&self, name: &str) -> Option<&str> {
        match self.find(name)? {
            Figure::Word(word) => Some(word),
            Figure::Count(_) | Figure::Number(_) => None,
        }
    }

    /// Reads the evidence of a report, which has it in alphabetical order.
    pub(crate) fn of_report(evidence: &Value) -> Self {
        let each = evidence.as_object().into_iter().flatten().map(|(name, value)| {
            let figure = match (value.as_u64(), value.as_f64(), value.as_str()) {
                (Some(count), ..) => Figure::Count(count),
                (_, Some(number), _) => Figure::Number(number),
                (.., word) => Figure::Word(word.unwrap_or_default().to_owned()),
            };
            (name.clone(), figure)
        });
        Self(each.collect())
    }

    /// Returns a figure by name.
    pub(crate) fn find(&self, name: &str) -> Option<&Figure> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, figure)| figure)
    }

    pub(crate) fn to_json(&self) -> Value {
        let each = self.0.iter().map(|(name, figure)| {
            let value = match figure {
                Figure::Count(count) => json!(count),
                Figure::Number(number) => json!(number),
                Figure::Word(word) => json!(word),
            };
            (name.clone(), value)
        });
        Value::Object(each.collect())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => f.write_str(&grouped(*count)),
            Self::Number(number) => write!(f, "{number:.2}"),
            Self::Word(word) => f.write_str(&tr_word(word)),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, figure)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{} {figure}", tr_name(name))?;
        }
        Ok(())
    }
}
