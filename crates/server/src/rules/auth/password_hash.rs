//! Hashes of passwords: argon2id (RFC 9106) and bcrypt, in the text forms of htpasswd(1) and of the PHC.
//!
//! # Limitations
//!
//! bcrypt takes the first 72 bytes of a password. The weak hashes of older files (`$apr1$`, `{SHA}`, crypt)
//! are refused: they can be guessed at a rate of millions per second.

use std::fmt;
use std::io;
use std::str::FromStr;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier as _, Version};
use rustix::rand::{GetRandomFlags, getrandom};

/// A hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// A PHC string, which has been parsed once.
    Argon2id(String),
    /// `$2b$COST$SALT_AND_HASH`, which has been parsed once.
    Bcrypt(String),
}

impl PasswordHash {
    /// Hashes a password by argon2id with 19 MiB of memory and two passes.
    ///
    /// # Errors
    /// As getrandom(2); a password that is too long.
    pub fn argon2id(password: &[u8]) -> io::Result<Self> {
        let mut salt = [0; 16];
        getrandom(&mut salt, GetRandomFlags::empty())?;
        let hash: Result<phc::PasswordHash, _> = argon2().hash_password_with_salt(password, &salt);
        let hash = hash.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(Form::Argon2id(hash.to_string())))
    }

    /// Hashes a password by bcrypt, which Apache and nginx verify, too.
    ///
    /// # Errors
    /// As getrandom(2). `InvalidInput`: bcrypt takes at most 72 bytes, and no zero.
    pub fn bcrypt(password: &[u8]) -> io::Result<Self> {
        if password.len() > BCRYPT_BYTES || password.contains(&0) {
            let text = "bcrypt takes at most 72 bytes, without zero bytes";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut salt = [0; 16];
        getrandom(&mut salt, GetRandomFlags::empty())?;
        let parts = bcrypt::hash_with_salt(password, BCRYPT_COST, salt);
        let parts = parts.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(Form::Bcrypt(parts.format_for_version(bcrypt::Version::TwoY))))
    }

    /// Returns whether this is the hash of a password. Takes as long for any, and compares in constant time.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match &self.0 {
            Form::Argon2id(text) => phc::PasswordHash::new(text)
                .is_ok_and(|hash| argon2().verify_password(password, &hash).is_ok()),
            Form::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
        }
    }
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

impl FromStr for PasswordHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("$argon2id$") {
            return argon2id(text).map(Form::Argon2id).map(Self);
        }
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return bcrypt_hash(text).map(Form::Bcrypt).map(Self);
        }
        let kind = match text {
            _ if text.starts_with("$apr1$") || text.starts_with("$1$") => "MD5 ($apr1$)",
            _ if text.starts_with("{SHA}") || text.starts_with("{SSHA}") => "SHA-1",
            _ if text.starts_with("$5$") || text.starts_with("$6$") => "SHA-crypt",
            _ => "neither argon2id nor bcrypt",
        };
        Err(format!("the hash is {kind}; karez passwd makes argon2id, and htpasswd -B bcrypt"))
    }
}

/// Checks a PHC string, and that its cost is bounded.
fn argon2id(text: &str) -> Result<String, String> {
    let malformed = |error: &dyn fmt::Display| format!("the argon2id hash is malformed: {error}");
    let hash = phc::PasswordHash::new(text).map_err(|error| malformed(&error))?;
    let params = Params::try_from(&hash).map_err(|error| malformed(&error))?;
    if hash.hash.is_none() || hash.salt.is_none() {
        return Err(malformed(&"it has no salt or no hash"));
    }
    if params.m_cost() > ARGON2_KIB || params.t_cost() > ARGON2_PASSES {
        let bound = format!("m={ARGON2_KIB} and t={ARGON2_PASSES}");
        return Err(format!("the argon2id hash costs more than {bound}"));
    }
    Ok(text.to_owned())
}

fn bcrypt_hash(text: &str) -> Result<String, String> {
    let parts = bcrypt::HashParts::from_str(text);
    let cost = parts.map_err(|error| format!("the bcrypt hash is malformed: {error}"))?.get_cost();
    if cost > BCRYPT_MOST {
        return Err(format!("the bcrypt hash has the cost {cost}; the most is {BCRYPT_MOST}"));
    }
    Ok(text.to_owned())
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Argon2id(text) | Form::Bcrypt(text) => f.write_str(text),
        }
    }
}

/// Without the hash, which a log must not have.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").finish_non_exhaustive()
    }
}

const BCRYPT_BYTES: usize = 72;

/// The cost of new hashes, about 0.2 s.
const BCRYPT_COST: u32 = 12;

/// The highest cost that is verified, some seconds.
const BCRYPT_MOST: u32 = 16;

/// The most memory and passes with which a hash is verified.
const ARGON2_KIB: u32 = 1 << 20;
const ARGON2_PASSES: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password "secret", by argon2(1) with 64 KiB and one pass, and by Apache's htpasswd -B -C 4.
    const ARGON2ID: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$";

    #[test]
    fn hashes_verify_their_password() {
        for hash in [PasswordHash::argon2id(b"secret"), PasswordHash::bcrypt(b"secret")] {
            let hash: PasswordHash = hash.unwrap().to_string().parse().unwrap();
            assert!(hash.verify(b"secret"));
            for wrong in [&b""[..], b"Secret", b"secret ", b"secret\0"] {
                assert!(!hash.verify(wrong), "{wrong:?}");
            }
        }
    }

    #[test]
    fn weak_and_malformed_hashes_are_refused() {
        for (text, word) in [
            ("$apr1$7PP2IdTd$Qv9tlHhzjnbMqZcpvAT6T1", "MD5"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
            ("$6$salt$hash", "SHA-crypt"),
            ("secret", "neither"),
            ("", "neither"),
            ("$2y$05$short", "malformed"),
            ("$2y$31$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu", "cost 31"),
            (ARGON2ID, "malformed"),
            ("$argon2id$v=19$m=9999999,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo", "costs more"),
        ] {
            let error = text.parse::<PasswordHash>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(PasswordHash::bcrypt(&[b'x'; 73]).is_err());
    }
}
