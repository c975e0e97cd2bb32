//! A password: from the terminal without echo, twice, or from the first line of standard input.
//!
//! While it is typed, the terminal makes no signals (termios(3), `ISIG`), because one would end the program
//! with the echo still off. Ctrl-C ends the line instead (`VEOL`), and then the program.

use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr,
};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read as _, Write as _};
use std::process;

/// Ctrl-C.
const INTERRUPT: u8 = 3;

/// The most bytes of a password.
const LONGEST: usize = 1024;

/// Reads a password, without the end of its line.
///
/// # Errors
/// As read(2); a password that is not the same when it is repeated.
pub(crate) fn read(user: &str) -> io::Result<Vec<u8>> {
    if !isatty(io::stdin()) {
        return line(&mut io::stdin().lock());
    }
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let quiet = Quiet::new(terminal)?;
    let first = quiet.ask(&format!("password of {user}: "))?;
    let second = quiet.ask("the same again: ")?;
    match first == second {
        true => Ok(first),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "the passwords differ")),
    }
}

/// Reads up to the end of a line.
fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(LONGEST as u64 + 2).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") {
        line.pop();
    }
    if line.len() > LONGEST {
        let text = format!("the password has more than {LONGEST} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    Ok(line)
}

/// A terminal without echo, until it is dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }

    fn ask(&self, prompt: &str) -> io::Result<Vec<u8>> {
        let mut terminal = &self.terminal;
        terminal.write_all(prompt.as_bytes())?;
        let mut line = [0; LONGEST];
        let length = loop {
            // The terminal returns one line at a time.
            match rustix::io::read(terminal, &mut line) {
                Ok(length) => break length,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        terminal.write_all(b"\n")?;
        let line = &line[..length];
        if line.ends_with(&[INTERRUPT]) {
            self.restore();
            process::exit(130);
        }
        Ok(line.strip_suffix(b"\n").unwrap_or(line).to_vec())
    }

    fn restore(&self) {
        // If the terminal is gone, it needs no echo.
        let _gone = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.restore();
    }
}
