//! Who may see a path: by address, and by user and password.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::address::{AddressRule, Addresses};
use super::auth::user_file::UserFile;
use super::auth::{Auth, AuthRule};
use crate::site::ResourceRequest;

/// The access rules of a site.
#[derive(Debug, Default)]
pub(crate) struct Access {
    addresses: Addresses,
    auth: Auth,
    index: Vec<u8>,
}

impl Access {
    /// Reads the files that rules name; `None` if every client may see everything. `index`: the name of the
    /// index file.
    ///
    /// # Errors
    /// As [`AuthRule::check`].
    pub(super) fn read(
        auth: &[AuthRule],
        allow: &[AddressRule],
        deny: &[AddressRule],
        index: &[u8],
    ) -> io::Result<Option<Self>> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
        let addresses = Addresses::new(allow, deny).map_err(invalid)?;
        let access = Self { addresses, auth: Auth::read(auth)?, index: index.to_vec() };
        Ok((!access.addresses.is_empty() || !access.auth.is_empty()).then_some(access))
    }

    /// Returns whether a client with this address may see a resource.
    pub(crate) fn permits(&self, resource: &ResourceRequest, client: Option<IpAddr>) -> bool {
        self.addresses.is_empty()
            || self.paths(resource).all(|path| self.addresses.permit(&path, client))
    }

    /// Returns the users that may see a resource; `None` if it needs no password.
    pub(crate) fn users(&self, resource: &ResourceRequest) -> Option<&Arc<UserFile>> {
        if self.auth.is_empty() {
            return None;
        }
        self.paths(resource).find_map(|path| self.auth.users(&path))
    }

    /// Returns the paths by which rules match a resource: of a directory that of its index file, too.
    fn paths<'a>(&'a self, resource: &'a ResourceRequest) -> impl Iterator<Item = Vec<u8>> + 'a {
        let slash: &[u8] = if resource.path.is_empty() { b"" } else { b"/" };
        let directory = resource.directory || resource.path.is_empty();
        let index = directory.then(|| [&resource.path, slash, &self.index[..]].concat());
        let own = if directory { slash } else { b"" };
        index.into_iter().chain([[&resource.path[..], own].concat()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::ListingView;
    use karez_http::Codings;

    #[test]
    fn a_directory_is_matched_with_its_index_file() {
        let deny = ["index.html=all", "/a/=all"].map(|rule| rule.parse().unwrap());
        let access = Access::read(&[], &[], &deny, b"index.html").unwrap().unwrap();
        for (path, directory, permitted) in [
            ("", true, false),
            ("b", true, false),
            ("b", false, true),
            ("b/index.html", false, false),
            ("a", true, false),
            ("a", false, true),
            ("a/c", false, true),
        ] {
            let resource = ResourceRequest {
                path: path.as_bytes().to_vec(),
                directory,
                codings: Codings::default(),
                ranged: false,
                view: ListingView::default(),
            };
            assert_eq!(access.permits(&resource, None), permitted, "{path} {directory}");
            assert!(access.users(&resource).is_none());
        }
        assert!(Access::read(&[], &[], &[], b"").unwrap().is_none());
    }
}
