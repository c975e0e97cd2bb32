//! URLs without `.html`: `/about` is answered by `about.html`. The URL with the extension and that of an
//! index file are redirected (308), so that each page has one URL; so is `/about/`, if there is `about.html`
//! and no directory.
//!
//! # Limitations
//!
//! Where there are both, the directory `about` wins over `about.html`.

use karez_http::{Request, target};

use super::stage::Stage;
use crate::site::ResourceRequest;

const EXTENSION: &[u8] = b".html";

/// Returns the relative reference to the URL without the extension or the index file, if a request has one.
pub(super) fn without_extension(
    request: &Request,
    resource: &ResourceRequest,
    index: &str,
) -> Option<Vec<u8>> {
    let stem = resource.path.strip_suffix(EXTENSION).filter(|_| !resource.directory)?;
    let name = resource.path.rsplit(|byte| *byte == b'/').next()?;
    let stem = stem.rsplit(|byte| *byte == b'/').next()?;
    let mut location = Vec::new();
    match name == index.as_bytes() {
        true => location.extend_from_slice(b"./"),
        false if stem.is_empty() => return None,
        false => target::encode_path(stem, &mut location),
    }
    push_query(request, &mut location);
    Some(location)
}

/// Returns the resource with the extension, for one that does not exist.
pub(super) fn with_extension(resource: &ResourceRequest) -> Option<(Stage, ResourceRequest)> {
    if resource.path.is_empty() || resource.path.ends_with(EXTENSION) {
        return None;
    }
    let path = [&resource.path, EXTENSION].concat();
    let stage = if resource.directory { Stage::WithoutSlash } else { Stage::WithExtension };
    Some((stage, ResourceRequest { path, directory: false, ..resource.clone() }))
}

/// Returns the relative reference to a URL without its slash: of `/a/about/` it is `../about`.
pub(crate) fn without_slash(request: &Request) -> Vec<u8> {
    let path = target::parse(request.target()).unwrap_or_default().path;
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let mut location = b"../".to_vec();
    target::encode_path(name, &mut location);
    push_query(request, &mut location);
    location
}

fn push_query(request: &Request, location: &mut Vec<u8>) {
    let query = target::parse(request.target()).ok().and_then(|target| target.query);
    if let Some(query) = query.and_then(|query| request.target().get(query)) {
        location.push(b'?');
        location.extend_from_slice(query);
    }
}
