//! Files of logs: opened for appending, so that a file which was renamed is written until the log is opened
//! again, and no line is lost (logrotate(8)).
//!
//! open(2) with `O_APPEND`, Linux 1.0.
//!
//! # Limitations
//!
//! A named pipe is opened for reading, too (fifo(7)), so that it needs no reader: without one it fills up, and
//! lines are dropped. The server has to be allowed to read it.

use std::fs::{File, OpenOptions, metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// The mode of a new file, less the umask: addresses and names of users are not for everyone.
const MODE: u32 = 0o640;

/// Opens the file of a log for appending; makes it if it does not exist.
///
/// # Errors
/// As open(2); the text names the call and the file.
pub fn open_log(path: &Path) -> io::Result<File> {
    let is_pipe = metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or(0);
    OpenOptions::new()
        .append(true)
        .create(true)
        .read(is_pipe)
        .mode(MODE)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("open {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_file_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for line in ["one\n", "two\n"] {
            open_log(&path).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let error = open_log(&directory.path().join("none/log")).unwrap_err().to_string();
        assert!(error.starts_with("open ") && error.ends_with("(os error 2)"), "{error}");
    }

    #[test]
    fn a_pipe_needs_no_reader() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        open_log(&path).unwrap().write_all(b"line\n").unwrap();
    }
}
