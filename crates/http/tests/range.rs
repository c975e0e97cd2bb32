//! Range selection: a table, and a naive model that marks bytes one by one.
#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use karez_http::range::{MAX_PARTS, MAX_RANGES, select};
use karez_http::{ByteRange, Selection};
use proptest::prelude::*;

fn one(start: u64, length: u64) -> Selection {
    Selection::One(ByteRange { start, length })
}

fn many(parts: &[(u64, u64)]) -> Selection {
    Selection::Many(
        parts.iter().map(|(start, length)| ByteRange { start: *start, length: *length }).collect(),
    )
}

#[test]
fn selections_of_ten_bytes() {
    use Selection::Unsatisfiable;
    for (value, expected) in [
        ("bytes=0-4", one(0, 5)),
        ("BYTES=0-0", one(0, 1)),
        ("bytes=5-", one(5, 5)),
        ("bytes=-3", one(7, 3)),
        ("bytes=-10", one(0, 10)),
        ("bytes=-99", one(0, 10)),
        ("bytes=9-9", one(9, 1)),
        ("bytes=3-99", one(3, 7)),
        ("bytes=3-99999999999999999999999", one(3, 7)),
        ("bytes=-99999999999999999999999", one(0, 10)),
        ("bytes=0-18446744073709551615", one(0, 10)),
        ("bytes=10-", Unsatisfiable),
        ("bytes=10-11", Unsatisfiable),
        ("bytes=99999999999999999999999-", Unsatisfiable),
        ("bytes=-0", Unsatisfiable),
        ("bytes=10-,-0,20-30", Unsatisfiable),
        ("bytes=0-1,10-", one(0, 2)),
        ("bytes=0-1,5-6", many(&[(0, 2), (5, 2)])),
        ("bytes=5-6,0-1", many(&[(5, 2), (0, 2)])),
        ("bytes= 0-1 ,\t5-6", many(&[(0, 2), (5, 2)])),
        ("bytes=,0-1,,", one(0, 2)),
        ("bytes=0-1,2-3", one(0, 4)),
        ("bytes=2-3,0-1", one(0, 4)),
        ("bytes=0-5,3-8", one(0, 9)),
        ("bytes=0-9,3-4", one(0, 10)),
        ("bytes=8-8,0-0,2-2,1-1", many(&[(8, 1), (0, 3)])),
        ("bytes=0-0,8-8,-1,2-2", many(&[(0, 1), (8, 2), (2, 1)])),
        ("bytes=4-5,0-0,8-9,1-7", one(0, 10)),
    ] {
        assert_eq!(select(value.as_bytes(), 10), expected, "{value}");
    }
}

#[test]
fn what_is_malformed_is_ignored() {
    for value in [
        "bytes=5-4",
        "bytes=0-1,5-4",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=+1-2",
        "bytes=1 -2",
        "bytes=1--2",
        "bytes=0-1;5-6",
        "bytes =0-1",
        "items=0-1",
        "bytes",
        "0-1",
        "",
    ] {
        assert_eq!(select(value.as_bytes(), 10), Selection::Whole, "{value}");
    }
}

#[test]
fn a_range_of_an_empty_file_is_ignored() {
    for value in ["bytes=0-0", "bytes=0-", "bytes=5-9", "bytes=-1", "bytes=-0", "bytes=0-,-1", "x"]
    {
        assert_eq!(select(value.as_bytes(), 0), Selection::Whole, "{value}");
    }
}

#[test]
fn the_largest_file() {
    assert_eq!(select(b"bytes=0-", u64::MAX), one(0, u64::MAX));
    assert_eq!(select(b"bytes=-1", u64::MAX), one(u64::MAX - 1, 1));
    let last = ByteRange { start: u64::MAX - 1, length: 1 };
    assert_eq!((last.end(), last.last()), (u64::MAX, u64::MAX - 1));
}

#[test]
fn too_many() {
    let list = |count: usize, step: usize| {
        let ranges: Vec<_> = (0..count).map(|n| format!("{0}-{0}", n * step)).collect();
        format!("bytes={}", ranges.join(","))
    };
    let select = |value: String| select(value.as_bytes(), 1 << 20);
    assert!(matches!(select(list(MAX_PARTS, 2)), Selection::Many(_)));
    assert_eq!(select(list(MAX_PARTS + 1, 2)), Selection::Whole);
    assert_eq!(select(list(MAX_RANGES, 1)), one(0, 64));
    assert_eq!(select(list(MAX_RANGES + 1, 1)), Selection::Whole);
    assert_eq!(select(format!("bytes={}", "0-,".repeat(5000))), Selection::Whole);
    assert_eq!(select(format!("bytes={}0-0", ",".repeat(16_000))), one(0, 1));
}

/// Marks the bytes of each range, and then reads the runs of marks.
fn model(specs: &[(Option<u64>, Option<u64>)], size: u64) -> Selection {
    let mut owners: Vec<Option<usize>> = vec![None; usize::try_from(size).expect("small")];
    for (place, (first, last)) in specs.iter().enumerate() {
        for at in 0..size {
            let inside = match (first, last) {
                (Some(first), last) => *first <= at && last.is_none_or(|last| at <= last),
                (None, Some(suffix)) => at + suffix >= size,
                (None, None) => false,
            };
            let owner = &mut owners[usize::try_from(at).expect("small")];
            *owner = owner.or(inside.then_some(place));
        }
    }
    let mut runs: Vec<(usize, ByteRange)> = Vec::new();
    for (at, owner) in (0_u64..).zip(&owners) {
        let Some(owner) = owner else { continue };
        match runs.last_mut() {
            Some((first, run)) if run.end() == at => {
                run.length += 1;
                *first = (*first).min(*owner);
            }
            _ => runs.push((*owner, ByteRange { start: at, length: 1 })),
        }
    }
    runs.sort_by_key(|(place, _)| *place);
    let mut parts: Vec<_> = runs.into_iter().map(|(_, run)| run).collect();
    match parts.len() {
        _ if size == 0 => Selection::Whole,
        0 => Selection::Unsatisfiable,
        1 => Selection::One(parts.remove(0)),
        2..=MAX_PARTS => Selection::Many(parts),
        _ => Selection::Whole,
    }
}

fn spec() -> impl Strategy<Value = (Option<u64>, Option<u64>)> {
    prop_oneof![
        (0_u64..70, 0_u64..9).prop_map(|(first, more)| (Some(first), Some(first + more))),
        (0_u64..70).prop_map(|first| (Some(first), None)),
        (0_u64..9).prop_map(|suffix| (None, Some(suffix))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn as_the_model_says(specs in prop::collection::vec(spec(), 1..30), size in 0_u64..64) {
        let number = |n: &Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        let texts: Vec<_> = specs.iter().map(|(a, b)| format!("{}-{}", number(a), number(b))).collect();
        let value = format!("bytes={}", texts.join(", "));
        prop_assert_eq!(select(value.as_bytes(), size), model(&specs, size), "{}", value);
    }

    #[test]
    fn anything(text in "(bytes=)?[0-9,\\- a]{0,40}", size in any::<u64>()) {
        let parts = match select(text.as_bytes(), size) {
            Selection::One(part) => vec![part],
            Selection::Many(parts) => parts,
            _ => vec![],
        };
        for part in parts {
            prop_assert!(part.length > 0 && part.end() <= size);
        }
    }
}
