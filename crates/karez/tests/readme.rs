//! The example of the READMEs is the one of `karez-transfer`, which runs as a documentation test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

/// Returns the first block of Rust code.
fn example(text: &str) -> &str {
    text.split("```rust\n").nth(1).unwrap().split("```").next().unwrap()
}

#[test]
fn example_is_a_tested_one() {
    let tested = example(include_str!("../../transfer/README.md"));
    assert_eq!(example(include_str!("../../../README.md")), tested);
    assert_eq!(example(include_str!("../../../README.zh-CN.md")), tested);
}
