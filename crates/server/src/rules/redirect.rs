//! Redirects and rewrites by a pattern on the path: `/old/** /new/$1 301`.
//!
//! A pattern is a path with `*` for a name or a part of one, `**` for any number of names, and `?` for a
//! character; each is captured, and the target names the captures in their order: `$1`, `$2` … The path is
//! decoded and starts with a slash; it ends with one if the request did. A redirect keeps the query unless
//! its target has one. The first pattern that matches counts; a rewrite is made once, behind the redirects.
//!
//! # Limitations
//!
//! At most nine captures.

use std::str::FromStr;

use karez_http::{Request, Status, target};
use regex::bytes::{Captures, Regex, RegexSet};

use crate::site::ResourceRequest;

/// A redirect, such as `/old/** /new/$1 301`. Without a status it is 302.
#[derive(Clone, Debug)]
pub struct RedirectRule {
    pattern: Pattern,
    status: Status,
}

/// A rewrite of the path, such as `/v1/** /api/$1`.
#[derive(Clone, Debug)]
pub struct RewriteRule {
    pattern: Pattern,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    regex: Regex,
    target: String,
}

impl FromStr for RedirectRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let (Some(pattern), Some(target), status, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("expected PATTERN TARGET [STATUS]".to_owned());
        };
        let status = match status {
            None => Status::Found,
            Some(status) => {
                let known = STATUSES.iter().find(|known| known.code().to_string() == status);
                *known.ok_or("the status of a redirect is 301, 302, 307 or 308")?
            }
        };
        let is_url = target.starts_with("https://") || target.starts_with("http://");
        if !is_url && !target.starts_with('/') {
            return Err("the target begins with / or with http:// or https://".to_owned());
        }
        let is_authority_fixed =
            !is_url || target.split('/').nth(2).is_some_and(|it| !it.contains('$'));
        if !is_authority_fixed {
            return Err("the host of a target cannot be a capture".to_owned());
        }
        Ok(Self { pattern: Pattern::new(pattern, target)?, status })
    }
}

impl FromStr for RewriteRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let (Some(pattern), Some(target), None) = (words.next(), words.next(), words.next()) else {
            return Err("expected PATTERN TARGET".to_owned());
        };
        if !target.starts_with('/') || target.contains('?') {
            return Err("the target is a path that begins with /, without a query".to_owned());
        }
        Ok(Self { pattern: Pattern::new(pattern, target)? })
    }
}

impl Pattern {
    fn new(text: &str, target: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("the pattern begins with /".to_owned());
        }
        if !target.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
            return Err("the target has to be ASCII, with others percent-encoded".to_owned());
        }
        let (expression, captures) = expression(text);
        let mut rest = target;
        while let Some((_, behind)) = rest.split_once('$') {
            let digit = behind.chars().next().and_then(|digit| digit.to_digit(10));
            if !digit.is_some_and(|digit| (1..=captures).contains(&digit)) {
                return Err(format!(
                    "the pattern has {captures} captures: $1 to $9 are their names"
                ));
            }
            rest = behind;
        }
        let regex = Regex::new(&expression).map_err(|error| error.to_string())?;
        Ok(Self { text: text.to_owned(), regex, target: target.to_owned() })
    }

    /// Writes the target. `push` appends a captured part of the path.
    fn expand(&self, captures: &Captures<'_>, push: impl Fn(&[u8], &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        let mut parts = self.target.split('$');
        out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            let (digit, text) = part.split_at(1.min(part.len()));
            let capture = digit.parse().ok().and_then(|number| captures.get(number));
            push(capture.map_or(&[][..], |capture| capture.as_bytes()), &mut out);
            out.extend_from_slice(text.as_bytes());
        }
        if self.target.starts_with('/') && !self.target.starts_with("//") {
            // A capture must not make a host of a path.
            let slashes = out.iter().take_while(|byte| **byte == b'/').count();
            out.drain(..slashes.saturating_sub(1));
        }
        out
    }
}

/// Returns the regular expression of a pattern, and its number of captures.
fn expression(pattern: &str) -> (String, u32) {
    let (mut expression, mut captures) = (String::from("(?s-u)^"), 0);
    let mut rest = pattern.chars().peekable();
    while let Some(letter) = rest.next() {
        let capture = match letter {
            '*' if rest.next_if_eq(&'*').is_some() => "(.*)",
            '*' => "([^/]*)",
            '?' => "([^/])",
            letter => {
                expression.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
                continue;
            }
        };
        expression.push_str(capture);
        captures += 1;
    }
    expression.push('$');
    (expression, captures)
}

/// The redirects and rewrites of a site.
#[derive(Debug, Default)]
pub(crate) struct Redirects {
    /// Those of the redirects, and then those of the rewrites.
    patterns: Option<RegexSet>,
    redirects: Vec<RedirectRule>,
    rewrites: Vec<RewriteRule>,
}

impl Redirects {
    /// # Errors
    /// If the patterns are too large together.
    pub(super) fn new(
        redirects: &[RedirectRule],
        rewrites: &[RewriteRule],
    ) -> Result<Self, String> {
        let patterns = redirects.iter().map(|rule| &rule.pattern);
        let patterns = patterns.chain(rewrites.iter().map(|rule| &rule.pattern));
        let patterns: Vec<_> = patterns.map(|pattern| pattern.regex.as_str()).collect();
        let set = || RegexSet::new(&patterns).map_err(|error| error.to_string());
        let patterns = if patterns.is_empty() { None } else { Some(set()?) };
        Ok(Self { patterns, redirects: redirects.to_vec(), rewrites: rewrites.to_vec() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_none()
    }

    /// Returns whether a redirect or a rewrite matches a resource.
    pub(super) fn has(&self, resource: &ResourceRequest) -> bool {
        self.patterns.as_ref().is_some_and(|patterns| patterns.is_match(&path_of(resource)))
    }

    /// Returns the status and location of a redirect.
    pub(super) fn redirect(
        &self,
        request: &Request,
        resource: &ResourceRequest,
    ) -> Option<(Status, Vec<u8>)> {
        let path = path_of(resource);
        let (rule, captures) = self.first(&path, &self.redirects, 0, |rule| &rule.pattern)?;
        let mut location = rule.pattern.expand(&captures, target::encode_path);
        let query = target::parse(request.target()).ok().and_then(|target| target.query);
        if let Some(query) = query.and_then(|query| request.target().get(query))
            && !rule.pattern.target.contains('?')
        {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        Some((rule.status, location))
    }

    /// Returns the resource with its path rewritten.
    pub(super) fn rewrite(&self, resource: ResourceRequest) -> ResourceRequest {
        let path = path_of(&resource);
        let offset = self.redirects.len();
        let found = self.first(&path, &self.rewrites, offset, |rule| &rule.pattern);
        let Some((rule, captures)) = found else { return resource };
        let text = rule.pattern.expand(&captures, target::encode_path);
        match target::parse(&text) {
            Ok(target) => {
                ResourceRequest { path: target.path, directory: target.directory, ..resource }
            }
            // A capture made a name of it that no path has.
            Err(_) => resource,
        }
    }

    fn first<'a, 'p, R>(
        &'a self,
        path: &'p [u8],
        rules: &'a [R],
        offset: usize,
        pattern: impl Fn(&R) -> &Pattern,
    ) -> Option<(&'a R, Captures<'p>)> {
        let matches = self.patterns.as_ref()?.matches(path);
        let mut indexes = matches.iter().filter_map(|index| index.checked_sub(offset));
        let rule = rules.get(indexes.next()?)?;
        Some((rule, pattern(rule).regex.captures(path)?))
    }
}

/// Returns the path as patterns match it.
fn path_of(resource: &ResourceRequest) -> Vec<u8> {
    let slash: &[u8] = if resource.directory && !resource.path.is_empty() { b"/" } else { b"" };
    [b"/", &resource.path[..], slash].concat()
}

/// Returns the redirects that lead to themselves, directly or over others: the path that each has for its
/// pattern with a name in place of each capture is followed.
pub(super) fn loops(redirects: &[RedirectRule], rewrites: &[RewriteRule]) -> Vec<String> {
    let Ok(set) = Redirects::new(redirects, rewrites) else { return Vec::new() };
    let mut faults = Vec::new();
    for rule in redirects {
        let mut text = rule.pattern.text.replace("**", "*").replace(['*', '?'], "x");
        let mut way = Vec::new();
        while let Some(next) = set.next_path(&text) {
            way.push(std::mem::replace(&mut text, next));
            if way.len() == STEPS || way.contains(&text) {
                let way = way.join(" → ");
                faults
                    .push(format!("the redirect {} never ends: {way} → {text}", rule.pattern.text));
                break;
            }
        }
    }
    faults
}

impl Redirects {
    /// Returns the path to which a path is redirected.
    fn next_path(&self, path: &str) -> Option<String> {
        let path = path.as_bytes();
        let (rule, captures) = self.first(path, &self.redirects, 0, |rule| &rule.pattern)?;
        let location = rule.pattern.expand(&captures, |part, out| out.extend_from_slice(part));
        let location = String::from_utf8(location).ok()?;
        let path = location.split(['?', '#']).next().unwrap_or_default();
        path.starts_with('/').then(|| path.to_owned())
    }
}

const STATUSES: &[Status] = &[
    Status::MovedPermanently,
    Status::Found,
    Status::TemporaryRedirect,
    Status::PermanentRedirect,
];

/// The number of redirects that browsers follow.
const STEPS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::ListingView;
    use karez_http::{Codings, Version};

    fn resource(request: &Request) -> ResourceRequest {
        let target = target::parse(request.target()).unwrap();
        let (path, directory) = (target.path, target.directory);
        ResourceRequest {
            path,
            directory,
            codings: Codings::default(),
            ranged: false,
            view: ListingView::default(),
        }
    }

    fn request(target: &str) -> Request {
        Request::assemble(b"GET", target.as_bytes(), Version::Http11, []).unwrap()
    }

    #[test]
    fn the_first_redirect_counts() {
        let rules = [
            "/old /new 301",
            "/old/** /new/$1",
            "/blog/*/*/** https://blog.example/$2-$1/$3 308",
            "/q /r?s=1",
            "/o**x /$1 307",
            "/ü/* /u/$1",
        ];
        let rules = rules.map(|rule| rule.parse().unwrap());
        let set = Redirects::new(&rules, &[]).unwrap();
        for (target, expected) in [
            ("/old", Some("301 /new")),
            ("/old?a=b", Some("301 /new?a=b")),
            ("/old/", Some("302 /new/")),
            ("/old/a%20b/c/", Some("302 /new/a%20b/c/")),
            ("/old/%e4%bd%a0", Some("302 /new/%E4%BD%A0")),
            ("/blog/2024/05/a/b", Some("308 https://blog.example/05-2024/a/b")),
            ("/blog/2024", None),
            ("/q?x", Some("302 /r?s=1")),
            ("/o/evil.examplex", Some("307 /evil.example")),
            ("/%c3%bc/a", Some("302 /u/a")),
            ("/new", None),
            ("/", None),
        ] {
            let request = request(target);
            let found = set.redirect(&request, &resource(&request));
            let found = found.map(|(status, location)| {
                format!("{} {}", status.code(), String::from_utf8(location).unwrap())
            });
            assert_eq!(found.as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn rewrites_change_the_path() {
        let rules = ["/v1/** /api/$1", "/p/*/ /pages/$1.html", "/d** /x/$1/y"];
        let set = Redirects::new(&[], &rules.map(|rule| rule.parse().unwrap())).unwrap();
        for (target, expected, directory) in [
            ("/v1/a/b", "api/a/b", false),
            ("/v1/", "api", true),
            ("/p/one/", "pages/one.html", false),
            ("/p/one", "p/one", false),
            // Neither of them leaves the root.
            ("/d.", "x/y", false),
            ("/d..", "y", false),
            ("/other", "other", false),
        ] {
            let found = set.rewrite(resource(&request(target)));
            let found = (String::from_utf8(found.path).unwrap(), found.directory);
            assert_eq!(found, (expected.to_owned(), directory), "{target}");
        }
    }

    #[test]
    fn loops_are_found() {
        let faults = |rules: &[&str]| {
            let rules: Vec<_> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
            loops(&rules, &[])
        };
        assert_eq!(faults(&["/a /b", "/b /c", "/x/** /y/$1"]), [""; 0]);
        assert_eq!(faults(&["/a /a"]), ["the redirect /a never ends: /a → /a"]);
        assert_eq!(faults(&["/a /b", "/b /a"]).len(), 2);
        assert_eq!(faults(&["/** /x/$1"]).len(), 1);
        assert_eq!(faults(&["/a/* /a/$1/b"]), [""; 0]);
        assert_eq!(faults(&["/a https://a.example/a"]), [""; 0]);
    }

    #[test]
    fn malformed_rules_are_rejected() {
        for rule in [
            "/a",
            "a /b",
            "/a b",
            "/a /b 303",
            "/a /b 301 x",
            "/a /$1",
            "/* /$2",
            "/* /$",
            "/** https://$1/",
            "/a /ü",
            "/a javascript:x",
        ] {
            assert!(rule.parse::<RedirectRule>().is_err(), "{rule}");
        }
        for rule in ["/a b", "/a /b?c", "/a /b 301", "/a https://b/"] {
            assert!(rule.parse::<RewriteRule>().is_err(), "{rule}");
        }
    }
}
