//! The reason of a lookup: that of the request itself, or of a rule that follows one without a result.

use karez_http::Status;

/// The reason of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    /// The path of the request, or that to which it was rewritten.
    #[default]
    Plain,
    /// The same with `.html`.
    WithExtension,
    /// The same for a path with a slash behind it, which a redirect removes.
    WithoutSlash,
    /// The fallback of a single-page application.
    Spa,
    /// The body of an error.
    ErrorPage(Status),
}
