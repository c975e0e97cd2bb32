//! Errors of a configuration: each names the file and the problem.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A configuration cannot be used.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    problem: Problem,
}

/// The problem of a configuration.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    Io(io::Error),
    /// The file has more than 1 MiB.
    TooLong,
    /// The file is no PEM, and why.
    BadPem(&'static str),
    /// There is no certificate in the file, or no pair is configured.
    NoCertificate,
    /// There is no private key in the file.
    NoKey,
    /// The private key is under a passphrase.
    EncryptedKey,
    /// A certificate is malformed or not supported.
    BadCertificate(String),
    /// The private key is malformed or not supported.
    BadKey(String),
    /// The private key is of another certificate.
    KeyMismatch {
        /// The file with the certificate.
        certificate: PathBuf,
    },
    /// The private key belongs to a later certificate of the chain.
    ChainOrder {
        /// The file with the chain.
        certificate: PathBuf,
        /// The certificate to which the key belongs, counted from 1.
        position: usize,
    },
    /// The certificate begins to be valid at this time.
    NotYetValid(SystemTime),
    /// The certificate was valid until this time.
    Expired(SystemTime),
    /// The crate is built without a cryptography provider and the caller brought none.
    NoProvider,
    /// The settings cannot go together.
    Unsupported(String),
}

impl ConfigError {
    pub(crate) fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_owned(), problem }
    }

    /// Returns the file with the problem; empty if it is in none.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the problem.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Returns the errno of a file that cannot be read.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match &self.problem {
            Problem::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(f, "{}: ", self.path.display())?;
        }
        match &self.problem {
            Problem::Io(error) => write!(f, "{error}"),
            Problem::TooLong => f.write_str("longer than 1 MiB"),
            Problem::BadPem(why) => write!(f, "not PEM: {why}"),
            Problem::NoCertificate => f.write_str("no certificate"),
            Problem::NoKey => f.write_str("no private key"),
            Problem::EncryptedKey => f.write_str("the private key is under a passphrase"),
            Problem::BadCertificate(why) => write!(f, "certificate not usable: {why}"),
            Problem::BadKey(why) => write!(f, "private key not usable: {why}"),
            Problem::KeyMismatch { certificate } => {
                write!(f, "not the key of the certificate in {}", certificate.display())
            }
            Problem::ChainOrder { certificate, position } => write!(
                f,
                "the key of certificate {position} in {}; the server's own has to be the first",
                certificate.display()
            ),
            Problem::NotYetValid(from) => {
                write!(f, "the certificate is not valid before {}", Date(*from))
            }
            Problem::Expired(until) => write!(f, "the certificate expired on {}", Date(*until)),
            Problem::NoProvider => f.write_str("built without cryptography (feature ring)"),
            Problem::Unsupported(why) => write!(f, "TLS settings: {why}"),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// A date, as RFC 3339 writes it.
struct Date(SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        // Eras of 400 years that begin in March of year 0.
        let days = since / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let date = of_year - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        write!(f, "{:04}-{month:02}-{date:02}", era * 400 + of_era + carry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_rfc_3339_has_them() {
        let cases = [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_868_799, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (2_524_607_999, "2049-12-31"),
            (4_107_542_400, "2100-03-01"),
        ];
        for (seconds, expected) in cases {
            let date = Date(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(date.to_string(), expected);
        }
    }
}
