//! Any bytes, cut anywhere: no panic, and the cuts do not change what comes out.
//!
//! The first byte chooses the limits, the second the size of the pieces. Of each request that comes
//! out, everything a server would read is read: target, conditions, codings.
#![no_main]

use karez_http::{
    Dates, Decoder, EntityTag, Field, Limits, Status, Timestamp, Validators, condition, encoding,
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
        Limits { target: 24, head: 120, fields: 5, drain: 40 }
    };
    let whole = outcomes(limits, std::iter::once(bytes));
    assert_eq!(outcomes(limits, bytes.chunks(1)), whole);
    assert_eq!(outcomes(limits, bytes.chunks(usize::from(*piece).max(2))), whole);
});

#[derive(Debug, PartialEq)]
enum Outcome {
    Request { line: Vec<u8>, fields: Vec<(Vec<u8>, Vec<u8>)>, persistent: bool, drained: bool },
    Refusal { status: Status, reason: &'static str },
}

fn outcomes<'a>(limits: Limits, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Outcome>, bool) {
    let mut decoder = Decoder::new(limits);
    let mut outcomes = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(request)) => {
                    read(&request);
                    outcomes.push(Outcome::Request {
                        line: request.request_line().to_vec(),
                        fields: request.fields().map(|(n, v)| (n.to_vec(), v.to_vec())).collect(),
                        persistent: request.persistent(),
                        drained: request.drained(),
                    });
                }
                Err(refusal) => {
                    assert!(EXPECTED.contains(&refusal.status), "{refusal}");
                    outcomes
                        .push(Outcome::Refusal { status: refusal.status, reason: refusal.reason });
                }
            }
        }
    }
    (outcomes, decoder.is_empty())
}

fn read(request: &karez_http::Request) {
    for field in Field::ALL {
        let lines = request.fields().filter(|(name, _)| Field::of(name) == Some(*field));
        assert!(request.values(*field).eq(lines.map(|(_, value)| value)));
        assert_eq!(request.values(*field).next(), request.value(*field));
    }
    if let Ok(target) = target::parse(request.target()) {
        let mut again = b"/".to_vec();
        target::encode_path(&target.path, &mut again);
        let parsed = target::parse(&again).expect("what was encoded is valid");
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

/// What a decoder refuses with.
const EXPECTED: [Status; 5] = [
    Status::BadRequest,
    Status::UriTooLong,
    Status::FieldsTooLarge,
    Status::NotImplemented,
    Status::VersionNotSupported,
];
