//! A file of users and hashes, as htpasswd(1) writes it: `USER:HASH` on each line, and comments with `#`.
//!
//! A hash takes tens of milliseconds and of megabytes, so it is computed on a worker, for a bounded number
//! of requests at a time. A password that was right is remembered with its user, as a keyed hash (BLAKE2b)
//! under a key of the loaded file: the next request compares that, in constant time. So the memory is bounded
//! by the file, a wrong password is never remembered, and a reload forgets all.
//!
//! # Limitations
//!
//! A reader of the server's memory finds the key, too, and can then guess passwords faster than by the file.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{KeyInit as _, Mac as _};
use rustix::rand::{GetRandomFlags, getrandom};

use super::credentials::Credentials;
use super::password_hash::PasswordHash;
use super::permits;

/// The users of a file.
pub(crate) struct UserFile {
    users: Users,
    key: [u8; 32],
}

/// Users by their names.
type Users = HashMap<Box<[u8]>, User>;

struct User {
    hash: PasswordHash,
    /// The keyed hash of its password, once one was right.
    verified: OnceLock<[u8; 32]>,
}

impl UserFile {
    /// Reads a file.
    ///
    /// # Errors
    /// As read(2), getrandom(2); a line that is malformed. The text names file and line.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let content =
            fs::read(path).map_err(|error| io::Error::new(error.kind(), named(&error)))?;
        let users = parse(&content).map_err(|(line, fault)| {
            let text = format!("{}:{line}: {fault}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        let mut key = [0; 32];
        getrandom(&mut key, GetRandomFlags::empty())?;
        Ok(Self { users, key })
    }

    /// Returns whether this user and password are known to be right. Does not block.
    pub(crate) fn remembers(&self, credentials: &Credentials) -> bool {
        let user = self.users.get(credentials.user());
        let verified = user.and_then(|user| user.verified.get());
        verified.is_some_and(|verified| {
            self.keyed_hash(credentials).is_some_and(|hash| hash.verify_slice(verified).is_ok())
        })
    }

    /// Returns whether the password is that of the user. Takes as long for a user that does not exist, so
    /// that the time does not tell which do.
    pub(crate) fn verify(&self, credentials: &Credentials) -> bool {
        let _permit = permits::acquire();
        if self.remembers(credentials) {
            return true; // meanwhile another request has verified it
        }
        let known = self.users.get(credentials.user());
        let any = || self.users.values().next();
        let verified = known.or_else(any).is_some_and(|it| it.hash.verify(credentials.password()));
        let Some(user) = known.filter(|_| verified) else { return false };
        if let Some(hash) = self.keyed_hash(credentials) {
            // Of several passwords with the same hash the first is remembered.
            let _known = user.verified.set(hash.finalize().into_bytes().into());
        }
        true
    }

    fn keyed_hash(&self, credentials: &Credentials) -> Option<Blake2bMac<U32>> {
        let mut hash = Blake2bMac::new_from_slice(&self.key).ok()?;
        hash.update(credentials.password());
        Some(hash)
    }
}

/// Returns the users of a file.
///
/// # Errors
/// The first line with a fault, counted from 1.
fn parse(content: &[u8]) -> Result<Users, (usize, String)> {
    let mut users = HashMap::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        let fault = |text: String| (index + 1, text);
        let (user, hash) = user_of(line).map_err(fault)?;
        let before = users.insert(user.into(), User { hash, verified: OnceLock::new() });
        if before.is_some() {
            let user = String::from_utf8_lossy(user);
            return Err(fault(format!("the user {user} is there twice")));
        }
    }
    Ok(users)
}

fn user_of(line: &[u8]) -> Result<(&[u8], PasswordHash), String> {
    let at = memchr::memchr(b':', line).filter(|at| *at > 0).ok_or("expected USER:HASH")?;
    let (user, rest) = (&line[..at], &line[at + 1..]);
    // Some programs append more, behind another colon.
    let hash = rest.split(|byte| *byte == b':').next().unwrap_or(rest).trim_ascii_end();
    let hash = std::str::from_utf8(hash).map_err(|_| "the hash is not ASCII".to_owned())?;
    Ok((user, hash.parse()?))
}

impl std::fmt::Debug for UserFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserFile").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(content: &str) -> io::Result<UserFile> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        UserFile::read(file.path())
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials::new(user.as_bytes(), password.as_bytes())
    }

    #[test]
    fn a_verified_password_is_remembered_and_no_other() {
        let hash = PasswordHash::bcrypt(b"secret").unwrap();
        let users = file(&format!("# users\r\n\nanna:{hash}\r\nbert:{hash}:more\n")).unwrap();
        let right = credentials("anna", "secret");
        assert!(!users.remembers(&right));
        assert!(users.verify(&right) && users.remembers(&right) && users.verify(&right));
        for (user, password) in
            [("anna", "Secret"), ("anna", ""), ("bert", "x"), ("none", "secret"), ("", "secret")]
        {
            let wrong = credentials(user, password);
            assert!(!users.remembers(&wrong) && !users.verify(&wrong), "{user} {password}");
            assert!(!users.remembers(&wrong), "{user} {password}");
        }
        assert!(!users.remembers(&credentials("bert", "secret")), "another user");
        assert!(users.verify(&credentials("bert", "secret")));
        assert!(!file("").unwrap().verify(&right), "there are no users");
    }

    #[test]
    fn faults_name_file_and_line() {
        let hash = "$2y$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu";
        for (content, words) in [
            ("\nanna".to_owned(), ":2: expected USER:HASH"),
            (":x".to_owned(), ":1: expected USER:HASH"),
            ("anna:secret".to_owned(), ":1: the hash is neither"),
            ("anna:$apr1$a$b".to_owned(), ":1: the hash is MD5"),
            (format!("a:{hash}\n#\na:{hash}"), ":3: the user a is there twice"),
        ] {
            let error = file(&content).unwrap_err().to_string();
            assert!(error.contains(words), "{content}: {error}");
        }
        let error = UserFile::read(Path::new("/nonexistent/users")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("/nonexistent/users"));
    }
}
