//! `karez lab all`: one page, and reports that match their schemas; `karez lab compare`.

use karez_lab::claims::Claim;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::karez;
use super::shared::{all, name_of};

/// Width of a phone screen.
const NARROW: u32 = 390;

fn lab(arguments: &[&str]) -> Output {
    karez().arg("lab").args(arguments).output().unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn schema(name: &str) -> jsonschema::Validator {
    let output = lab(&["schema", name]);
    assert!(output.status.success(), "{output:?}");
    jsonschema::validator_for(&serde_json::from_slice(&output.stdout).unwrap()).unwrap()
}

fn expect_valid(name: &str, report: &Value) {
    let faults: Vec<_> = schema(name)
        .iter_errors(report)
        .take(5)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{name}: {faults:#?}");
}

#[test]
fn all_reports_match_their_schemas_on_one_page() {
    let run = all();
    assert_eq!(run.left, 0, "a file was left");
    expect_valid("all", &run.json);
    let reports = run.json["reports"].as_array().unwrap();
    let mut names: Vec<_> = reports.iter().map(name_of).collect();
    for (one, name) in reports.iter().zip(&names) {
        expect_valid(name, one);
    }
    names.dedup();
    assert_eq!(names, ["selftest", "claims", "vias", "models", "topologies", "trace"]);
    expect_no_more_than_the_schema(reports);
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    expect_no_changes(&run.json_text, place.path());
    expect_page(&run.html);
    expect_readable(&run.html, place.path(), names.len());
    for text in [&run.csv, &run.markdown] {
        assert!(text.lines().count() > 100, "{text}");
    }
    let text = std::str::from_utf8(&run.output.stdout).unwrap();
    expect_chinese(&[text, &run.html, &run.markdown]);
    for english in [&run.json_text, &run.csv] {
        assert!(english.contains("refuted") && !english.contains("不成立"));
    }
}

/// Checks that the answer comes first and the self-test last, and that links have targets.
fn expect_page(html: &str) {
    let after = |mark: &str| -> Vec<&str> {
        html.split(mark).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    };
    let sections = after("<section id=\"");
    assert_eq!(&sections[..4], ["answer", "methods", "models", "topologies"], "{sections:?}");
    assert_eq!(sections.last(), Some(&"selftest"));
    let targets: BTreeSet<_> = after(" id=\"").into_iter().collect();
    for link in after("href=\"#") {
        assert!(targets.contains(link), "{link}");
    }
    assert_eq!(after(" id=\"").len(), targets.len(), "an id is there twice");
    for anchor in ["claim-epoll-mmap", "method-sendfile", "vias-lo-warm", "verdict-refuted"] {
        assert!(targets.contains(anchor), "{anchor}");
    }
    assert!(html.matches(" title=\"").count() > 200, "figures have no tooltips");
    assert!(html.contains("<code>karez lab claims --claim 34</code>"));
}

/// Checks that the texts of a report are in the catalogue: a debug build marks those that are not.
fn expect_chinese(texts: &[&str]) {
    for text in texts {
        assert!(text.contains("不成立") && text.contains("系统调用"), "{text}");
        let missing: Vec<_> =
            text.split('⟦').skip(1).filter_map(|rest| rest.split('⟧').next()).collect();
        assert!(missing.is_empty(), "not in zh.po: {missing:?}");
    }
}

/// Checks that the schemas reject other reports.
fn expect_no_more_than_the_schema(reports: &[Value]) {
    for report in reports {
        let mut broken = report.clone();
        broken["unheard of"] = Value::Null;
        assert!(!schema(name_of(report)).is_valid(&broken), "{}", name_of(report));
        broken = report.clone();
        broken["schema"] = "karez.lab.other/2".into();
        assert!(!schema(name_of(report)).is_valid(&broken), "{}", name_of(report));
    }
}

fn expect_no_changes(report: &str, place: &Path) {
    let (json, own) = (place.join("a.json"), place.join("compare.json"));
    fs::write(&json, report).unwrap();
    let json = json.to_str().unwrap();
    let output = lab(&["compare", json, json, "--json", own.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let compared = read(&own);
    expect_valid("compare", &compared);
    assert_eq!(compared["differs"], false);
    assert!(compared["compared"].as_u64().unwrap() > 100);

    let mut other: Value = serde_json::from_str(report).unwrap();
    let claims = other["reports"].as_array_mut().unwrap();
    let claims = claims.iter_mut().find(|one| name_of(one) == "claims").unwrap();
    claims["claims"][3]["verdict"] = "refuted".into();
    let changed = place.join("changed.json");
    fs::write(&changed, other.to_string()).unwrap();
    let output = lab(&["compare", json, changed.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 of "), "{output:?}");
}

#[test]
fn invalid_reports_are_rejected_by_compare() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (none, other) = (file("none", "no JSON"), file("other", r#"{ "schema": "x/1" }"#));
    for pair in [[&none, &other], [&other, &other], [&other, &"missing".to_owned()]] {
        let output = lab(&["compare", pair[0], pair[1]]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error:"), "{output:?}");
    }
}

/// Checks that the page is not wider than a phone screen: wide elements scroll.
fn expect_readable(html: &str, place: &Path, sections: usize) {
    if !Command::new("chromium")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: no chromium");
        return;
    }
    let (page, frame) = (place.join("a.html"), place.join("frame.html"));
    fs::write(&page, html).unwrap();
    let text = format!(
        "<title>?</title><iframe id=f src={:?} width={NARROW} height=800 style='border:0'></iframe>
        <script>f.onload = () => {{
            const page = f.contentDocument, all = name => page.querySelectorAll(name).length;
            document.title = [page.documentElement.scrollWidth, all('section'), all('svg'),
                all('article'), all('script')].join(' ');
        }}</script>",
        page.file_name().unwrap()
    );
    fs::write(&frame, text).unwrap();
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
    browser.args(["--no-first-run", "--disable-background-networking", "--no-proxy-server"]);
    browser.args(["--disable-component-update", "--disable-sync", "--dump-dom"]);
    browser.args(["--allow-file-access-from-files", "--virtual-time-budget=60000"]);
    browser.arg(format!("--user-data-dir={}", page.with_file_name(".profile").display()));
    let output = browser.arg(format!("file://{}", frame.display())).output().unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let title = dom.split(['<', '>']).skip_while(|word| *word != "title").nth(1);
    let figures: Vec<u32> =
        title.unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect();
    let &[width, found, drawings, articles, scripts] = &figures[..] else {
        panic!("{dom}{}", String::from_utf8_lossy(&output.stderr));
    };
    assert!(width <= NARROW, "{width} wide");
    assert!(usize::try_from(found).unwrap() >= sections, "{found} sections");
    assert!(drawings >= 10, "{drawings} drawings");
    let claims = u32::try_from(Claim::all().len()).unwrap();
    assert_eq!((articles, scripts), (claims, 0));
}
