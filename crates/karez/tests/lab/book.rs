//! `karez lab book`: the book from reports, outside of the repository, and its errors.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::karez;
use super::shared::all;

fn book(directory: &Path, report: &Path, more: &[&str]) -> Output {
    let mut command = karez();
    command.args(["lab", "book"]).arg(directory).arg("--report").arg(report).args(more);
    command.output().unwrap()
}

#[test]
fn book_has_the_figures_of_a_run_and_needs_no_repository() {
    let place = tempfile::tempdir().unwrap();
    let report = place.path().join("all.json");
    fs::write(&report, &all().json_text).unwrap();
    let output = book(place.path(), &report, &[]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    for language in ["en", "zh"] {
        let pages = place.path().join(language).join("src");
        assert!(fs::read_to_string(place.path().join(language).join("book.toml")).is_ok());
        let summary = fs::read_to_string(pages.join("SUMMARY.md")).unwrap();
        for link in summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let page = fs::read_to_string(pages.join(link)).unwrap();
            assert!(!page.contains("{{") && !page.contains('⟦'), "{page}");
            assert!(!page.contains("#L"), "a line of a source that is not there: {page}");
        }
        let epoll = fs::read_to_string(pages.join("epoll.md")).unwrap();
        assert!(epoll.contains("ENODEV"), "{epoll}");
        let drawing = fs::read_to_string(pages.join("textbook-sendfile.svg")).unwrap();
        assert!(drawing.starts_with("<svg"), "{drawing}");
    }
}

#[test]
fn one_language_can_be_selected_and_other_files_are_rejected() {
    let place = tempfile::tempdir().unwrap();
    let report = place.path().join("some.json");
    fs::write(&report, r#"{ "machine": { "kernel": "6.1.0" }, "claims": [] }"#).unwrap();
    let output = book(place.path(), &report, &["--lang", "zh"]);
    assert!(output.status.success(), "{output:?}");
    assert!(place.path().join("zh").is_dir() && !place.path().join("en").exists());
    // Every figure that the report lacks is named.
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("not in the reports: table zero-copy"), "{errors}");

    fs::write(&report, "{}").unwrap();
    let output = book(place.path(), &report, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let missing = book(place.path(), &place.path().join("missing.json"), &[]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}
