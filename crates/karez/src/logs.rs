//! The logs of a server: where they are written to, and what happens on SIGUSR1 and after a reload.
//!
//! # Limitations
//!
//! An access log that was off at the start stays off, because it has no thread.

use karez_server::{AccessLog, ErrorLog, Log, LogFormat, open_log};
use rustix::fd::AsFd;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::{LogArgs, LogForm};
use crate::stderr;
use crate::stop_signals::no_thread;

/// The logs of a server. Clones write to the same.
#[derive(Clone)]
pub(crate) struct Logs {
    access: Option<Access>,
    pub(crate) errors: ErrorLog,
}

#[derive(Clone)]
struct Access {
    log: Log,
    /// The format of the line that reports dropped ones.
    format: Arc<Mutex<LogFormat>>,
}

/// The streams of logs that have been opened, and are not in use yet.
pub(crate) struct Streams {
    access: Option<File>,
    errors: File,
}

impl Streams {
    /// Opens the files, or standard output and standard error.
    ///
    /// # Errors
    /// The call, the file and the reason.
    pub(crate) fn open(args: &LogArgs) -> io::Result<Self> {
        let access = match args.log {
            LogForm::Off => None,
            _ => Some(stream(args.access_log.as_ref(), &io::stdout(), "standard output")?),
        };
        let errors = stream(args.error_log.as_ref(), &io::stderr(), "standard error")?;
        Ok(Self { access, errors })
    }
}

/// Opens a file, or duplicates the standard stream: the thread of a log writes batches, which needs neither
/// the lock of `Stdout` nor its line buffer.
fn stream(file: Option<&PathBuf>, standard: &impl AsFd, name: &str) -> io::Result<File> {
    let failed = |errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("dup {name}: {error}"))
    };
    match file {
        Some(file) => open_log(file),
        None => rustix::io::dup(standard).map(File::from).map_err(failed),
    }
}

impl Logs {
    /// Opens the logs and starts their threads.
    ///
    /// # Errors
    /// As [`Streams::open`]; a thread that cannot be made.
    pub(crate) fn start(args: &LogArgs) -> io::Result<Self> {
        let Streams { access, errors } = Streams::open(args)?;
        let name = "karez-notices";
        let errors = match args.error_log {
            Some(_) => ErrorLog::start_file(name, errors),
            None => ErrorLog::start(name, errors),
        };
        let errors = errors.map_err(no_thread(name))?;
        errors.set_level(args.log_level.into());
        errors.log().on_fault(|error| {
            stderr::warning(&format!("error log: write: {error}; lines are dropped"));
        });
        let access = format(args).zip(access);
        let access = access.map(|(format, stream)| Access::start(format, stream, &errors));
        Ok(Self { access: access.transpose()?, errors })
    }

    /// Uses streams that were opened by these arguments, and their level and format.
    pub(crate) fn apply(&self, streams: Streams, args: &LogArgs) {
        let Streams { access: stream, errors } = streams;
        match args.error_log {
            Some(_) => self.errors.switch_to_file(errors),
            None => self.errors.switch_to_stream(errors),
        }
        self.errors.set_level(args.log_level.into());
        let access = self.access.as_ref().zip(stream).zip(format(args));
        if let Some(((access, stream), format)) = access {
            *access.format.lock().unwrap_or_else(PoisonError::into_inner) = format;
            access.log.switch_to(stream);
        }
    }

    /// Opens the files again. One that cannot be opened stays in use.
    pub(crate) fn reopen(&self, args: &LogArgs) {
        let kept = |name: &str, error: io::Error| {
            self.errors.error(&format!("the {name} log stays in its old file: {error}"));
        };
        if let Some((access, path)) = self.access.as_ref().zip(args.access_log.as_ref()) {
            match open_log(path) {
                Ok(file) => access.log.switch_to(file),
                Err(error) => kept("access", error),
            }
        }
        if let Some(path) = &args.error_log {
            match open_log(path) {
                Ok(file) => self.errors.switch_to_file(file),
                Err(error) => kept("error", error),
            }
        }
        // From this line on the old files are complete.
        self.all().iter().for_each(Log::flush);
        self.errors.info("log files opened again");
    }

    /// Returns the access log of the server, in the format of these arguments.
    pub(crate) fn access_log(&self, args: &LogArgs) -> Option<AccessLog> {
        let access = self.access.as_ref().zip(format(args));
        access.map(|(access, format)| AccessLog::new(access.log.clone(), format))
    }

    /// Returns all logs, to flush them.
    pub(crate) fn all(&self) -> Vec<Log> {
        let access = self.access.iter().map(|access| access.log.clone());
        access.chain([self.errors.log().clone()]).collect()
    }
}

impl Access {
    fn start(format: LogFormat, stream: File, errors: &ErrorLog) -> io::Result<Self> {
        let format = Arc::new(Mutex::new(format));
        let of_lost = Arc::clone(&format);
        let lost =
            move |count| of_lost.lock().unwrap_or_else(PoisonError::into_inner).dropped(count);
        let name = "karez-log";
        let log = Log::start(name, stream, lost).map_err(no_thread(name))?;
        let errors = errors.clone();
        log.on_fault(move |error| {
            errors.error(&format!("access log: write: {error}; lines are dropped"));
        });
        Ok(Self { log, format })
    }
}

/// Returns the format of the access log; `None` without one.
fn format(args: &LogArgs) -> Option<LogFormat> {
    let format = match args.log {
        LogForm::Common => LogFormat::Common,
        LogForm::Combined => LogFormat::Combined,
        LogForm::Json => LogFormat::Json,
        LogForm::Off => return None,
    };
    Some(match &args.log_format {
        Some(template) => {
            let (template, json) = (template.clone(), args.log == LogForm::Json);
            LogFormat::Template { template, json }
        }
        None => format,
    })
}
