//! Links from a book to the lines of the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// A checkout of the repository around a book.
pub(super) struct SourceTree {
    root: PathBuf,
    /// Path from a page to the root.
    up: String,
}

impl SourceTree {
    /// Finds the checkout around the directory of the pages.
    pub(super) fn around(pages: &Path) -> Option<Self> {
        let pages = pages.canonicalize().ok()?;
        let root = pages.ancestors().find(|above| above.join("crates/lab/book").is_dir())?;
        Some(Self::new(root, pages.strip_prefix(root).ok()?))
    }

    /// Creates the tree for pages at a path below its root.
    pub(super) fn new(root: &Path, pages: &Path) -> Self {
        Self { root: root.to_owned(), up: "../".repeat(pages.components().count()) }
    }

    /// Returns the link to the line that defines a symbol; `None` if the file does not define it.
    pub(super) fn link(&self, path: &str, symbol: &str) -> Option<String> {
        let source = fs::read_to_string(self.root.join(path)).ok()?;
        let line = line_of(&source, symbol)?;
        Some(format!("[`{symbol}`]({}{path}#L{line})", self.up))
    }
}

/// Returns the number of the line that defines a symbol, from 1; `None` unless exactly one line before
/// the tests does.
fn line_of(source: &str, symbol: &str) -> Option<usize> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let defines = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        let keywords = ["fn", "struct", "enum", "trait", "const", "static", "type"];
        let is_definition = words.any(|word| keywords.contains(&word));
        is_definition && words.find(|word| *word != "fn") == Some(symbol)
    };
    let mut found = code
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim_start().starts_with("//") && defines(line));
    let (_, number) = found.next()?;
    found.next().is_none().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn symbol_is_found_where_it_is_defined_once() {
        let source = "// fn one\nuse a::two;\npub(crate) const fn one() {\n    one();\n}\n\
                      struct Two;\nfn twice() {}\nfn twice() {}\n#[cfg(test)]\nfn in_test() {}\n";
        assert_eq!(line_of(source, "one"), Some(3));
        assert_eq!(line_of(source, "Two"), Some(6));
        assert_eq!(line_of(source, "twice"), None, "defined twice");
        assert_eq!(line_of(source, "in_test"), None, "only in a test");
        assert_eq!(line_of(source, "two"), None, "only used");
    }
}
