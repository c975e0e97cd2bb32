//! Prints reports, scripts and man pages to standard output.

use std::io::{self, Write as _};

/// Prints all bytes. A reader that closes early, such as `head`, is not an error.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|error| failed("write", &error)),
    }
}

/// Adds the call and its object to an error.
pub(crate) fn failed(call: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{call} standard output: {error}"))
}
