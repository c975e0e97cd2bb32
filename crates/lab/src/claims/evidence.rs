//! Evidence of an experiment: named figures and words. A rule reads them by name; a missing name is
//! no evidence.

use rustix::io::Errno;
use serde_json::{Value, json};
use std::fmt;

use crate::language::{msg, text, tr_name, tr_word};
use crate::regression::Slope;
use crate::selftest::ExperimentError;
use crate::table::grouped;

/// Names of the bounds of an interval.
pub(super) const AT_LEAST: &str = msg!("at least");
pub(super) const AT_MOST: &str = msg!("at most");

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

impl Evidence {
    /// Returns the interval of a figure, which has the same subject: `subject: at least`.
    fn interval(&self, name: &str, figure: &Figure) -> Option<(f64, f64)> {
        let (subject, last) = name.rsplit_once(": ")?;
        let is_bound = last == AT_LEAST || last == AT_MOST;
        let bound = |last: &str| self.number(&format!("{subject}: {last}"));
        let is_number = matches!(figure, Figure::Number(_)) && !is_bound;
        if is_number { bound(AT_LEAST).zip(bound(AT_MOST)) } else { None }
    }
}

impl fmt::Display for Evidence {
    /// Writes each figure with its name, and its interval in brackets behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_interval: Vec<_> =
            self.0.iter().map(|(name, figure)| self.interval(name, figure)).collect();
        let has_interval = |subject: &str| {
            let names = self.0.iter().zip(&with_interval).filter(|(_, range)| range.is_some());
            names
                .map(|((name, _), _)| name)
                .any(|name| name.rsplit_once(": ").is_some_and(|(own, _)| own == subject))
        };
        let mut is_first = true;
        for ((name, figure), interval) in self.0.iter().zip(&with_interval) {
            let bound =
                name.rsplit_once(": ").filter(|(_, last)| [AT_LEAST, AT_MOST].contains(last));
            if bound.is_some_and(|(subject, _)| has_interval(subject)) {
                continue;
            }
            if !is_first {
                f.write_str(&text!("; "))?;
            }
            is_first = false;
            write!(f, "{} {figure}", tr_name(name))?;
            if let Some((low, high)) = interval {
                write!(f, " [{low:.2}..{high:.2}]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_stands_behind_its_figure() {
        let evidence = Evidence::default()
            .with("a/b: faults", 3_u64)
            .with("a/b: ratio of CPU time", 0.5)
            .with("a/b: at least", 0.4)
            .with("a/b: at most", 0.6)
            .with("c: at least", 1.0);
        let text = "a/b: faults 3; a/b: ratio of CPU time 0.50 [0.40..0.60]; c: at least 1.00";
        assert_eq!(evidence.to_string(), text);
    }
}
