//! Clients by their user agent: crawlers that are not wanted.
//!
//! # Limitations
//!
//! A client may send any user agent. Those that obey `robots.txt` need no rule.

use std::str::FromStr;

use globset::{Candidate, Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use karez_http::{Field, Request};

/// A glob on a user agent, such as `*GPTBot*`, in upper or lower case. One without a special character matches a
/// part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRule(Glob);

impl FromStr for AgentRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the glob is empty".to_owned());
        }
        let whole = match text.contains(['*', '?', '[', '{']) {
            true => text.to_owned(),
            false => format!("*{text}*"),
        };
        let mut builder = GlobBuilder::new(&whole);
        let glob = builder.case_insensitive(true).literal_separator(false).build();
        glob.map(Self).map_err(|error| error.kind().to_string())
    }
}

/// The user agents that a site does not serve.
#[derive(Debug, Default)]
pub(crate) struct Agents(GlobSet);

impl Agents {
    /// # Errors
    /// If there are too many rules.
    pub(super) fn new(rules: &[AgentRule]) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for AgentRule(glob) in rules {
            set.add(glob.clone());
        }
        set.build().map(Self).map_err(|error| error.to_string())
    }

    /// Returns whether a request comes from one of them.
    pub(super) fn has(&self, request: &Request) -> bool {
        let matches = |agent| self.0.is_match_candidate(&Candidate::from_bytes(agent));
        !self.0.is_empty() && request.value(Field::UserAgent).is_some_and(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karez_http::Version;

    #[test]
    fn agents_are_matched_in_any_case() {
        let rules = ["GPTBot", "curl/*", "*spider*"].map(|text| text.parse().unwrap());
        let agents = Agents::new(&rules).unwrap();
        for (agent, expected) in [
            ("Mozilla/5.0; compatible; gptbot/1.0; +https://x/bot", true),
            ("curl/8.5", true),
            ("Mozilla/5.0 curl/8.5", false),
            ("Some\\Spider/1", true),
            ("Mozilla/5.0 (X11; Linux) Firefox/1", false),
            ("", false),
        ] {
            let fields = [(&b"user-agent"[..], agent.as_bytes())];
            let request = Request::assemble(b"GET", b"/", Version::Http11, fields).unwrap();
            assert_eq!(agents.has(&request), expected, "{agent}");
        }
        let request = Request::assemble(b"GET", b"/", Version::Http11, []).unwrap();
        assert!(!agents.has(&request) && !Agents::default().has(&request));
        assert!("".parse::<AgentRule>().is_err() && "[".parse::<AgentRule>().is_err());
    }
}
