//! The examples of RFC 7541 Appendix C, errors, and random blocks.

use super::{BlockDecoder, CompressionError};
use crate::h2::hpack::{huffman, integer};
use proptest::prelude::*;

type Fields = Vec<(String, String)>;
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn decode(decoder: &mut BlockDecoder, block: &[u8]) -> Result<Fields, CompressionError> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.push((text(name), text(value)));
        Ok::<_, CompressionError>(())
    })?;
    Ok(fields)
}

/// Decodes blocks one behind the other; after each, the dynamic table is compared, newest first.
fn check(max_table_size: usize, blocks: &[(&str, Pairs<'_>, Pairs<'_>)]) {
    let mut decoder = BlockDecoder::new(max_table_size);
    let own = |fields: Pairs<'_>| -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    for (hex, fields, table) in blocks {
        assert_eq!(decode(&mut decoder, &bytes(hex)).unwrap(), own(fields));
        let entries = (0..decoder.table.len()).map(|index| decoder.table.get(index).unwrap());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let entries: Fields = entries.map(|(name, value)| (text(name), text(value))).collect();
        assert_eq!(entries, own(table));
    }
}

#[test]
fn c_2_field_representations() {
    let custom = [("custom-key", "custom-header")];
    check(
        4096,
        &[("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", &custom, &custom)],
    );
    check(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], &[])]);
    check(4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], &[])]);
    check(4096, &[("82", &[(":method", "GET")], &[])]);
}

const FIRST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const SECOND: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];
const TABLE: [(&str, &str); 3] = [
    ("custom-key", "custom-value"),
    ("cache-control", "no-cache"),
    (":authority", "www.example.com"),
];

#[test]
fn c_3_requests_without_huffman_coding() {
    check(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", &FIRST, &TABLE[2..]),
            ("8286 84be 5808 6e6f 2d63 6163 6865", &SECOND, &TABLE[1..]),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                &THIRD,
                &TABLE,
            ),
        ],
    );
}

#[test]
fn c_4_requests_with_huffman_coding() {
    check(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", &FIRST, &TABLE[2..]),
            ("8286 84be 5886 a8eb 1064 9cbf", &SECOND, &TABLE[1..]),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", &THIRD, &TABLE),
        ],
    );
}

const LOCATION: (&str, &str) = ("location", "https://www.example.com");
const PRIVATE: (&str, &str) = ("cache-control", "private");
const DATE: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
const LATER: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const COOKIE: (&str, &str) =
    ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");

/// The responses of C.5 and C.6, whose third evicts most of a table of 256 octets.
fn check_responses(blocks: [&str; 3]) {
    let status = |code| (":status", code);
    check(
        256,
        &[
            (
                blocks[0],
                &[status("302"), PRIVATE, DATE, LOCATION],
                &[LOCATION, DATE, PRIVATE, status("302")],
            ),
            (
                blocks[1],
                &[status("307"), PRIVATE, DATE, LOCATION],
                &[status("307"), LOCATION, DATE, PRIVATE],
            ),
            (
                blocks[2],
                &[status("200"), PRIVATE, LATER, LOCATION, GZIP, COOKIE],
                &[COOKIE, GZIP, LATER],
            ),
        ],
    );
}

#[test]
fn c_5_responses_without_huffman_coding() {
    check_responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a \
         3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 \
         677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 \
         553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ]);
}

#[test]
fn c_6_responses_with_huffman_coding() {
    check_responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
         4ee5 b106 3d50 07",
    ]);
}

#[test]
fn malformed_blocks_are_errors() {
    for (hex, why) in [
        ("80", "index 0"),
        ("be", "an index behind an empty dynamic table"),
        ("7f00", "a name of an index behind the tables"),
        ("ffffffffff7f", "an index of more than 28 bits"),
        ("ff", "a truncated index"),
        ("00", "no name"),
        ("0001", "a truncated name"),
        ("000161", "no value"),
        ("00016105", "a value longer than the block"),
        ("0081ff00", "a name of nothing but padding"),
        ("3fe21f", "a table size above the maximum"),
        ("202020", "three updates of the table size"),
        ("8220", "an update behind a field"),
    ] {
        assert!(decode(&mut BlockDecoder::new(4096), &bytes(hex)).is_err(), "{why}");
    }
}

#[test]
fn table_size_updates_evict() {
    let mut decoder = BlockDecoder::new(4096);
    decode(&mut decoder, &bytes("4001 6101 62")).unwrap();
    assert_eq!(decode(&mut decoder, &bytes("be")).unwrap().len(), 1);
    // To 0 and back to 4096, which is allowed, empties it.
    assert_eq!(decode(&mut decoder, &bytes("20 3fe11f 82")).unwrap().len(), 1);
    assert!(decode(&mut decoder, &bytes("be")).is_err());
}

#[test]
fn the_caller_stops_a_bomb() {
    #[derive(Debug, PartialEq)]
    struct Stop;
    impl From<CompressionError> for Stop {
        fn from(_: CompressionError) -> Self {
            panic!("the block is valid")
        }
    }
    // A field of 4000 octets, and 30,000 references of one octet to it.
    let mut block = vec![0x40, 1, b'a'];
    integer::push(&mut block, 0, 7, 4000);
    block.extend([b'x'; 4000]);
    block.extend([0xbe; 30_000]);
    let mut decoded = 0;
    let result = BlockDecoder::new(4096).decode(&block, |name, value| {
        decoded += name.len() + value.len() + 32;
        if decoded > 64 << 10 { Err(Stop) } else { Ok(()) }
    });
    assert_eq!(result, Err(Stop));
    assert!(decoded < 72 << 10);
}

/// One field in one of its representations.
fn field() -> impl Strategy<Value = (u8, bool, String, String)> {
    (0_u8..3, any::<bool>(), "[a-z-]{1,12}", "[ -~]{0,40}")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn literals_of_every_kind_round_trip(fields in prop::collection::vec(field(), 0..40), size in 0_usize..400) {
        let mut block = Vec::new();
        for (kind, coded, name, value) in &fields {
            block.push([0x00, 0x10, 0x40][usize::from(*kind)]);
            for text in [name.as_bytes(), value.as_bytes()] {
                let mut string = text.to_vec();
                if *coded {
                    string.clear();
                    huffman::encode(text, &mut string);
                }
                integer::push(&mut block, if *coded { 0x80 } else { 0 }, 7, string.len());
                block.extend(string);
            }
        }
        let mut decoder = BlockDecoder::new(size);
        let decoded = decode(&mut decoder, &block).unwrap();
        prop_assert!(decoded.iter().map(|(n, v)| (n, v)).eq(fields.iter().map(|(_, _, n, v)| (n, v))));
        // The table holds the newest of the indexed fields.
        let indexed: Vec<_> = fields.iter().rev().filter(|field| field.0 == 2).collect();
        for (index, (_, _, name, value)) in indexed.iter().take(decoder.table.len()).enumerate() {
            prop_assert_eq!(decoder.table.get(index), Some((name.as_bytes(), value.as_bytes())));
        }
    }

    #[test]
    fn no_block_makes_it_panic(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4)) {
        let mut decoder = BlockDecoder::new(100);
        for block in blocks {
            let _ = decode(&mut decoder, &block);
        }
    }
}
