//! `Server-Timing` strictly as in W3C Server Timing §3.3: metrics with a token as name, and
//! parameters whose values are tokens or quoted strings.

/// One metric.
#[derive(Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    /// `desc`.
    pub description: Option<String>,
    /// `dur`, in milliseconds.
    pub duration: Option<f64>,
}

/// Parses the metrics of a field value.
pub fn parse(value: &str) -> Vec<Metric> {
    let mut rest = value;
    let mut metrics = vec![metric(&mut rest)];
    while !rest.is_empty() {
        expect(&mut rest, ',');
        metrics.push(metric(&mut rest));
    }
    metrics
}

fn metric(rest: &mut &str) -> Metric {
    skip_space(rest);
    let mut metric = Metric { name: token(rest), description: None, duration: None };
    skip_space(rest);
    while rest.starts_with(';') {
        expect(rest, ';');
        skip_space(rest);
        let name = token(rest);
        expect(rest, '=');
        let value = if rest.starts_with('"') { quoted(rest) } else { token(rest) };
        let before = match &name[..] {
            "desc" => metric.description.replace(value).is_some(),
            "dur" => metric.duration.replace(value.parse().expect("a number")).is_some(),
            _ => panic!("unknown parameter {name}"),
        };
        assert!(!before, "{name} stands there twice");
        skip_space(rest);
    }
    metric
}

/// Reads a token (RFC 9110 §5.6.2).
fn token(rest: &mut &str) -> String {
    let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = rest.find(|c| !is_tchar(c)).unwrap_or(rest.len());
    assert!(end > 0, "no token at {rest:?}");
    let (token, behind) = rest.split_at(end);
    *rest = behind;
    token.to_owned()
}

/// Reads a quoted string (RFC 9110 §5.6.4).
fn quoted(rest: &mut &str) -> String {
    expect(rest, '"');
    let end = rest.find(['"', '\\']).expect("the end of a quoted string");
    let (text, behind) = rest.split_at(end);
    let is_qdtext = |c: char| matches!(c, '\t' | ' ' | '!' | '#'..='[' | ']'..='~');
    assert!(text.chars().all(is_qdtext), "{text:?}");
    *rest = behind;
    expect(rest, '"');
    text.to_owned()
}

fn expect(rest: &mut &str, wanted: char) {
    *rest = rest.strip_prefix(wanted).unwrap_or_else(|| panic!("no {wanted} at {rest:?}"));
}

fn skip_space(rest: &mut &str) {
    *rest = rest.trim_start_matches([' ', '\t']);
}

#[test]
fn invalid_metrics_are_rejected() {
    let parsed = parse("a;desc=\"b, c\";dur=1.5 ,\td");
    let [first, second] = &parsed[..] else { panic!("{parsed:?}") };
    assert_eq!((first.description.as_deref(), first.duration), (Some("b, c"), Some(1.5)));
    assert_eq!((&second.name[..], second.duration), ("d", None));
    for wrong in ["", "a b", "a;desc=\"b", "a;desc=b c", "a,", "a;dur=x", "a;desc=1;desc=2"] {
        assert!(std::panic::catch_unwind(|| parse(wrong)).is_err(), "{wrong}");
    }
}
