//! The same events come out of a decoder however the bytes were split, and no input makes it panic.

use karez_http::h1::{Decoder, Event};
use karez_http::{Field, Limits, Status};
use proptest::prelude::*;

/// Everything that can be observed of a request. The pieces of a body are joined.
#[derive(Debug, PartialEq)]
enum Observed {
    Head { line: Vec<u8>, fields: Vec<(Vec<u8>, Vec<u8>)>, persistent: bool },
    Body(Vec<u8>),
    End { complete: bool },
    Error { status: Status, reason: &'static str },
}

fn observe<'a>(
    limits: Limits,
    discards: bool,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Observed>, bool) {
    let mut decoder = Decoder::new(limits);
    let mut observed = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            let mut is_head = false;
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Event::Head(request))) => {
                    is_head = true;
                    for field in Field::ALL {
                        assert_eq!(request.values(*field).next(), request.value(*field));
                    }
                    observed.push(Observed::Head {
                        line: request.request_line().to_vec(),
                        fields: request.fields().map(|(n, v)| (n.to_vec(), v.to_vec())).collect(),
                        persistent: request.persistent(),
                    });
                }
                Ok(Some(Event::Body(bytes))) => {
                    assert!(!discards && !bytes.is_empty());
                    match observed.last_mut() {
                        Some(Observed::Body(body)) => body.extend_from_slice(bytes),
                        _ => observed.push(Observed::Body(bytes.to_vec())),
                    }
                }
                Ok(Some(Event::End { complete })) => observed.push(Observed::End { complete }),
                Ok(Some(other)) => unreachable!("{other:?}"),
                Err(error) => {
                    observed.push(Observed::Error { status: error.status, reason: error.reason });
                }
            }
            if is_head && discards {
                decoder.discard_body();
            }
        }
    }
    (observed, decoder.is_empty())
}

/// Limits that small inputs reach.
fn tight() -> Limits {
    Limits { target: 24, head: 120, fields: 5, max_discarded_body: 40 }
}

fn assert_splits_do_not_matter(bytes: &[u8], cuts: &[usize]) {
    for (limits, discards) in
        [Limits::default(), tight()].into_iter().flat_map(|it| [(it, true), (it, false)])
    {
        let whole = observe(limits, discards, std::iter::once(bytes));
        assert_eq!(observe(limits, discards, bytes.chunks(1)), whole, "byte by byte");
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        assert_eq!(observe(limits, discards, pieces), whole, "cut at {cuts:?}");
    }
}
/// Fragments that requests, good and bad, are made of.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a%20b?c HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nAccept: x\r\nAccept: y\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
        "5\r\nhello\r\n",
        "3;x=y\r\nabc\r\n",
        "0\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\n",
        "GET /a-target-that-is-too-long-for-tight-limits HTTP/1.1\r\nHost: a\r\n\r\n",
        "X-A-Field: that makes a head too large for limits as tight as these, but not by far\r\n",
        "Host: a\r\n",
        "Connection: close\r\n",
        "Content-Length: 7\r\n",
        "Transfer-Encoding: chunked\r\n",
        "\r\n",
        "\r",
        "\n",
        " ",
        "GET ",
        "/",
        " HTTP/1.1\r\n",
        "HTTP/2.0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]);
    prop_oneof![
        8 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (any::<u8>(), 0_usize..60).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

/// Pipelines of fragments, some bytes of which were changed.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let fragments = prop::collection::vec(fragment(), 1..8);
    let changes = prop::collection::vec(change, 0..3);
    (fragments, changes).prop_map(|(fragments, changes)| {
        let mut bytes = fragments.concat();
        for (index, byte) in changes {
            if !bytes.is_empty() {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn pipelines_good_and_bad(bytes in input(), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        assert_splits_do_not_matter(&bytes, &cuts);
    }

    #[test]
    fn anything(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<usize>()) {
        assert_splits_do_not_matter(&bytes, &[cut]);
    }
}

#[test]
fn every_cut_of_a_pipeline() {
    let bytes = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n\
        POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n\
        POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
        GET / HTTP/1.1\r\nHost : a\r\n\r\n";
    for cut in 0..=bytes.len() {
        assert_splits_do_not_matter(bytes, &[cut]);
    }
    let (observed, _) = observe(Limits::default(), false, bytes.chunks(7));
    let bodies: Vec<_> = observed
        .iter()
        .filter_map(|it| if let Observed::Body(body) = it { Some(&body[..]) } else { None })
        .collect();
    assert_eq!(bodies, [&b"hello"[..], b"abc"]);
    let ends = observed.iter().filter(|it| matches!(it, Observed::End { complete: true }));
    assert_eq!(ends.count(), 3);
    assert!(matches!(observed.last(), Some(Observed::Error { .. })));
}
