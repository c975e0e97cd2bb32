//! Clients by address: `allow` and `deny` rules with a glob and a network.
//!
//! Of the networks that match path and client the most specific counts, and of two that are equal the one that
//! denies. A client in none of them is denied if an `allow` rule matches the path, and otherwise allowed. So
//! the order of rules does not matter, and a network with exceptions is two rules.

use std::net::IpAddr;
use std::str::FromStr;

use super::globs::{Globs, PathGlob};
use crate::network::Network;

/// A network for the paths of a glob, such as `/admin/**=192.0.2.0/24`. Without a glob: all paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRule {
    glob: PathGlob,
    network: Network,
}

impl FromStr for AddressRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (glob, network) = text.rsplit_once('=').unwrap_or(("**", text));
        Ok(Self { glob: PathGlob::new(glob)?, network: network.parse()? })
    }
}

/// The address rules of a site.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    globs: Globs,
    /// By the index of the glob: the network, and whether it is allowed.
    networks: Vec<(Network, bool)>,
}

impl Addresses {
    /// # Errors
    /// If there are too many rules.
    pub(super) fn new(allow: &[AddressRule], deny: &[AddressRule]) -> Result<Self, String> {
        let globs = Globs::new(allow.iter().chain(deny).map(|rule| &rule.glob))?;
        let allow = allow.iter().map(|rule| (rule.network, true));
        let deny = deny.iter().map(|rule| (rule.network, false));
        Ok(Self { globs, networks: allow.chain(deny).collect() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Returns whether a client may see a path.
    pub(super) fn permit(&self, path: &[u8], client: Option<IpAddr>) -> bool {
        let (mut best, mut has_allow) = (None, false);
        for (network, allowed) in
            self.globs.matches(path).into_iter().filter_map(|at| self.networks.get(at))
        {
            has_allow |= *allowed;
            // Denial is greater: it wins among equals.
            best = best.max(network.matches(client).map(|specific| (specific, !allowed)));
        }
        best.map_or(!has_allow, |(_, denied)| !denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_network_counts() {
        let rules = |texts: &[&str]| -> Vec<AddressRule> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let allow = rules(&["/a/**=192.0.2.0/24", "/b/**=192.0.2.7", "/c/**=unix", "/e/**=all"]);
        let deny =
            rules(&["/a/**=192.0.2.9", "/b/**=192.0.2.0/24", "/d/**=::/0", "/e/**=10.0.0.0/8"]);
        let addresses = Addresses::new(&allow, &deny).unwrap();
        for (path, client, permitted) in [
            ("a/x", "192.0.2.1", true),
            ("a/x", "192.0.2.9", false),
            ("a/x", "192.0.3.1", false),
            ("a/x", "", false),
            ("b/x", "192.0.2.7", true),
            ("b/x", "192.0.2.8", false),
            // There is an allow rule for the path, and none for the client.
            ("b/x", "198.51.100.1", false),
            ("c/x", "", true),
            ("c/x", "192.0.2.1", false),
            ("d/x", "2001:db8::1", false),
            ("d/x", "192.0.2.1", true),
            ("d/x", "", true),
            ("e/x", "10.1.1.1", false),
            ("e/x", "11.1.1.1", true),
            ("f", "10.1.1.1", true),
            ("", "", true),
        ] {
            let client = (!client.is_empty()).then(|| client.parse().unwrap());
            assert_eq!(addresses.permit(path.as_bytes(), client), permitted, "{path} {client:?}");
        }
        let both = Addresses::new(&rules(&["::1"]), &rules(&["::1"])).unwrap();
        assert!(!both.permit(b"a", Some("::1".parse().unwrap())));
    }

    #[test]
    fn malformed_rules_are_rejected() {
        for rule in ["", "/a/**=", "=::1", "[=::1", "/a=b", "192.0.2.1/24"] {
            assert!(rule.parse::<AddressRule>().is_err(), "{rule}");
        }
    }
}
