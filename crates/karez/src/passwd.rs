//! `karez passwd`: makes the line of a user for a file that `karez serve --auth` reads.
//!
//! # Limitations
//!
//! The file is replaced by renaming, without a lock: of two changes at the same time one is lost.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process;

use karez_server::PasswordHash;
use rustix::fs::{Gid, Uid, fchown};

use crate::cli::PasswdArgs;
use crate::password_input;
use crate::stdout::print;

/// Prints or changes a line.
///
/// # Errors
/// As read(2) and write(2); no password; a user to be removed who is not there.
pub(crate) fn run(args: &PasswdArgs) -> io::Result<()> {
    let line = match args.delete {
        true => None,
        false => Some(line(args)?),
    };
    match (&args.file, line) {
        (Some(file), line) => change(file, args.user.as_bytes(), line.as_deref()),
        (None, Some(line)) => print(line.as_bytes()),
        (None, None) => Ok(()), // the command line does not allow it
    }
}

fn line(args: &PasswdArgs) -> io::Result<String> {
    let password = password_input::read(&args.user)?;
    if password.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the password is empty"));
    }
    let hash = match args.bcrypt {
        true => PasswordHash::bcrypt(&password)?,
        false => PasswordHash::argon2id(&password)?,
    };
    Ok(format!("{}:{hash}\n", args.user))
}

/// Replaces, appends or removes the line of a user.
fn change(file: &Path, user: &[u8], line: Option<&str>) -> io::Result<()> {
    let name = file.display().to_string();
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
    // A symbolic link stays one.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let before = match fs::read(&target) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound && line.is_some() => Vec::new(),
        Err(error) => return Err(named(error)),
    };
    let (content, found) = with_line(&before, user, line.unwrap_or_default().as_bytes());
    if line.is_none() && !found {
        let text = format!("there is no user {}", String::from_utf8_lossy(user));
        return Err(named(io::Error::new(io::ErrorKind::NotFound, text)));
    }
    replace(&target, &content).map_err(named)
}

/// Returns the content with this line in place of that of the user, and whether the user had one.
fn with_line(before: &[u8], user: &[u8], line: &[u8]) -> (Vec<u8>, bool) {
    let (mut content, mut found) = (Vec::with_capacity(before.len() + line.len()), false);
    for old in before.split_inclusive(|byte| *byte == b'\n') {
        if old.strip_prefix(user).is_some_and(|rest| rest.starts_with(b":")) {
            if !found {
                content.extend_from_slice(line);
            }
            found = true;
            continue;
        }
        content.extend_from_slice(old);
        if !old.ends_with(b"\n") {
            content.push(b'\n');
        }
    }
    if !found {
        content.extend_from_slice(line);
    }
    (content, found)
}

/// Writes a file beside another, with its mode and owner, and gives it the name of that.
fn replace(target: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = beside(target);
    let written = write(&temporary, target, content);
    let written = written.and_then(|()| fs::rename(&temporary, target));
    written.inspect_err(|_| {
        // It has no use without its name.
        let _gone = fs::remove_file(&temporary);
    })
}

fn beside(target: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}", process::id()));
    target.with_file_name(name)
}

fn write(temporary: &Path, target: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(content)?;
    if let Ok(before) = fs::metadata(target) {
        keep_attributes(&file, &before)?;
    }
    file.sync_all()
}

/// Gives a file the owner and the mode of another. The owner is kept as far as permitted; a group that could
/// not be kept gets no right.
fn keep_attributes(file: &File, before: &fs::Metadata) -> io::Result<()> {
    let (owner, group) = (Uid::from_raw(before.uid()), Gid::from_raw(before.gid()));
    let kept = fchown(file, Some(owner), Some(group)).or_else(|_| fchown(file, None, Some(group)));
    let mode = if kept.is_ok() { before.mode() } else { before.mode() & 0o707 };
    file.set_permissions(fs::Permissions::from_mode(mode & 0o777))
}

#[cfg(test)]
mod tests {
    use super::with_line;

    #[test]
    fn the_line_of_a_user_is_replaced_appended_or_removed() {
        for (before, line, expected, found) in [
            ("", "b:2\n", "b:2\n", false),
            ("a:1", "b:2\n", "a:1\nb:2\n", false),
            ("# b\nb:1\nbb:3\n", "b:2\n", "# b\nb:2\nbb:3\n", true),
            ("b:1\na:1\nb:3", "b:2\n", "b:2\na:1\n", true),
            ("a:1\nb:1\n", "", "a:1\n", true),
            ("a:1\n", "", "a:1\n", false),
        ] {
            let (content, is_found) = with_line(before.as_bytes(), b"b", line.as_bytes());
            assert_eq!((String::from_utf8(content).unwrap(), is_found), (expected.into(), found));
        }
    }
}
