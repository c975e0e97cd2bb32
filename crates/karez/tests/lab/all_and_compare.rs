//! `karez lab all`: one page, and reports that match their schemas; `karez lab compare`.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const KAREZ: &str = env!("CARGO_BIN_EXE_karez");

/// Width of a phone screen.
const NARROW: u32 = 390;

fn lab(arguments: &[&str]) -> Output {
    Command::new(KAREZ).arg("lab").args(arguments).output().unwrap()
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
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let [json, html, csv, markdown] = ["a.json", "a.html", "a.csv", "a.md"].map(path);
    let directory = place.path().join("directory");
    fs::create_dir(&directory).unwrap();
    let (dir, forms) = (directory.to_str().unwrap(), ["--json", &json, "--html", &html]);
    let others = ["--csv", &csv, "--markdown", &markdown];
    let output = lab(&[&["all", "--quick", "--dir", dir][..], &forms, &others].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "a file was left");

    let report = read(Path::new(&json));
    expect_valid("all", &report);
    let reports = report["reports"].as_array().unwrap();
    let mut names: Vec<_> = reports.iter().map(name_of).collect();
    for (one, name) in reports.iter().zip(&names) {
        expect_valid(name, one);
    }
    names.dedup();
    assert_eq!(names, ["selftest", "claims", "vias", "models", "topologies", "trace"]);
    expect_no_more_than_the_schema(reports);
    expect_no_changes(&json, place.path());
    expect_readable(Path::new(&html), names.len());
    for text in [&csv, &markdown] {
        assert!(fs::read_to_string(text).unwrap().lines().count() > 100, "{text}");
    }
}

fn name_of(report: &Value) -> &str {
    report["schema"].as_str().unwrap().split(['.', '/']).nth(2).unwrap()
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

fn expect_no_changes(json: &str, place: &Path) {
    let own = place.join("compare.json");
    let output = lab(&["compare", json, json, "--json", own.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let compared = read(&own);
    expect_valid("compare", &compared);
    assert_eq!(compared["differs"], false);
    assert!(compared["compared"].as_u64().unwrap() > 100);

    let mut other = read(Path::new(json));
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
fn expect_readable(page: &Path, sections: usize) {
    if !Command::new("chromium")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: no chromium");
        return;
    }
    let frame = page.with_file_name("frame.html");
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
    assert_eq!((articles, scripts), (35, 0));
}
