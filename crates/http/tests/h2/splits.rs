//! The split of the bytes never changes the result, and nothing makes a connection panic.

use crate::peer::*;
use crate::sink::{File, Queue};
use karez_http::h2::{
    Connection, ConnectionLimits, PREFACE, StreamBody, StreamId, flag, hpack, kind,
};
use proptest::prelude::*;
use std::time::Instant;

/// The inputs of a conversation, the parts of bodies joined, and the output.
fn outcome<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Seen>, Vec<u8>) {
    let mut connection = Connection::new(ConnectionLimits::default());
    let mut queue = Queue::default();
    queue.room = u64::MAX;
    let (mut inputs, mut files, now) = (Vec::<Seen>::new(), 0, Instant::now());
    for mut piece in pieces {
        while let Some(input) = connection.receive(now, &mut piece) {
            let (input, _) = own(input);
            match (&input, inputs.last_mut()) {
                (Seen::Body(stream, bytes), Some(Seen::Body(last, before))) if stream == last => {
                    before.extend(bytes);
                    continue;
                }
                (Seen::End(stream), _) => {
                    // Each response has a file of its own: streams may differ in their highest byte alone.
                    files += 1;
                    let body = match stream % 3 {
                        0 => StreamBody::Empty,
                        1 => StreamBody::Bytes(vec![7; 100].into()),
                        _ => StreamBody::File(File(files), 0..1000),
                    };
                    connection.respond(StreamId(*stream), ok(), body);
                }
                _ => {}
            }
            inputs.push(input);
        }
        assert!(piece.is_empty());
    }
    connection.fill(&mut queue);
    queue.send(usize::MAX);
    (inputs, queue.wire)
}

fn assert_splits_do_not_matter(bytes: &[u8], cuts: &[prop::sample::Index]) {
    let whole = outcome(std::iter::once(bytes));
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
    assert_eq!(outcome(pieces), whole);
    assert_eq!(outcome(bytes.chunks(1)), whole, "byte by byte");
}

/// Frames that a client may send, mostly in a sensible order.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let stream = || prop_oneof![8 => (0_u32..6).prop_map(|n| 2 * n + 1), 1 => 0_u32..12];
    let block = prop::sample::select(vec![
        GET.to_vec(),
        b"\x82\x86\x84".to_vec(),
        b"\x82\x86\x84\x41\x01a\x40\x01b\x01c".to_vec(),
        b"\x82\x86\x84\x41\x01a\xbe".to_vec(),
        b"\x83\x86\x84\x41\x01a\x0f\x0d\x013".to_vec(),
        b"\x3f\xe1\x1f\x82\x86\x84\x41\x01a".to_vec(),
        b"\x00\x01x\x01y".to_vec(),
        b"\x80".to_vec(),
        Vec::new(),
    ]);
    prop_oneof![
        8 => (stream(), block.clone(), any::<bool>(), any::<bool>()).prop_map(|(id, block, end, whole)| {
            let flags = if end { flag::END_STREAM } else { 0 };
            if whole {
                return frame(kind::HEADERS, flags | flag::END_HEADERS, id, &block);
            }
            let (first, rest) = block.split_at(block.len() / 2);
            [frame(kind::HEADERS, flags, id, first), frame(kind::CONTINUATION, flag::END_HEADERS, id, rest)]
                .concat()
        }),
        5 => (stream(), 0_usize..2000, any::<bool>()).prop_map(|(id, size, end)| data(id, &vec![3; size], end)),
        1 => (stream(), 0_u8..40).prop_map(|(id, size)| {
            frame(kind::DATA, flag::PADDED, id, &[&[size][..], b"abc", &vec![0; size.into()]].concat())
        }),
        2 => (stream(), 0_u32..100).prop_map(|(id, size)| window(id, size)),
        1 => stream().prop_map(|id| reset(id, karez_http::h2::ErrorCode::CANCEL)),
        1 => (0_u16..10, any::<u32>()).prop_map(|setting| settings(&[setting])),
        1 => Just(frame(kind::PING, 0, 0, &[9; 8])),
        1 => (stream(), "u=[0-9](, i)?").prop_map(|(id, value)| {
            frame(kind::PRIORITY_UPDATE, 0, 0, &[&id.to_be_bytes()[..], value.as_bytes()].concat())
        }),
        1 => (any::<u8>(), any::<u8>(), stream(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(kind, flags, id, payload)| frame(kind, flags, id, &payload)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn conversations_good_and_bad(
        pieces in prop::collection::vec(piece(), 1..14),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
    ) {
        let mut bytes = [PREFACE.to_vec(), settings(&[]), pieces.concat()].concat();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        assert_splits_do_not_matter(&bytes, &cuts);
    }

    #[test]
    fn requests_survive_any_split(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9), count in 1_u32..8) {
        let mut bytes = [PREFACE.to_vec(), settings(&[(4, 1 << 20)])].concat();
        for n in 0..count {
            let mut block = GET.to_vec();
            hpack::BlockEncoder::new(&mut block).field("user-agent", b"a client").number("x-n", n.into());
            bytes.extend(frame(kind::HEADERS, flag::END_HEADERS, 2 * n + 1, &block));
            bytes.extend(data(2 * n + 1, &[1; 300], true));
        }
        assert_splits_do_not_matter(&bytes, &cuts);
        let (inputs, _) = outcome(std::iter::once(&bytes[..]));
        prop_assert_eq!(inputs.len(), 3 * count as usize);
    }
}
