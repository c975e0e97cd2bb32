//! Heads of tar entries in the format of GNU tar, which GNU tar, bsdtar, busybox, Python, Go and 7-Zip read (the crate
//! [tar](https://docs.rs/tar) encodes them).
//!
//! A name or a target of more than 100 bytes is the content of an entry in front (types `L` and `K`), byte by byte as
//! the file system has it, in any encoding. A size of 8 GiB or more, and a time before 1970 or after 2242, are binary
//! numbers. Of the mode only the permissions are kept: the owner is not, so a set-user-ID bit would be another
//! user's. Owner and group are 0 without a name, so that the accounts of the server are not revealed.
//!
//! # Limitations
//!
//! Times are whole seconds. The format of POSIX (pax) has fractions, for 1 KiB more of each entry.

use tar::{EntryType, Header};

/// The size of a block, in bytes.
pub(super) const BLOCK: u64 = 512;
/// The two blocks of zeros that end an archive.
pub(super) const END: u64 = 2 * BLOCK;
/// The longest name in a head.
const SHORT: usize = 100;

/// An entry of an archive.
pub(super) struct Member<'a> {
    /// That of a directory ends with a slash.
    pub(super) name: &'a [u8],
    /// The target of a symbolic link, otherwise empty.
    pub(super) link: &'a [u8],
    pub(super) kind: MemberKind,
    pub(super) mode: u16,
    /// In bytes; 0 for anything but a file.
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) modified: i64,
}

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    Directory,
    File,
    Link,
}

/// Returns the length of the head of an entry whose name and target are of these lengths.
pub(super) fn length(name: usize, link: usize) -> u64 {
    let extension = |length: usize| match length {
        0..=SHORT => 0,
        length => BLOCK + padded(length as u64 + 1),
    };
    BLOCK + extension(name) + extension(link)
}

/// Returns a length with its padding.
pub(super) fn padded(length: u64) -> u64 {
    length.div_ceil(BLOCK) * BLOCK
}

/// Returns the head of an entry.
pub(super) fn encode(member: &Member<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    extension(EntryType::GNULongLink, member.link, &mut out);
    extension(EntryType::GNULongName, member.name, &mut out);
    let mut header = new(match member.kind {
        MemberKind::Directory => EntryType::Directory,
        MemberKind::File => EntryType::Regular,
        MemberKind::Link => EntryType::Symlink,
    });
    header.set_mode((member.mode & 0o777).into());
    header.set_size(member.size);
    match u64::try_from(member.modified) {
        Ok(modified) => header.set_mtime(modified),
        Err(_) => set_early_time(&mut header, member.modified),
    }
    let fields = header.as_old_mut();
    fill(&mut fields.name, member.name);
    fill(&mut fields.linkname, member.link);
    finish(header, &mut out);
    out
}

/// Appends an entry whose content is a name that does not fit into a head.
fn extension(kind: EntryType, name: &[u8], out: &mut Vec<u8>) {
    if name.len() <= SHORT {
        return;
    }
    let mut header = new(kind);
    fill(&mut header.as_old_mut().name, b"././@LongLink");
    let length = name.len() as u64 + 1;
    header.set_size(length);
    header.set_mode(0o644);
    header.set_mtime(0);
    finish(header, out);
    out.extend_from_slice(name);
    let padding = padded(length) - name.len() as u64;
    out.resize(out.len() + usize::try_from(padding).unwrap_or(0), 0);
}

fn new(kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn finish(mut header: Header, out: &mut Vec<u8>) {
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}

/// Copies the bytes that fit.
fn fill(field: &mut [u8; SHORT], bytes: &[u8]) {
    let length = bytes.len().min(SHORT);
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Sets a time before 1970, as a number of two's complement of 12 bytes.
fn set_early_time(header: &mut Header, modified: i64) {
    if let Some(fields) = header.as_gnu_mut() {
        fields.mtime = [0xff; 12];
        fields.mtime[4..].copy_from_slice(&modified.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_known_before_the_head() {
        for name in [1, 99, 100, 101, 511, 512, 1022, 1023, 4095] {
            for link in [0, 1, 100, 101, 511, 4095] {
                let (name, link) = (vec![b'n'; name], vec![b'l'; link]);
                let (kind, mode, size, modified) = (MemberKind::Link, 0o777, 0, -1);
                let member = Member { name: &name, link: &link, kind, mode, size, modified };
                let length = length(name.len(), link.len());
                assert_eq!(encode(&member).len() as u64, length, "{} {}", name.len(), link.len());
            }
        }
    }
}
