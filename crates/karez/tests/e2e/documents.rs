//! Documents that name tests.

use std::fs;
use std::path::Path;

/// Documents whose claims have a test each.
const DOCUMENTS: [&str; 2] = ["FEATURES.md", "RELIABILITY.md"];

/// Returns the names of tests in a document: `module::name` between back quotes.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let test =
        |name: &&str| !name.contains(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c));
    quoted.filter(test).filter_map(|name| name.split_once("::"))
}

#[test]
fn tests_that_documents_name_exist() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in DOCUMENTS {
        let text = fs::read_to_string(crates.join("../../docs").join(document)).unwrap();
        let mut count = 0;
        for (module, name) in named(&text) {
            let file = crates.join("tests/e2e").join(format!("{module}.rs"));
            let source = fs::read_to_string(&file).unwrap_or_default();
            let function = format!("fn {name}() {{");
            assert!(source.contains(&function), "{document}: no test {module}::{name}");
            count += 1;
        }
        assert!(count > 20, "{document}: {count}");
    }
}
