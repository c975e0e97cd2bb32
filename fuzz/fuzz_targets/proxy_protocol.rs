//! Fuzzes the parser of the PROXY protocol: no split of the input changes the result, and no byte of the client is
//! read for it.
#![no_main]

use karez_http::proxy_protocol::{LONGEST, Progress, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut received = 0;
    let result = loop {
        match parse(&input[..received]) {
            Ok(Progress::Incomplete(more)) if received + more <= input.len() => {
                assert!(more > 0);
                received += more;
            }
            result => break result,
        }
    };
    match result {
        Ok(Progress::Complete { length, .. }) => {
            assert!(length == received && length <= LONGEST);
            assert_eq!(parse(input), result);
        }
        Ok(Progress::Incomplete(_)) => {
            assert!(!matches!(parse(input), Ok(Progress::Complete { .. })));
        }
        Err(_) => assert!(parse(input).is_err()),
    }
});
