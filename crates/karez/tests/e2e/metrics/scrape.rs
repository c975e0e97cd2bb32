//! A strict parser of OpenMetrics text.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a scrape.
pub struct Scrape {
    samples: Vec<Sample>,
}

/// A value with its labels.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Scrape {
    /// Parses a scrape. Panics at whatever the format does not allow.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_suffix("# EOF\n").expect("an end");
        let (mut types, mut samples, mut seen) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        let mut current = ("", "");
        for line in text.lines() {
            match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
                ["#", "HELP" | "UNIT", name, text] => assert!(!name.is_empty() && !text.is_empty()),
                ["#", "TYPE", name, kind] => {
                    assert_eq!(types.insert(name, kind), None, "{name} has a type twice");
                    current = (name, kind);
                }
                _ => {
                    let sample = Sample::parse(line);
                    check_name(&sample.name, current);
                    assert!(
                        seen.insert(format!("{} {:?}", sample.name, sample.labels)),
                        "twice: {line}"
                    );
                    samples.push(sample);
                }
            }
        }
        let scrape = Self { samples };
        let histograms = types.iter().filter(|(_, kind)| **kind == "histogram");
        histograms.for_each(|(name, _)| scrape.check_histogram(name));
        scrape
    }

    pub fn samples(&self, name: &str) -> impl Iterator<Item = &Sample> + Clone {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.samples(name).next().is_some()
    }

    /// Returns the sum over all labels.
    pub fn sum(&self, name: &str) -> f64 {
        assert!(self.has(name), "there is no {name}");
        self.samples(name).map(|sample| sample.value).sum()
    }

    fn check_histogram(&self, name: &str) {
        let mut series: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self.samples(&format!("{name}_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").expect("a bound").parse().unwrap();
            series.entry(labels).or_default().push((bound, sample.value));
        }
        assert!(!series.is_empty(), "{name} has no buckets");
        for (labels, buckets) in series {
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}: {buckets:?}");
            let (bound, all) = *buckets.last().unwrap();
            assert_eq!(bound, f64::INFINITY, "{name}");
            let count = format!("{name}_count");
            let count = self.samples(&count).find(|sample| sample.labels == labels).unwrap();
            assert_eq!(count.value, all, "{name}");
            let sum = format!("{name}_sum");
            assert!(self.samples(&sum).any(|sample| sample.labels == labels), "{name}");
        }
    }
}

/// Checks that a sample belongs to the family in front of it.
fn check_name(name: &str, (family, kind): (&str, &str)) {
    let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{name} is no {family}"));
    let fits = match kind {
        "counter" => suffix == "_total",
        "gauge" => suffix.is_empty(),
        "info" => suffix == "_info",
        "histogram" => matches!(suffix, "_bucket" | "_count" | "_sum"),
        _ => false,
    };
    assert!(fits, "{name} does not fit {family}, a {kind}");
}

impl Sample {
    /// Returns the value, which is a whole number.
    pub fn count(&self) -> u64 {
        self.value.to_string().parse().unwrap()
    }

    fn parse(line: &str) -> Self {
        let (start, value) = line.rsplit_once(' ').expect("a value");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let (name, labels) = match start.split_once('{') {
            None => (start, BTreeMap::new()),
            Some((name, labels)) => {
                (name, parse_labels(labels.strip_suffix('}').expect("a brace")))
            }
        };
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(is_word), "{line}");
        assert!(labels.keys().all(|name| name.chars().all(is_word)), "{line}");
        Self { name: name.to_owned(), labels, value }
    }
}

fn parse_labels(mut rest: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once("=\"").expect("a label");
        let end = behind.find('"').expect("a quote");
        // No value of karez has a character that is escaped.
        assert!(!behind[..end].contains('\\'));
        assert_eq!(labels.insert(name.to_owned(), behind[..end].to_owned()), None);
        rest = &behind[end + 1..];
        assert!(rest.is_empty() || rest.starts_with(','));
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    labels
}
