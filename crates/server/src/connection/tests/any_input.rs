//! Property tests of a connection: no bytes make it panic, or respond after its last response.

use proptest::prelude::*;

use super::*;

/// Pieces of requests, good and bad.
const WORDS: &[&str] = &[
    "GET ",
    "HEAD ",
    "POST ",
    "/a",
    "/",
    "/..",
    "/%61",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: x\r\n",
    "\r\n",
    "Range: bytes=0-1,3-\r\n",
    "Content-Length: 3\r\n",
    "abc",
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    "If-None-Match: *\r\n",
    "Connection: close\r\n",
    "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_input_causes_a_panic_or_a_response_after_the_last(
        pieces in prop::collection::vec(pieces(), 1..60),
    ) {
        let (root, stop) = (root(), Shutdown::new());
        let mut test = test(&root, &stop);
        let mut rest = test.open();
        for piece in pieces {
            if rest == State::Closed {
                break;
            }
            rest = test.receive(&piece);
            let answer = test.sent();
            prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{answer}");
        }
        if rest != State::Closed {
            prop_assert!(matches!(test.handle(Event::PeerClosed), State::Closed));
        }
    }
}
