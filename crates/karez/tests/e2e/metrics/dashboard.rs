//! The dashboard for Grafana in `docs/grafana`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{make_requests, root, scrape, start};
use crate::layouts;

/// Words of PromQL, beside metrics and labels, that the dashboard uses.
const WORDS: [&str; 12] = [
    "sum",
    "rate",
    "by",
    "le",
    "histogram_quantile",
    "clamp_min",
    "time",
    "on",
    "group_left",
    "ignoring",
    "instance",
    "max",
];

/// Adds all expressions in a document.
fn expressions(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                match member {
                    serde_json::Value::String(text) if name == "expr" => found.push(text.clone()),
                    member => expressions(member, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|it| expressions(it, found)),
        _ => {}
    }
}

/// Returns the names in an expression, without values of labels and variables of Grafana.
fn names(expression: &str) -> BTreeSet<&str> {
    let outside = expression.split('"').step_by(2);
    let words = outside
        .flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || "_$".contains(c))));
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())).collect()
}

#[test]
fn every_metric_of_the_dashboard_is_in_a_scrape() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/grafana/karez.json");
    let dashboard: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 15, "{} expressions", found.len());
    let root = root();
    let (server, address) = start(layouts::sample().next().unwrap(), &root);
    make_requests(&server);
    server.wait_until("a request is counted", || scrape(address).has("karez_requests_total"));
    let scrape = scrape(address);
    for expression in &found {
        let (metrics, others): (Vec<_>, Vec<_>) = names(expression)
            .into_iter()
            .partition(|name| name.starts_with("karez_") || name.starts_with("process_"));
        assert!(!metrics.is_empty(), "{expression}");
        for metric in &metrics {
            assert!(scrape.has(metric), "{metric} is not in a scrape: {expression}");
        }
        for label in others.into_iter().filter(|word| !WORDS.contains(word)) {
            let known = |metric: &&str| {
                scrape.samples(metric).all(|sample| sample.labels.contains_key(label))
            };
            assert!(metrics.iter().any(known), "{label} is no label: {expression}");
        }
    }
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(panel["type"] == "row" || panel["targets"].is_array(), "{title}");
    }
}
