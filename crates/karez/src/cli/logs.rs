//! The arguments of `karez serve` for its logs.

use clap::{Args, ValueEnum, ValueHint};
use karez_server::{Level, LogTemplate};
use std::path::PathBuf;

/// The arguments for logs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct LogArgs {
    /// Format of the access log
    #[arg(long, value_name = "FORM", default_value = "common", value_enum)]
    pub(crate) log: LogForm,

    /// Text of each line of the access log, which --log otherwise selects, with the variables of nginx, such
    /// as '$remote_addr "$request" $status $request_time $via'. With --log json values are escaped for strings
    /// of JSON. docs/OBSERVING.md lists the variables
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogTemplate>,

    /// Append the access log to FILE instead of standard output. SIGUSR1 and SIGHUP open it again, for
    /// logrotate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) access_log: Option<PathBuf>,

    /// Append messages of the running server to FILE instead of standard error, each with time and level; as
    /// --access-log
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) error_log: Option<PathBuf>,

    /// Least important level of these messages
    #[arg(long, value_name = "LEVEL", default_value = "info", value_enum)]
    pub(crate) log_level: LogLevel,
}

/// The format of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// Common Log Format
    Common,
    /// Common Log Format with referrer and user agent
    Combined,
    /// One JSON object per line
    Json,
    /// No access log
    Off,
}

/// The level of a message.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    /// Something does not work
    Error,
    /// Something does not work as it should
    Warn,
    /// A change, such as a reload
    Info,
    /// An event of a connection, such as a rejected request
    Debug,
}

impl LogArgs {
    /// Returns the files that are to be opened, each with the id of its argument.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let access = self.access_log.as_ref().filter(|_| self.log != LogForm::Off);
        let access = access.map(|path| ("access_log", path));
        access.into_iter().chain(self.error_log.as_ref().map(|path| ("error_log", path)))
    }
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
        }
    }
}
