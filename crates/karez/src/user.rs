//! The user that a server becomes (`--user`).

use karez_sandbox::User;
use std::io;

use crate::cli::ServeArgs;

/// Returns the user to become, if one is named.
///
/// # Errors
/// There is none of this name.
pub(crate) fn user(args: &ServeArgs) -> io::Result<Option<User>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("--user: {error}"));
    args.confinement.user.as_deref().map(User::find).transpose().map_err(named)
}
