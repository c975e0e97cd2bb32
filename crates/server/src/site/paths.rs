//! Paths of requests, as bytes.

/// Appends a name to the path of a directory.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// Returns whether a name of the path begins with a dot, other than `.well-known` at the top: there
/// clients look for information about the whole site (RFC 8615 §3).
pub(super) fn has_hidden_segment(path: &[u8]) -> bool {
    let path = match path.strip_prefix(WELL_KNOWN) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        _ => path,
    };
    path.split(|&byte| byte == b'/').any(|segment| segment.starts_with(b"."))
}

const WELL_KNOWN: &[u8] = b".well-known";
