//! Small files that are read as a whole: those shown with a listing, and bodies of errors. They are opened as any
//! other that is served, so a link out of the root is none.
//!
//! # Limitations
//!
//! A file of more than 64 KiB counts as absent. One that is being written may be read in part.

use std::io::{self, Read as _};
use std::path::Path;

use rustix::fd::AsFd as _;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::lookup_error::{failure, is_unavailable};
use super::mime;
use super::root::{LookupMode, OpenMode, Root, file_type, stat_fd};
use crate::rules::error_page::KeptPage;
use crate::rules::media_type::MediaTypes;

/// The most bytes of a file.
const MOST_BYTES: u64 = 64 << 10;

/// Reads the body of an error: the file at a path below a directory; `None` if there is no such file. `types`: media
/// types of the configuration.
///
/// # Errors
/// The directory cannot be opened, or the file not be read.
pub(crate) fn read_page(
    dir: &Path,
    path: &[u8],
    types: &MediaTypes,
) -> io::Result<Option<KeptPage>> {
    let content = content(&Root::at(dir)?, path)?;
    let content_type = mime::content_type(path, types).into_owned();
    Ok(content.map(|content| KeptPage { content_type, content }))
}

/// Returns the content of a regular file; `None` if there is none that can be used.
pub(super) fn content(root: &Root, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let file = match root.open(path, OpenMode::Read, LookupMode::MayBlock) {
        Ok(file) => file,
        Err(errno) if is_unavailable(errno) || errno == Errno::NXIO => return Ok(None),
        Err(errno) => return Err(failure("open", path, errno)),
    };
    let meta = stat_fd(file.as_fd()).map_err(|errno| failure("statx", path, errno))?;
    if file_type(&meta) != FileType::RegularFile || meta.stx_size > MOST_BYTES {
        return Ok(None);
    }
    let mut content = Vec::new();
    let mut bounded = std::fs::File::from(file).take(MOST_BYTES);
    match bounded.read_to_end(&mut content) {
        Ok(_) => Ok(Some(content)),
        Err(error) => {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Err(failure("read", path, errno))
        }
    }
}
