//! Fuzzes the HTTP/1.1 decoder with arbitrary bytes in pieces of any size: it never panics, and the
//! split does not change the result.
//!
//! The first byte selects the limits and whether bodies are discarded, the second the size of the pieces. The target, conditions and
//! codings of each decoded request are evaluated as a server would.
#![no_main]

use karez_http::h1::{Decoder, Event};
use karez_http::{
    Dates, EntityTag, Field, Limits, Status, Timestamp, Validators, condition, encoding,
    target,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [tight, piece, bytes @ ..] = input else {
        return;
    };
    let limits = if tight & 1 == 0 {
        Limits::default()
    } else {
        Limits { target: 24, head: 120, fields: 5, max_discarded_body: 40 }
    };
    let discards = tight & 2 == 0;
    let whole = observe(limits, discards, std::iter::once(bytes));
    assert_eq!(observe(limits, discards, bytes.chunks(1)), whole);
    assert_eq!(observe(limits, discards, bytes.chunks(usize::from(*piece).max(2))), whole);
});

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
                    read(&request);
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
                Ok(Some(other)) => panic!("{other:?}"),
                Err(error) => {
                    assert!(EXPECTED.contains(&error.status), "{error}");
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

fn read(request: &karez_http::Request) {
    for field in Field::ALL {
        let lines = request.fields().filter(|(name, _)| Field::from_name(name) == Some(*field));
        assert!(request.values(*field).eq(lines.map(|(_, value)| value)));
        assert_eq!(request.values(*field).next(), request.value(*field));
    }
    if let Ok(target) = target::parse(request.target()) {
        let mut again = b"/".to_vec();
        target::encode_path(&target.path, &mut again);
        let parsed = target::parse(&again).expect("an encoded path is valid");
        assert_eq!(parsed.path, target.path);
    }
    let etag = EntityTag::shared(5, Timestamp { seconds: 1, nanoseconds: 0 }, None);
    let validators = Validators {
        etag: Some(&etag),
        modified: Some(1),
        changed: 1,
        dates: Dates::NotLater,
        now: 2,
    };
    let _ = condition::evaluate(request, &validators);
    let _ = condition::if_range(request, &validators);
    assert!(encoding::preferred(request).iter().count() <= 3);
}

/// The statuses of the decoder's errors.
const EXPECTED: [Status; 5] = [
    Status::BadRequest,
    Status::UriTooLong,
    Status::FieldsTooLarge,
    Status::NotImplemented,
    Status::VersionNotSupported,
];
