//! Stamps: bytes that are replaced by as many others in files as they leave, so that one file on
//! the disk is a personal one for whoever fetches it: a token in an installer, a name in a page.
//!
//! A file is searched once for each version of it, when it is opened; after that the places are
//! known. The file itself, and what the page cache has of it, stay as they are (`cow` in
//! `karez_transfer`).
//!
//! What it does badly: the search reads the whole file, cold or not, before the first byte of the
//! first answer; what would stand across two replaced places is not looked at again; and what is
//! compressed is searched as it is.

use karez_transfer::Edit;
use memchr::memmem::Finder;
use rustix::fd::BorrowedFd;
use rustix::io::{self, Errno};
use std::fmt;
use std::sync::Arc;

use super::tally::{self, Call};

/// How much is searched at a time.
const BLOCK: usize = 1 << 20;

/// More places than this in one file are a mistake: each costs memory as long as it is cached.
const MOST: usize = 1 << 16;

/// What is replaced by what.
#[derive(Clone, Default)]
pub struct Stamps {
    all: Vec<Stamp>,
    tag: String,
}

#[derive(Clone)]
struct Stamp {
    from: Finder<'static>,
    to: Arc<[u8]>,
}

impl Stamps {
    /// Replaces each `from` by its `to`. Where two begin at the same place the first one holds;
    /// what is replaced is not searched again.
    ///
    /// # Errors
    /// A `from` that is empty or not as long as its `to`.
    pub fn new(pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<Self, UnequalStamp> {
        let mut all = Vec::with_capacity(pairs.len());
        let mut hash = Fnv::default();
        for (from, to) in pairs {
            if from.is_empty() || from.len() != to.len() {
                return Err(UnequalStamp { from: from.len(), to: to.len() });
            }
            hash.add(from);
            hash.add(to);
            let from = Finder::new(from).into_owned();
            all.push(Stamp { from, to: Arc::from(&to[..]) });
        }
        Ok(Self { all, tag: format!("{:08x}", hash.0 >> 32) })
    }

    /// Whether nothing is replaced.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What tells the entity tag of a stamped file from that of the plain one, and from one with
    /// other stamps: eight letters or digits, the same on every machine.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// The places in the `size` bytes of `file` and what goes there; `None` if there are none.
    ///
    /// # Errors
    /// As pread(2); `E2BIG` for more places than anybody can mean.
    pub(super) fn places(
        &self,
        file: BorrowedFd<'_>,
        size: u64,
    ) -> io::Result<Option<Arc<[Edit]>>> {
        let Some(longest) = self.all.iter().map(|stamp| stamp.to.len()).max() else {
            return Ok(None);
        };
        let mut edits = Vec::new();
        let mut block = vec![0; BLOCK.max(2 * longest)];
        let (mut start, mut free) = (0, 0);
        while start < size {
            let wanted = usize::try_from(size - start).unwrap_or(usize::MAX).min(block.len());
            let read = read_at(file, &mut block[..wanted], start)?;
            let last = start + read as u64 >= size || read < wanted;
            // What begins behind this may go on in the next block, and is found there.
            let limit = if last { read } else { read - (longest - 1) };
            self.search(&block[..read], limit, start, &mut free, &mut edits)?;
            if last {
                break;
            }
            start += limit as u64;
        }
        Ok((!edits.is_empty()).then(|| edits.into()))
    }

    /// Finds what begins before `limit` in a block that stands at `start` in the file, of which
    /// everything before `free` is replaced already.
    fn search(
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
            for (found, stamp) in next.iter_mut().zip(&self.all) {
                if found.is_some_and(|found| found <= at) {
                    *found = stamp.from.find(&block[at..]).map(|behind| at + behind);
                }
            }
            let earliest =
                next.iter().zip(&self.all).filter_map(|(&found, stamp)| Some((found?, stamp)));
            let Some((found, stamp)) = earliest.min_by_key(|&(found, _)| found) else {
                return Ok(());
            };
            if found >= limit {
                return Ok(());
            }
            if edits.len() == MOST {
                return Err(Errno::TOOBIG);
            }
            edits.push(Edit { offset: start + found as u64, bytes: Arc::clone(&stamp.to) });
            at = found + stamp.to.len();
            *free = start + at as u64;
        }
        Ok(())
    }
}

/// Fills the buffer, as far as the file goes.
fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        tally::count(Call::Pread64);
        match io::pread(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

/// FNV-1a: it has to be the same everywhere, and nobody attacks it.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Counts the length in, so that where one ends and the next begins makes a difference.
    fn add(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for &byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Debug for Stamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamps").field("count", &self.all.len()).finish_non_exhaustive()
    }
}

/// What is replaced and what replaces it must be equally long, and longer than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnequalStamp {
    from: usize,
    to: usize,
}

impl fmt::Display for UnequalStamp {
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

impl std::error::Error for UnequalStamp {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    fn stamps(pairs: &[(&str, &str)]) -> Stamps {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(from, to)| (from.as_bytes().to_vec(), to.as_bytes().to_vec()))
            .collect();
        Stamps::new(&pairs).unwrap()
    }

    fn stamped(stamps: &Stamps, content: &[u8]) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let mut content = content.to_vec();
        for edit in
            stamps.places(file.as_fd(), content.len() as u64).unwrap().iter().flat_map(|all| &**all)
        {
            let at = usize::try_from(edit.offset).unwrap();
            content[at..at + edit.bytes.len()].copy_from_slice(&edit.bytes);
        }
        content
    }

    #[test]
    fn the_first_of_two_holds_and_nothing_is_replaced_twice() {
        let stamps = stamps(&[("aab", "xxx"), ("ab", "yy"), ("xx", "zz")]);
        assert_eq!(stamped(&stamps, b"aab ab xx aaab"), b"xxx yy zz axxx");
        assert_eq!(stamped(&stamps, b"nothing"), b"nothing");
    }

    #[test]
    fn what_lies_across_two_blocks_is_found_once() {
        let stamps = stamps(&[("TOKEN-TOKEN", "secret-1234"), ("T", "t")]);
        for around in BLOCK - 30..BLOCK + 30 {
            let mut content = vec![b'.'; 2 * BLOCK + 100];
            content[around..around + 11].copy_from_slice(b"TOKEN-TOKEN");
            let mut expected = content.clone();
            expected[around..around + 11].copy_from_slice(b"secret-1234");
            assert!(stamped(&stamps, &content) == expected, "{around}");
        }
    }

    #[test]
    fn lengths_have_to_be_equal() {
        let refused = |from: &str, to: &str| {
            Stamps::new(&[(from.into(), to.into())]).unwrap_err().to_string()
        };
        assert_eq!(refused("", ""), "there is nothing to replace");
        assert!(refused("ab", "abc").starts_with("2 bytes cannot be replaced by 3"));
    }

    #[test]
    fn more_places_than_anybody_can_mean_are_refused() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'a'; MOST + 1]).unwrap();
        let places = stamps(&[("a", "b")]).places(file.as_fd(), MOST as u64 + 1);
        assert_eq!(places.unwrap_err(), Errno::TOOBIG);
    }

    #[test]
    fn tags_differ_where_stamps_do() {
        let tags = [
            stamps(&[("ab", "cd")]),
            stamps(&[("ab", "ce")]),
            stamps(&[("a", "b"), ("c", "d")]),
            stamps(&[("c", "d"), ("a", "b")]),
        ];
        let tags: std::collections::HashSet<_> =
            tags.iter().map(|one| one.tag().to_owned()).collect();
        assert_eq!(tags.len(), 4);
        assert!(tags.iter().all(|tag| tag.len() == 8));
    }

    /// What it should come to, one byte after the other.
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
        fn it_replaces_as_a_simple_loop_would(
            content in proptest::collection::vec(b'a'..b'd', 0..300),
            pairs in proptest::collection::vec((1_usize..5).prop_flat_map(|length| (
                proptest::collection::vec(b'a'..b'd', length),
                proptest::collection::vec(b'a'..b'd', length),
            )), 1..4),
        ) {
            prop_assert_eq!(stamped(&Stamps::new(&pairs).unwrap(), &content), simply(&pairs, &content));
        }
    }
}
