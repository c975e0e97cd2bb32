//! `karez lab all`: one page and one report that keeps to its schema, and `karez lab compare`.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const KAREZ: &str = env!("CARGO_BIN_EXE_karez");

/// What a telephone is wide.
const NARROW: u32 = 390;

fn lab(arguments: &[&str]) -> Output {
    Command::new(KAREZ).arg("lab").args(arguments).output().unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn schema(name: &str) -> jsonschema::Validator {
    let told = lab(&["schema", name]);
    assert!(told.status.success(), "{told:?}");
    jsonschema::validator_for(&serde_json::from_slice(&told.stdout).unwrap()).unwrap()
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
fn all_experiments_keep_to_their_schemas_and_stand_on_one_page() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let [json, html, csv, markdown] = ["a.json", "a.html", "a.csv", "a.md"].map(path);
    let directory = place.path().join("directory");
    fs::create_dir(&directory).unwrap();
    let (dir, forms) = (directory.to_str().unwrap(), ["--json", &json, "--html", &html]);
    let others = ["--csv", &csv, "--markdown", &markdown];
    let told = lab(&[&["all", "--quick", "--dir", dir][..], &forms, &others].concat());
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
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
    same_report_has_not_changed(&json, place.path());
    expect_readable(Path::new(&html), names.len());
    for text in [&csv, &markdown] {
        assert!(fs::read_to_string(text).unwrap().lines().count() > 100, "{text}");
    }
}

fn name_of(report: &Value) -> &str {
    report["schema"].as_str().unwrap().split(['.', '/']).nth(2).unwrap()
}

/// A schema that lets everything pass would prove nothing.
fn expect_no_more_than_the_schema(reports: &[Value]) {
    for report in reports {
        let mut broken = report.clone();
        broken["unheard of"] = Value::Null;
        assert!(!schema(name_of(report)).is_valid(&broken), "{}", name_of(report));
        broken = report.clone();
        broken["schema"] = "karez.lab.other/1".into();
        assert!(!schema(name_of(report)).is_valid(&broken), "{}", name_of(report));
    }
}

fn same_report_has_not_changed(json: &str, place: &Path) {
    let own = place.join("compare.json");
    let told = lab(&["compare", json, json, "--json", own.to_str().unwrap()]);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
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
    let told = lab(&["compare", json, changed.to_str().unwrap()]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).contains("1 of "), "{told:?}");
}

#[test]
fn what_is_no_report_cannot_be_compared() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (none, other) = (file("none", "no JSON"), file("other", r#"{ "schema": "x/1" }"#));
    for pair in [[&none, &other], [&other, &other], [&other, &"missing".to_owned()]] {
        let told = lab(&["compare", pair[0], pair[1]]);
        assert_eq!(told.status.code(), Some(2), "{told:?}");
        assert!(String::from_utf8_lossy(&told.stderr).starts_with("error:"), "{told:?}");
    }
}

/// On a telephone the page is no wider than the screen: what is wider moves in its own place.
fn expect_readable(page: &Path, sections: usize) {
    if !Command::new("chromium").arg("--version").output().is_ok_and(|told| told.status.success()) {
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
    let told = browser.arg(format!("file://{}", frame.display())).output().unwrap();
    let dom = String::from_utf8_lossy(&told.stdout).into_owned();
    let title = dom.split(['<', '>']).skip_while(|word| *word != "title").nth(1);
    let figures: Vec<u32> =
        title.unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect();
    let &[width, found, drawings, articles, scripts] = &figures[..] else {
        panic!("{dom}{}", String::from_utf8_lossy(&told.stderr));
    };
    assert!(width <= NARROW, "{width} wide");
    assert!(usize::try_from(found).unwrap() >= sections, "{found} sections");
    assert!(drawings >= 10, "{drawings} drawings");
    assert_eq!((articles, scripts), (35, 0));
}
