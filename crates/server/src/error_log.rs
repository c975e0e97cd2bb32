//! The error log: lines for the operator, each with a level. They are written by the thread of a [`Log`].
//!
//! On standard error a line begins with `karez: `, because the service manager adds the time; in a file it
//! begins with the time and the level.
//!
//! # Limitations
//!
//! The time has whole seconds. Control characters of a text are escaped, so each text is one line.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::http_clock;
use crate::log::Log;
use crate::rfc3339;

/// The importance of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something does not work: a file that cannot be read, a reload that was refused.
    Error,
    /// Something works, but not as it should.
    Warn,
    /// A change of the server: configuration and certificates loaded.
    #[default]
    Info,
    /// An event of one connection: a rejected request, a connection that the client has reset.
    Debug,
}

/// The error log. Clones write to the same.
#[derive(Clone, Debug)]
pub struct ErrorLog {
    log: Log,
    settings: Arc<Settings>,
}

#[derive(Debug)]
struct Settings {
    /// The least important level that is written.
    level: AtomicU8,
    /// Lines begin with time and level.
    stamped: AtomicBool,
}

impl Level {
    /// All levels, the most important first.
    pub const ALL: &[Self] = &[Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl ErrorLog {
    /// Starts the thread `name`, which writes to `stream`, such as standard error. The level is
    /// [`Level::Info`].
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(name: &str, stream: impl Write + Send + 'static) -> io::Result<Self> {
        Self::with(name, stream, false)
    }

    /// The same with a file, in which lines begin with time and level.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_file(name: &str, file: impl Write + Send + 'static) -> io::Result<Self> {
        Self::with(name, file, true)
    }

    fn with(name: &str, stream: impl Write + Send + 'static, stamped: bool) -> io::Result<Self> {
        let (level, stamped) = (AtomicU8::new(Level::default() as u8), AtomicBool::new(stamped));
        let settings = Arc::new(Settings { level, stamped });
        let of_lost = Arc::clone(&settings);
        let lost = move |count| {
            let mut line = Vec::new();
            let text = format!("{count} notices were dropped because their reader is too slow");
            of_lost.push_line(&mut line, Level::Warn, &text);
            String::from_utf8_lossy(&line).into_owned()
        };
        Ok(Self { log: Log::start(name, stream, lost)?, settings })
    }

    /// Writes the lines that follow to a file, in which they begin with time and level.
    pub fn switch_to_file(&self, file: impl Write + Send + 'static) {
        self.settings.stamped.store(true, Ordering::Relaxed);
        self.log.switch_to(file);
    }

    /// Writes the lines that follow to a stream, in which they begin with `karez: `.
    pub fn switch_to_stream(&self, stream: impl Write + Send + 'static) {
        self.settings.stamped.store(false, Ordering::Relaxed);
        self.log.switch_to(stream);
    }

    /// Sets the least important level that is written.
    pub fn set_level(&self, level: Level) {
        self.settings.level.store(level as u8, Ordering::Relaxed);
    }

    /// Returns whether lines of a level are written.
    #[must_use]
    pub fn has(&self, level: Level) -> bool {
        level as u8 <= self.settings.level.load(Ordering::Relaxed)
    }

    /// Writes a line of [`Level::Error`]. None of these waits for the stream.
    pub fn error(&self, text: &str) {
        self.write(Level::Error, text);
    }

    /// Writes a line of [`Level::Warn`].
    pub fn warn(&self, text: &str) {
        self.write(Level::Warn, text);
    }

    /// Writes a line of [`Level::Info`].
    pub fn info(&self, text: &str) {
        self.write(Level::Info, text);
    }

    /// Writes a line of [`Level::Debug`].
    pub fn debug(&self, text: &str) {
        self.write(Level::Debug, text);
    }

    /// Writes a line of a level.
    pub fn write(&self, level: Level, text: &str) {
        if self.has(level) {
            self.log.line(|line| self.settings.push_line(line, level, text));
        }
    }

    /// Returns the log of the lines.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Settings {
    fn push_line(&self, line: &mut Vec<u8>, level: Level, text: &str) {
        // Writing to memory cannot fail.
        let _written = if self.stamped.load(Ordering::Relaxed) {
            let seconds = http_clock::now().unix.try_into().unwrap_or(i64::MAX);
            write!(line, "{} {level}: ", rfc3339::format(seconds))
        } else {
            line.write_all(b"karez: ")
        };
        for character in text.chars() {
            let _written = match character.is_control() {
                true => write!(line, "{}", character.escape_default()),
                false => write!(line, "{character}"),
            };
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|level| level.name() == name);
        found.ok_or_else(|| format!("unknown level {name:?}, expected error, warn, info or debug"))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn lines_have_a_level() {
        let (stream, mut reader) = UnixStream::pair().unwrap();
        let log = ErrorLog::start("errors", stream).unwrap();
        let (of_file, mut content) = UnixStream::pair().unwrap();
        ErrorLog::start_file("errors", of_file).unwrap().error("text");
        let mut line = [0; 33];
        content.read_exact(&mut line).unwrap();
        assert!(line.starts_with(b"20") && line.ends_with(b"Z error: text\n"), "{line:?}");
        log.error("one\nkarez: two");
        log.debug("not written");
        let (file, mut behind) = UnixStream::pair().unwrap();
        log.log().flush();
        log.switch_to_file(file);
        log.set_level(Level::Debug);
        for level in Level::ALL {
            log.write(*level, "text");
        }
        log.set_level(Level::Error);
        log.warn("not written");
        log.log().flush();
        log.switch_to_stream(std::io::sink());
        log.log().flush();
        let (mut first, mut second) = (String::new(), String::new());
        reader.read_to_string(&mut first).unwrap();
        behind.read_to_string(&mut second).unwrap();
        assert_eq!(first, "karez: one\\nkarez: two\n");
        let levels: Vec<_> = second.lines().map(|line| line.split_once("Z ").unwrap()).collect();
        assert_eq!(levels.len(), 4, "{second}");
        for ((time, text), level) in levels.into_iter().zip(Level::ALL) {
            assert_eq!((time.len(), text), (19, &*format!("{level}: text")), "{second}");
        }
    }
}
