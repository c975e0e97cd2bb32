//! Isolation of pages from other origins, which `SharedArrayBuffer` and precise timers need:
//! Cross-Origin-Opener-Policy, -Embedder-Policy and -Resource-Policy (HTML, Fetch).

use super::field::FieldRule;

/// Returns the rules. `shared`: other origins may read the files (CORS).
pub(super) fn fields(shared: bool) -> impl Iterator<Item = FieldRule> {
    let resources = if shared { "cross-origin" } else { "same-origin" };
    let fields = [
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Embedder-Policy", "require-corp"),
        ("Cross-Origin-Resource-Policy", resources),
    ];
    fields.into_iter().filter_map(|(name, value)| FieldRule::set("**", name, value).ok())
}
