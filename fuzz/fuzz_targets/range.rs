//! Fuzzes the Range parser with any field value and file size: selected parts are within the file, and
//! neither overlap nor touch.
//!
//! The first eight bytes are the size.
#![no_main]

use karez_http::range::{MAX_PARTS, select};
use karez_http::{Multipart, Selection};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((size, value)) = input.split_first_chunk::<8>() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    check(value, size);
    check(value, size & 0xff);
    check(&[b"bytes=", value].concat(), size & 0xff);
});

fn check(value: &[u8], size: u64) {
    let parts = match select(value, size) {
        Selection::Whole | Selection::Unsatisfiable => return,
        Selection::One(part) => vec![part],
        Selection::Many(parts) => {
            assert!((2..=MAX_PARTS).contains(&parts.len()));
            parts
        }
    };
    for part in &parts {
        assert!(part.length > 0 && part.start < size && part.length <= size - part.start);
    }
    let mut sorted = parts.clone();
    sorted.sort_by_key(|part| part.start);
    assert!(sorted.windows(2).all(|two| two[0].end() < two[1].start));

    let multipart = Multipart::new(&parts, size, "text/plain", "boundary");
    let heads: usize = multipart.parts().iter().map(|(head, _)| head.len()).sum();
    let bytes: u64 = parts.iter().map(|part| part.length).sum();
    let framing = (heads + multipart.tail().len()) as u64;
    assert_eq!(multipart.length(), bytes.saturating_add(framing));
}
