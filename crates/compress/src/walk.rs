//! The files of a tree that may be compressed, in no particular order.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::name::{is_hidden, may_shrink};
use crate::options::Options;

/// Calls `found` with each file and its length, and `failed` with each directory that cannot be read, until
/// `found` returns false.
pub(crate) fn walk(
    root: &Path,
    options: &Options,
    mut found: impl FnMut(PathBuf, u64) -> bool,
    failed: impl Fn(Error),
) {
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                failed(Error::new("open", &directory, error));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    failed(Error::new("getdents64", &directory, error));
                    break;
                }
            };
            let (name, path) = (entry.file_name(), entry.path());
            if is_hidden(&name) && !options.hidden {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(path),
                Ok(kind) if kind.is_file() && may_shrink(&name) => {
                    let length = entry.metadata().map_or(0, |it| it.len());
                    if !found(path, length) {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => failed(Error::new("lstat", &path, error)),
            }
        }
    }
}
