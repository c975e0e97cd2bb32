use super::*;
use crate::claims::Claim;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// How far a committed link may be from its line: less than a screen. The name in it has to be exact.
const DRIFT: usize = 40;

/// Numbers that the texts may contain: sizes of the exercises, constants of interfaces, and versions
/// are in code or have a point. Measured numbers are markers.
const CONSTANTS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "64", "1,024", "1024", "2006"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the stored reports: that of the machine first; `None` outside of the repository.
fn stored() -> Option<Vec<Value>> {
    let results = repository().join("bench/results");
    let mut names: Vec<_> = fs::read_dir(&results)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("lab-claims-linux-"))
        .collect();
    names.sort_unstable();
    names.splice(0..0, ["lab-linux-6.18.json", "lab-layouts-linux-6.18.json"].map(str::to_owned));
    let read = |name: &String| {
        let text = fs::read_to_string(results.join(name)).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    Some(names.iter().map(read).collect())
}

fn book_of(reports: &[Value], language: Language, sources: Option<&SourceTree>) -> Book {
    in_language(language, || Book::of(&Reports::of(reports).unwrap(), sources))
}

/// Splits a page at the numbers of lines in its links.
fn lines_of_links(page: &str) -> (String, Vec<usize>) {
    let mut parts = page.split("#L");
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    for part in parts {
        let digits = part.chars().take_while(char::is_ascii_digit).count();
        lines.push(part[..digits].parse().unwrap());
        text += &part[digits..];
    }
    (text, lines)
}

#[test]
fn committed_book_has_the_figures_of_the_stored_reports() {
    let Some(reports) = stored() else {
        println!("skipped: not in the repository");
        return;
    };
    let update = "to write it again: .ci/book --update";
    for &language in Language::ALL {
        let below = Path::new("docs/book").join(language.name());
        let sources = SourceTree::new(&repository(), &below.join("src"));
        let book = book_of(&reports, language, Some(&sources));
        assert!(book.missing.is_empty(), "not in the reports or sources: {:?}", book.missing);
        for (name, contents) in &book.files {
            let path = below.join(name);
            let committed = fs::read_to_string(repository().join(&path)).unwrap_or_default();
            let (committed, old_lines) = lines_of_links(&committed);
            let (made, lines) = lines_of_links(contents);
            assert!(committed == made, "{} is another one; {update}", path.display());
            for (old, line) in old_lines.iter().zip(&lines) {
                assert!(
                    old.abs_diff(*line) <= DRIFT,
                    "{}: line {old} is now {line}; {update}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn both_languages_have_the_same_markers_in_the_same_order() {
    for chapter in &CHAPTERS {
        let markers = |template: &'static str| -> Vec<&str> {
            template.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()).collect()
        };
        assert_eq!(markers(chapter.english), markers(chapter.chinese), "{}", chapter.file);
    }
}

/// Returns the text without markers, code, links and comments.
fn prose(template: &str) -> String {
    let mut text = template.to_owned();
    for (open, close) in [("```", "```"), ("{{", "}}"), ("`", "`"), ("](", ")")] {
        let mut kept = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(open) {
            kept += before;
            kept.push(' ');
            rest = after.split_once(close).map_or("", |(_, behind)| behind);
        }
        text = kept + rest;
    }
    text
}

#[test]
fn numbers_in_the_texts_are_markers_or_constants() {
    for chapter in &CHAPTERS {
        for template in [chapter.english, chapter.chinese] {
            let text = prose(template);
            let is_part = |c: char| !c.is_ascii_alphanumeric() && !"(),.-".contains(c);
            for word in text.split(is_part) {
                let word = word.trim_matches(|c: char| "(),.-".contains(c));
                let is_plain = word.chars().all(|c| c.is_ascii_digit() || c == ',');
                if is_plain && word.chars().any(|c| c.is_ascii_digit()) {
                    assert!(CONSTANTS.contains(&word), "{}: {word}", chapter.file);
                }
            }
        }
    }
}

#[test]
fn every_exercise_is_in_the_book_once() {
    let all: String = CHAPTERS.iter().map(|chapter| chapter.english).collect();
    for number in 1..=crate::exercise::EXERCISES.len() {
        assert_eq!(all.matches(&format!("{{{{exercise {number}}}}}")).count(), 1, "{number}");
    }
}

#[test]
fn every_claim_is_in_the_book_once() {
    let all: String = CHAPTERS.iter().map(|chapter| chapter.english).collect();
    for claim in Claim::all() {
        let marker = format!("{{{{claim {}}}}}", claim.number);
        assert_eq!(all.matches(&marker).count(), 1, "{marker}");
    }
}

#[test]
fn links_between_pages_exist() {
    let report = serde_json::json!({ "machine": { "kernel": "6.1.0" }, "claims": [] });
    for &language in Language::ALL {
        let book = book_of(std::slice::from_ref(&report), language, None);
        let names: BTreeSet<_> = book.files.iter().map(|(name, _)| name.as_str()).collect();
        for (name, page) in &book.files {
            for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let is_outside = link.starts_with("https://");
                assert!(
                    is_outside || names.contains(format!("src/{link}").as_str()),
                    "{name}: {link}"
                );
            }
        }
    }
}

#[test]
fn book_of_a_report_without_figures_has_dashes_in_their_place() {
    let claims = serde_json::json!([{
        "number": 11, "claim": "c", "verdict": "refuted", "details": null, "reason": "r",
        "evidence": { "mmap of an epoll": "ENODEV" },
    }]);
    let report = serde_json::json!({ "machine": { "kernel": "6.1.0" }, "claims": claims });
    let book = book_of(std::slice::from_ref(&report), Language::English, None);
    let all: String = book.files.iter().map(|(_, contents)| contents.as_str()).collect();
    assert!(all.contains("**11. c**") && all.contains("ENODEV"));
    assert!(!all.contains("{{"));
    assert!(book.missing.contains(&"table zero-copy".to_owned()), "{:?}", book.missing);
    assert!(Reports::of(&[serde_json::json!({})]).is_err());
}
