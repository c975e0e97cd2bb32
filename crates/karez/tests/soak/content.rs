//! Contents of files that are computed from a key, so that each byte of a response can be checked without a copy
//! of the file: the eight bytes at each multiple of eight depend on the key and on their place.

use crate::rng::mix;

/// A content: two with different keys differ in practically each word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    pub key: u64,
    pub length: u64,
}

fn word(key: u64, index: u64) -> [u8; 8] {
    mix(key.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes()
}

impl Content {
    pub fn bytes(self) -> Vec<u8> {
        let words = (0..self.length.div_ceil(8)).flat_map(|index| word(self.key, index));
        words.take(self.length as usize).collect()
    }

    /// Returns whether these bytes are those of the content from `offset` on, whose end is not looked at.
    pub fn holds(self, offset: u64, bytes: &[u8]) -> bool {
        let (index, skipped) = (offset / 8, (offset % 8) as usize);
        let first = bytes.len().min((8 - skipped) % 8);
        let (first, rest) = bytes.split_at(first);
        if !first.is_empty() && word(self.key, index)[skipped..skipped + first.len()] != *first {
            return false;
        }
        let mut index = offset.div_ceil(8);
        rest.chunks(8).all(|chunk| {
            let expected = word(self.key, index);
            index += 1;
            chunk == &expected[..chunk.len()]
        })
    }
}

/// Returns whether these bytes, which begin at `offset`, are joined from the contents, or with `zeros` from zeros, too. A
/// word may be of several, since a write and a read of the same page are not atomic.
pub fn joins(contents: &[Content], zeros: bool, offset: u64, bytes: &[u8]) -> bool {
    let known = |at: u64, part: &[u8]| {
        let zero = zeros && part.iter().all(|byte| *byte == 0);
        zero || contents.iter().any(|content| content.holds(at, part))
    };
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.len().min((8 - at % 8) as usize));
        let single = |(byte, place): (&u8, u64)| known(place, &[*byte]);
        if !known(at, part) && !part.iter().zip(at..).all(single) {
            return false;
        }
        at += part.len() as u64;
        rest = behind;
    }
    true
}

#[test]
fn each_byte_is_checked() {
    let content = Content { key: 7, length: 1003 };
    let bytes = content.bytes();
    assert_eq!(bytes.len(), 1003);
    for (from, to) in [(0, 1003), (0, 0), (3, 5), (3, 8), (5, 77), (16, 24), (999, 1003)] {
        let mut part = bytes[from..to].to_vec();
        assert!(content.holds(from as u64, &part));
        assert!(joins(&[Content { key: 8, length: 9 }, content], false, from as u64, &part));
        for place in 0..part.len() {
            part[place] ^= 1;
            assert!(!content.holds(from as u64, &part), "{from} {place}");
            assert!(!joins(&[content], false, from as u64, &part), "{from} {place}");
            part[place] ^= 1;
        }
    }
}

#[test]
fn words_of_two_contents_and_zeros_are_told_apart() {
    let (one, other) = (Content { key: 1, length: 64 }, Content { key: 2, length: 64 });
    let mut bytes = [&one.bytes()[..32], &other.bytes()[32..]].concat();
    assert!(joins(&[one, other], false, 0, &bytes));
    assert!(!joins(&[one], false, 0, &bytes));
    bytes[20..].fill(0);
    assert!(joins(&[one], true, 0, &bytes));
    assert!(!joins(&[one], false, 0, &bytes));
}
