//! The command line of `karez passwd`.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// The arguments of `karez passwd`.
#[derive(Args, Debug)]
pub(crate) struct PasswdArgs {
    /// File of users to change; it is made if it does not exist. Without it the line is printed
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,

    /// Name of the user
    #[arg(value_parser = user_name)]
    pub(crate) user: String,

    /// Hash by bcrypt instead of argon2id, for a file that Apache or nginx reads, too
    #[arg(long)]
    pub(crate) bcrypt: bool,

    /// Remove the user from FILE
    #[arg(long, requires = "file", conflicts_with = "bcrypt")]
    pub(crate) delete: bool,
}

fn user_name(name: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.starts_with('#') {
        return Err("must not be empty, or begin with #");
    }
    if name.contains(|letter: char| letter == ':' || letter.is_control()) {
        return Err("must not have a colon or control characters");
    }
    if name.len() > 255 {
        return Err("the maximum is 255 bytes");
    }
    Ok(name.to_owned())
}
