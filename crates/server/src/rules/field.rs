//! Response fields by path: set, added or removed. Those of a file are encoded once, when it is opened.
//!
//! `GLOB: NAME: VALUE` sets a field, `GLOB: +NAME: VALUE` adds one more, and `GLOB: NAME:` removes it. A
//! rule holds for every status, except that `Cache-Control` and `Expires` hold for success alone: an error is
//! not to be kept for a year because the file would be. `GLOB STATUS: …` says it: `ok` (2xx and 3xx), `error`
//! (4xx and 5xx), `all`, or the number of an error.
//!
//! # Limitations
//!
//! Fields that frame the message, or that conditional requests and ranges depend on, cannot be changed.

use std::str::FromStr;
use std::sync::Arc;

use karez_http::{Prepared, Status};

use super::globs::{Globs, PathGlob};

/// A rule for a response field, such as `*.html: X-Frame-Options: DENY`.
///
/// ```
/// let rule: karez_server::FieldRule = "/assets/** ok: Cache-Control: max-age=60".parse()?;
/// assert!("**: Content-Length: 5".parse::<karez_server::FieldRule>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRule {
    glob: PathGlob,
    statuses: Statuses,
    change: Change,
    name: String,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Set,
    Add,
    Remove,
}

/// The statuses for which a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statuses {
    All,
    /// 2xx and 3xx.
    Ok,
    /// 4xx and 5xx.
    Error,
    Only(Status),
}

impl Statuses {
    fn contain(self, status: Status) -> bool {
        match self {
            Self::All => true,
            Self::Ok => status.code() < 400,
            Self::Error => status.code() >= 400,
            Self::Only(only) => status == only,
        }
    }
}

impl FromStr for FieldRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "expected GLOB: NAME: VALUE";
        let (pattern, field) = text.split_once(": ").ok_or(form)?;
        let (name, value) = field.split_once(':').ok_or(form)?;
        let (glob, statuses) = match pattern.rsplit_once(' ') {
            Some((glob, statuses)) => (glob, Some(self::statuses(statuses)?)),
            None => (pattern, None),
        };
        let (name, value) = (name.trim(), value.trim());
        let (name, change) = match name.strip_prefix('+') {
            Some(name) => (name, Change::Add),
            None if value.is_empty() => (name, Change::Remove),
            None => (name, Change::Set),
        };
        Self::new(glob, change, name, value, statuses)
    }
}

impl FieldRule {
    /// Returns a rule that sets a field.
    pub(super) fn set(glob: &str, name: &str, value: &str) -> Result<Self, String> {
        Self::new(glob, Change::Set, name, value, None)
    }

    /// Returns a rule that adds a field.
    pub(super) fn add(glob: &str, name: &str, value: &str) -> Result<Self, String> {
        Self::new(glob, Change::Add, name, value, None)
    }

    fn new(
        glob: &str,
        change: Change,
        name: &str,
        value: &str,
        statuses: Option<Statuses>,
    ) -> Result<Self, String> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!("\"{name}\" is no name of a field"));
        }
        if value.bytes().any(|byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
            return Err("a control character in the value".to_owned());
        }
        let is = |known: &&str| known.eq_ignore_ascii_case(name);
        if FIXED.iter().any(is) {
            return Err(format!("{name} cannot be changed: the server determines it"));
        }
        if change != Change::Add && is(&"Vary") {
            return Err("Vary can only be added to: +Vary".to_owned());
        }
        let of_success = ["Cache-Control", "Expires"].iter().any(is);
        let default = if of_success { Statuses::Ok } else { Statuses::All };
        let (glob, statuses) = (PathGlob::new(glob)?, statuses.unwrap_or(default));
        Ok(Self { glob, statuses, change, name: name.to_owned(), value: value.to_owned() })
    }
}

fn statuses(text: &str) -> Result<Statuses, String> {
    let only = || {
        let code = text.parse().ok().filter(|code| *code >= 400)?;
        Status::from_code(code).map(Statuses::Only)
    };
    match text {
        "all" => Ok(Statuses::All),
        "ok" => Ok(Statuses::Ok),
        "error" => Ok(Statuses::Error),
        _ => only().ok_or_else(|| {
            format!("\"{text}\" is no status: ok, error, all, or an error that the server sends, such as 404")
        }),
    }
}

/// The fields that rules give to one response.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleFields {
    /// Encoded; `None` if there are none.
    pub(crate) block: Option<Arc<Prepared>>,
    /// Names and values.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) hidden: HiddenFields,
}

/// The fields of the server that rules have removed or replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HiddenFields {
    pub(crate) server: bool,
    pub(crate) no_sniff: bool,
    pub(crate) cache_control: bool,
}

impl HiddenFields {
    fn hide(&mut self, name: &str) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        self.server |= is("Server");
        self.no_sniff |= is("X-Content-Type-Options");
        self.cache_control |= is("Cache-Control");
    }
}

/// All field rules of a site.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    globs: Globs,
    rules: Vec<FieldRule>,
}

impl Fields {
    /// # Errors
    /// If there are too many rules.
    pub(super) fn new(rules: &[FieldRule]) -> Result<Self, String> {
        let globs = Globs::new(rules.iter().map(|rule| &rule.glob))?;
        Ok(Self { globs, rules: rules.to_vec() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the fields of a response for this path; `None` if no rule matches.
    pub(super) fn of(&self, path: &[u8], status: Status) -> Option<RuleFields> {
        if self.globs.is_empty() {
            return None;
        }
        let (mut result, mut any) = (RuleFields::default(), false);
        for rule in self.globs.matches(path).into_iter().filter_map(|at| self.rules.get(at)) {
            if !rule.statuses.contain(status) {
                continue;
            }
            any = true;
            if rule.change != Change::Add {
                result.fields.retain(|(name, _)| !name.eq_ignore_ascii_case(&rule.name));
                result.hidden.hide(&rule.name);
            }
            if rule.change != Change::Remove {
                result.fields.push((rule.name.clone(), rule.value.clone()));
            }
        }
        if !result.fields.is_empty() {
            result.block = Some(Arc::new(Prepared::of_fields(result.pairs())));
        }
        any.then_some(result)
    }
}

impl RuleFields {
    /// Returns the names and values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }
}

/// Fields that frame a message or a connection, or by which caches and ranges work.
const FIXED: &[&str] = &[
    "Accept-Ranges",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Date",
    "ETag",
    "HTTP2-Settings",
    "Keep-Alive",
    "Last-Modified",
    "Location",
    "Proxy-Connection",
    "Server-Timing",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "WWW-Authenticate",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(rules: &[&str], path: &str, status: Status) -> Vec<String> {
        let rules: Vec<FieldRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let found = Fields::new(&rules).unwrap().of(path.as_bytes(), status).unwrap_or_default();
        found.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn later_rules_replace_add_and_remove() {
        let rules = ["**: X: 1", "*.html: x: 2", "/a/**: +X: 3", "/b/**: X:", "*.css: Y: a: b"];
        assert_eq!(fields(&rules, "c", Status::Ok), ["X: 1"]);
        assert_eq!(fields(&rules, "c.html", Status::NotModified), ["x: 2"]);
        assert_eq!(fields(&rules, "a/c.html", Status::NotFound), ["x: 2", "X: 3"]);
        assert_eq!(fields(&rules, "b/c.html", Status::Ok), [""; 0]);
        assert_eq!(fields(&rules, "c.css", Status::Ok), ["X: 1", "Y: a: b"]);
    }

    #[test]
    fn statuses_are_as_told() {
        let rules = [
            "**: Cache-Control: max-age=9",
            "** 404: Cache-Control: no-store",
            "** error: E: 1",
            "** ok: O: 1",
            "** all: Expires: 0",
        ];
        let ok = ["Cache-Control: max-age=9", "O: 1", "Expires: 0"];
        assert_eq!(fields(&rules, "a", Status::Ok), ok);
        assert_eq!(fields(&rules, "a", Status::PermanentRedirect), ok);
        let missing = ["Cache-Control: no-store", "E: 1", "Expires: 0"];
        assert_eq!(fields(&rules, "a", Status::NotFound), missing);
        assert_eq!(fields(&rules, "a", Status::Forbidden), ["E: 1", "Expires: 0"]);
    }

    #[test]
    fn malformed_rules_are_rejected() {
        for rule in [
            "X: 1",
            "**: X",
            ": X: 1",
            "**: : 1",
            "**: X Y: 1",
            "**: X: \u{1}",
            "**: X: a\r\nY: b",
            "[: X: 1",
            "** 99: X: 1",
            "** 200: X: 1",
            "**: Vary: Origin",
            "**: Content-Length: 1",
            "**: transfer-encoding: chunked",
            "**: Connection:",
            "**: +ETag: \"x\"",
        ] {
            assert!(rule.parse::<FieldRule>().is_err(), "{rule}");
        }
        "**: +Vary: Origin".parse::<FieldRule>().unwrap();
    }
}
