//! The Huffman code of HPACK (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical, so the lengths of its codes define it; the codes, and a table that decodes
//! four bits at a time, are computed when this crate is compiled.
//!
//! # Limitations
//!
//! The decoding table has 16 KiB. A table for whole octets would have 256 KiB and decode about twice
//! as fast, which matters little beside the rest of a request.

use super::error::CompressionError;

/// Appends the string that `code` stands for.
pub(super) fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    // The shortest code has five bits.
    out.reserve(code.len() * 8 / 5);
    let mut state = 0_u8;
    let mut complete = true;
    for octet in code {
        for nibble in [octet >> 4, octet & 15] {
            let step = &STEPS[usize::from(state)][usize::from(nibble)];
            match step.kind {
                Kind::Invalid => return Err(CompressionError("the Huffman code of EOS")),
                Kind::Symbol => out.push(step.symbol),
                Kind::Nothing => {}
            }
            state = step.next;
            complete = step.complete;
        }
    }
    // Padding is shorter than an octet, and all ones.
    if complete { Ok(()) } else { Err(CompressionError("malformed padding of a Huffman code")) }
}

/// Returns how many octets the code of `text` has.
pub(super) fn encoded_length(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|octet| usize::from(LENGTHS[usize::from(*octet)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text`, padded to whole octets.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for octet in text {
        let symbol = usize::from(*octet);
        // A code has at most 30 bits, and fewer than 32 are left of the codes before it.
        bits = bits << LENGTHS[symbol] | u64::from(CODES[symbol]);
        count += u32::from(LENGTHS[symbol]);
        if count >= 32 {
            count -= 32;
            let [four @ .., _, _, _, _] = (bits << (32 - count)).to_be_bytes();
            out.extend_from_slice(&four);
        }
    }
    while count >= 8 {
        count -= 8;
        out.push((bits >> count).to_le_bytes()[0]);
    }
    if count > 0 {
        out.push((bits << (8 - count) | 0xff >> count).to_le_bytes()[0]);
    }
}

/// The effect of four bits in one state of the decoder: a node of the code's tree.
#[derive(Clone, Copy)]
struct Step {
    next: u8,
    symbol: u8,
    kind: Kind,
    /// The code may end here: the bits behind the last symbol are valid padding.
    complete: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Nothing,
    Symbol,
    Invalid,
}

const SYMBOLS: usize = 257;
/// The symbol that ends a string, and never appears in one.
const EOS: usize = 256;
/// Inner nodes of a tree with so many leaves.
const NODES: usize = SYMBOLS - 1;
/// In the tree, numbers from here on are leaves.
const LEAF: u16 = 0x8000;

static STEPS: [[Step; 16]; NODES] = steps();
static CODES: [u32; SYMBOLS] = codes();

/// Numbers the codes: in the order of their lengths, and of their symbols where these are equal.
const fn codes() -> [u32; SYMBOLS] {
    let mut codes = [0; SYMBOLS];
    let (mut code, mut length) = (0, 5);
    while length <= 30 {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] == length {
                codes[symbol] = code;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    codes
}

/// Makes the tree of the codes: the children of each inner node, the root first.
const fn tree() -> [[u16; 2]; NODES] {
    let codes = codes();
    let mut tree = [[0; 2]; NODES];
    let mut nodes = 1;
    let mut symbol = 0_u16;
    while (symbol as usize) < SYMBOLS {
        let mut node = 0;
        let mut left = LENGTHS[symbol as usize];
        while left > 0 {
            left -= 1;
            let bit = (codes[symbol as usize] >> left & 1) as usize;
            if left == 0 {
                tree[node][bit] = LEAF | symbol;
            } else {
                if tree[node][bit] == 0 {
                    tree[node][bit] = nodes;
                    nodes += 1;
                }
                node = tree[node][bit] as usize;
            }
        }
        symbol += 1;
    }
    tree
}

#[expect(clippy::cast_possible_truncation, reason = "a leaf holds an octet, or EOS, tried before")]
const fn steps() -> [[Step; 16]; NODES] {
    let tree = tree();
    let complete = complete(&tree);
    let nothing = Step { next: 0, symbol: 0, kind: Kind::Nothing, complete: false };
    let mut steps = [[nothing; 16]; NODES];
    let mut state = 0;
    while state < NODES {
        let mut nibble = 0;
        while nibble < 16 {
            let mut step = nothing;
            let mut node = state;
            let mut left = 4;
            while left > 0 {
                left -= 1;
                let child = tree[node][nibble >> left & 1];
                if child == LEAF | EOS as u16 {
                    step.kind = Kind::Invalid;
                    node = 0;
                } else if child & LEAF != 0 {
                    step.kind = Kind::Symbol;
                    step.symbol = child as u8;
                    node = 0;
                } else {
                    node = child as usize;
                }
            }
            step.next = node as u8;
            step.complete = complete[node];
            steps[state][nibble] = step;
            nibble += 1;
        }
        state += 1;
    }
    steps
}

/// Marks the nodes in which a code may end: the root, and up to seven ones behind it.
const fn complete(tree: &[[u16; 2]; NODES]) -> [bool; NODES] {
    let mut complete = [false; NODES];
    let (mut node, mut ones) = (0, 0);
    while ones <= 7 {
        complete[node] = true;
        node = tree[node][1] as usize;
        ones += 1;
    }
    complete
}

/// The length of each symbol's code in bits (RFC 7541 Appendix B).
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

#[cfg(test)]
mod tests {
    use super::{CODES, decode, encode, encoded_length};

    #[test]
    fn codes_are_those_of_rfc_7541_appendix_b() {
        for (symbol, code) in [
            (usize::from(b'0'), 0x0),
            (usize::from(b'a'), 0x3),
            (usize::from(b' '), 0x14),
            (0, 0x1ff8),
            (usize::from(b'Z'), 0xfd),
            (usize::from(b'\\'), 0x7fff0),
            (130, 0x000f_ffe7),
            (255, 0x03ff_ffee),
            (256, 0x3fff_ffff),
        ] {
            assert_eq!(CODES[symbol], code, "{symbol}");
        }
    }

    #[test]
    fn examples_of_rfc_7541_appendix_c() {
        for (text, code) in [
            (&b"www.example.com"[..], "f1e3c2e5f23a6ba0ab90f4ff"),
            (b"no-cache", "a8eb10649cbf"),
            (b"custom-key", "25a849e95ba97d7f"),
            (b"custom-value", "25a849e95bb8e8b4bf"),
            (b"302", "6402"),
            (b"private", "aec3771a4b"),
            (b"Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            (b"https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
        ] {
            let mut out = Vec::new();
            encode(text, &mut out);
            let hex: String = out.iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(hex, code);
            assert_eq!(encoded_length(text), out.len());
            let mut again = Vec::new();
            decode(&out, &mut again).unwrap();
            assert_eq!(again, text);
        }
    }

    #[test]
    fn every_symbol_round_trips() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let mut code = Vec::new();
        encode(&all, &mut code);
        let mut again = Vec::new();
        decode(&code, &mut again).unwrap();
        assert_eq!(again, all);
    }

    #[test]
    fn bad_padding_and_eos_are_errors() {
        let decode = |code: &[u8]| decode(code, &mut Vec::new());
        // "0" is 00000, so 0x07 pads it by ones and 0x00 by zeros.
        assert!(decode(&[0x07]).is_ok());
        assert!(decode(&[0x00]).is_err(), "padding of zeros");
        assert!(decode(&[0x06]).is_err(), "padding that is not all ones");
        assert!(decode(&[0x07, 0xff]).is_err(), "an octet of padding too many");
        assert!(decode(&[0xff]).is_err(), "nothing but padding of eight bits");
        assert!(decode(&[0xff, 0xff, 0xff, 0xff]).is_err(), "EOS");
        assert!(decode(&[]).is_ok());
    }
}
