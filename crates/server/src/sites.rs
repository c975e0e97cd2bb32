//! The sites of a server, and the choice of one for each request, by the host that it names.
//!
//! A connection by TLS has named a host in its handshake (SNI). A request on it for a host of another site
//! is misdirected (421, RFC 9110 §15.5.20): the client has not seen that site's certificate.
//!
//! # Limitations
//!
//! A client that named no host in its handshake may ask for any site.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use karez_http::Request;

use crate::host::{self, HostName};
use crate::site::Site;

/// The sites of a server. There is at least the default one.
#[derive(Clone)]
pub(crate) struct Sites {
    all: Vec<Arc<Site>>,
    /// The first name of each, or an empty one.
    names: Vec<Box<str>>,
    /// `None` if there is only the default site.
    hosts: Option<Hosts>,
}

/// The index of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct SiteIndex(usize);

/// Sites by the names of their hosts, in lower case.
#[derive(Clone, Default)]
struct Hosts {
    exact: HashMap<Box<[u8]>, usize>,
    /// By the name behind the first label.
    wildcard: HashMap<Box<[u8]>, usize>,
}

impl Sites {
    /// Returns these sites, each with its names; the first is the default.
    ///
    /// # Errors
    /// `InvalidInput` if there is no site, or a name that two of them have.
    pub(crate) fn new(sites: Vec<(Arc<Site>, Vec<HostName>)>) -> io::Result<Self> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        if sites.is_empty() {
            return Err(invalid("there is no site".to_owned()));
        }
        let (mut hosts, mut all) = (Hosts::default(), Vec::new());
        let mut first_names = Vec::new();
        for (index, (site, names)) in sites.into_iter().enumerate() {
            all.push(site);
            let first = names.first().map(ToString::to_string);
            first_names.push(first.unwrap_or_default().into_boxed_str());
            for name in names {
                let table = if name.is_wildcard() { &mut hosts.wildcard } else { &mut hosts.exact };
                let before = table.insert(name.name().as_bytes().into(), index);
                if before.is_some_and(|before| before != index) {
                    return Err(invalid(format!("two sites have the host {name}")));
                }
            }
        }
        let hosts = (all.len() > 1).then_some(hosts);
        Ok(Self { all, names: first_names, hosts })
    }

    pub(crate) fn get(&self, index: SiteIndex) -> &Arc<Site> {
        // An index comes from this table.
        self.all.get(index.0).unwrap_or(&self.all[0])
    }

    /// Returns the first name of a site; an empty one if it has none.
    pub(crate) fn name(&self, index: SiteIndex) -> &str {
        self.names.get(index.0).map_or("", |name| name)
    }

    /// Closes the files that no response is using: these sites get no more requests.
    pub(crate) fn close_files(&self) {
        self.all.iter().for_each(|site| site.close_files());
    }

    /// Returns the site that a request is for; `None` if it is misdirected. `server_name` is that of the
    /// handshake.
    pub(crate) fn choose(&self, request: &Request, server_name: Option<&str>) -> Option<SiteIndex> {
        let Some(hosts) = &self.hosts else { return Some(SiteIndex(0)) };
        let authority = host::authority(request);
        let site = authority.map_or(SiteIndex(0), |authority| hosts.find(host::host(authority)));
        let agrees = |name: &str| hosts.find(name.as_bytes()) == site;
        server_name.is_none_or(agrees).then_some(site)
    }
}

impl Hosts {
    /// Returns the site of a host; the default for one that no site has.
    fn find(&self, host: &[u8]) -> SiteIndex {
        let find = |host: &[u8]| {
            let parent = || host.splitn(2, |byte| *byte == b'.').nth(1);
            let wildcard = || self.wildcard.get(parent()?);
            self.exact.get(host).or_else(wildcard).copied()
        };
        SiteIndex(host::in_lower_case(host, find).flatten().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_is_preferred() {
        let mut hosts = Hosts::default();
        hosts.exact.insert(b"a.example"[..].into(), 1);
        hosts.wildcard.insert(b"example"[..].into(), 2);
        for (host, expected) in [
            ("a.example", 1),
            ("A.EXAMPLE", 1),
            ("b.example", 2),
            ("b.a.example", 0),
            ("example", 0),
            ("", 0),
            (&"a".repeat(300), 0),
        ] {
            assert_eq!(hosts.find(host.as_bytes()), SiteIndex(expected), "{host}");
        }
    }
}
