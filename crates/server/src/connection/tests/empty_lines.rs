//! Empty lines before a request (RFC 9112 §2.2).

use super::*;

/// An idle connection has no state to count in, but one that received an empty line has.
#[test]
fn empty_lines_are_limited_although_the_connection_is_idle_after_each() {
    let (root, stop) = (root(), Shutdown::new());
    let mut test = test(&root, &stop);
    test.open();
    for _ in 0..4 {
        assert_eq!(test.receive(b"\r\n"), IDLE);
    }
    test.receive(b"\r\n");
    assert!(test.sent().starts_with("HTTP/1.1 400 "));
}
