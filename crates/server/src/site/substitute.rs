//! Substitution of bytes in files as they are sent, by a sequence of the same length: a token in an
//! installer, a name in a page.
//!
//! Each version of a file is searched once, when it is opened; the edits are kept with the open file. The
//! file itself and its pages in the page cache do not change (`cow` in `karez_transfer`).
//!
//! # Limitations
//!
//! The search reads the whole file, cold or not, before the first byte of the first response. Text that a
//! replacement creates is not searched again. Compressed content is not decompressed.

use karez_transfer::Edit;
use memchr::memmem::Finder;
use rustix::fd::BorrowedFd;
use rustix::io::{self, Errno};
use std::fmt;
use std::sync::Arc;

use super::syscall_counts::{self, Syscall};

/// Bytes that are searched at a time.
const BLOCK_SIZE: usize = 1 << 20;

/// The most edits of one file: each costs memory as long as the file is cached.
const MAX_EDITS: usize = 1 << 16;

/// Pairs of byte sequences: each occurrence of the first is replaced by the second.
#[derive(Clone, Default)]
pub struct Substitutions {
    all: Vec<Substitution>,
    tag: String,
}

#[derive(Clone)]
struct Substitution {
    from: Finder<'static>,
    to: Arc<[u8]>,
}

impl Substitutions {
    /// Returns substitutions of each `from` by its `to`. If two match at the same offset, the first pair
    /// applies; replaced bytes are not searched again.
    ///
    /// # Errors
    /// If a `from` is empty or not as long as its `to`.
    pub fn new(pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<Self, SubstitutionError> {
        let mut all = Vec::with_capacity(pairs.len());
        let mut hash = Fnv1a::default();
        for (from, to) in pairs {
            if from.is_empty() || from.len() != to.len() {
                return Err(SubstitutionError { from: from.len(), to: to.len() });
            }
            hash.add(from);
            hash.add(to);
            let from = Finder::new(from).into_owned();
            all.push(Substitution { from, to: Arc::from(&to[..]) });
        }
        Ok(Self { all, tag: format!("{:08x}", hash.0 >> 32) })
    }

    /// Returns whether nothing is replaced.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns a suffix for the entity tag of a file with edits, which depends on all pairs: eight
    /// hexadecimal digits, the same on every machine.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// Returns the edits of the `size` bytes of `file`; `None` if there are none.
    ///
    /// # Errors
    /// As pread(2); `E2BIG` for more than [`MAX_EDITS`].
    pub(super) fn find_edits(
        &self,
        file: BorrowedFd<'_>,
        size: u64,
    ) -> io::Result<Option<Arc<[Edit]>>> {
        let Some(longest) = self.all.iter().map(|substitution| substitution.to.len()).max() else {
            return Ok(None);
        };
        let mut edits = Vec::new();
        let mut block = vec![0; BLOCK_SIZE.max(2 * longest)];
        let (mut start, mut free) = (0, 0);
        while start < size {
            let request = usize::try_from(size - start).unwrap_or(usize::MAX).min(block.len());
            let read = read_at(file, &mut block[..request], start)?;
            let last = start + read as u64 >= size || read < request;
            // A match that starts behind this may extend into the next block, where it is found.
            let limit = if last { read } else { read - (longest - 1) };
            self.lookup(&block[..read], limit, start, &mut free, &mut edits)?;
            if last {
                break;
            }
            start += limit as u64;
        }
        Ok((!edits.is_empty()).then(|| edits.into()))
    }

    /// Appends the edits that start before `limit` in a block, whose offset in the file is `start`.
    /// Everything before the offset `free` has been replaced.
    fn lookup(
        &self,
        block: &[u8],
        limit: usize,
        start: u64,
        free: &mut u64,
        edits: &mut Vec<Edit>,
    ) -> io::Result<()> {
        let mut at = usize::try_from(free.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut next: Vec<Option<usize>> = vec![Some(0); self.all.len()];
        while at < limit {
            for (found, substitution) in next.iter_mut().zip(&self.all) {
                if found.is_some_and(|found| found <= at) {
                    *found = substitution.from.find(&block[at..]).map(|behind| at + behind);
                }
            }
            let earliest = next
                .iter()
                .zip(&self.all)
                .filter_map(|(&found, substitution)| Some((found?, substitution)));
            let Some((found, substitution)) = earliest.min_by_key(|&(found, _)| found) else {
                return Ok(());
            };
            if found >= limit {
                return Ok(());
            }
            if edits.len() == MAX_EDITS {
                return Err(Errno::TOOBIG);
            }
            edits.push(Edit { offset: start + found as u64, bytes: Arc::clone(&substitution.to) });
            at = found + substitution.to.len();
            *free = start + at as u64;
        }
        Ok(())
    }
}

/// Fills the buffer, up to the end of the file.
fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        syscall_counts::count(Syscall::Pread64);
        match io::pread(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

/// FNV-1a: the same on every machine. A collision would need chosen pairs, which only the operator sets.
struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    /// Adds a sequence and its length, so that the boundary between two sequences matters.
    fn add(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for &byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Debug for Substitutions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Substitutions").field("count", &self.all.len()).finish_non_exhaustive()
    }
}

/// A pair whose sequences have different lengths, or are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubstitutionError {
    from: usize,
    to: usize,
}

impl fmt::Display for SubstitutionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        match from {
            0 => write!(f, "there is nothing to replace"),
            _ => {
                write!(f, "{from} bytes cannot be replaced by {to}: the file's length would change")
            }
        }
    }
}

impl std::error::Error for SubstitutionError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    fn substitutions(pairs: &[(&str, &str)]) -> Substitutions {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(from, to)| (from.as_bytes().to_vec(), to.as_bytes().to_vec()))
            .collect();
        Substitutions::new(&pairs).unwrap()
    }

    fn substituted(substitutions: &Substitutions, content: &[u8]) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let mut content = content.to_vec();
        for edit in substitutions
            .find_edits(file.as_fd(), content.len() as u64)
            .unwrap()
            .iter()
            .flat_map(|all| &**all)
        {
            let at = usize::try_from(edit.offset).unwrap();
            content[at..at + edit.bytes.len()].copy_from_slice(&edit.bytes);
        }
        content
    }

    #[test]
    fn the_first_of_two_holds_and_nothing_is_replaced_twice() {
        let substitutions = substitutions(&[("aab", "xxx"), ("ab", "yy"), ("xx", "zz")]);
        assert_eq!(substituted(&substitutions, b"aab ab xx aaab"), b"xxx yy zz axxx");
        assert_eq!(substituted(&substitutions, b"nothing"), b"nothing");
    }

    #[test]
    fn a_match_across_two_blocks_is_found_once() {
        let substitutions = substitutions(&[("TOKEN-TOKEN", "secret-1234"), ("T", "t")]);
        for around in BLOCK_SIZE - 30..BLOCK_SIZE + 30 {
            let mut content = vec![b'.'; 2 * BLOCK_SIZE + 100];
            content[around..around + 11].copy_from_slice(b"TOKEN-TOKEN");
            let mut expected = content.clone();
            expected[around..around + 11].copy_from_slice(b"secret-1234");
            assert!(substituted(&substitutions, &content) == expected, "{around}");
        }
    }

    #[test]
    fn lengths_must_be_equal() {
        let refused = |from: &str, to: &str| {
            Substitutions::new(&[(from.into(), to.into())]).unwrap_err().to_string()
        };
        assert_eq!(refused("", ""), "there is nothing to replace");
        assert!(refused("ab", "abc").starts_with("2 bytes cannot be replaced by 3"));
    }

    #[test]
    fn too_many_edits_are_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'a'; MAX_EDITS + 1]).unwrap();
        let places = substitutions(&[("a", "b")]).find_edits(file.as_fd(), MAX_EDITS as u64 + 1);
        assert_eq!(places.unwrap_err(), Errno::TOOBIG);
    }

    #[test]
    fn tags_differ_where_stamps_do() {
        let tags = [
            substitutions(&[("ab", "cd")]),
            substitutions(&[("ab", "ce")]),
            substitutions(&[("a", "b"), ("c", "d")]),
            substitutions(&[("c", "d"), ("a", "b")]),
        ];
        let tags: std::collections::HashSet<_> =
            tags.iter().map(|one| one.tag().to_owned()).collect();
        assert_eq!(tags.len(), 4);
        assert!(tags.iter().all(|tag| tag.len() == 8));
    }

    /// The expected content, made byte by byte.
    fn simply(pairs: &[(Vec<u8>, Vec<u8>)], content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < content.len() {
            let rest = &content[out.len()..];
            match pairs.iter().find(|(from, _)| rest.starts_with(from)) {
                Some((_, to)) => out.extend_from_slice(to),
                None => out.push(rest[0]),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn the_result_is_that_of_a_simple_loop(
            content in proptest::collection::vec(b'a'..b'd', 0..300),
            pairs in proptest::collection::vec((1_usize..5).prop_flat_map(|length| (
                proptest::collection::vec(b'a'..b'd', length),
                proptest::collection::vec(b'a'..b'd', length),
            )), 1..4),
        ) {
            prop_assert_eq!(substituted(&Substitutions::new(&pairs).unwrap(), &content), simply(&pairs, &content));
        }
    }
}
