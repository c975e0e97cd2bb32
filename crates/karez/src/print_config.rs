//! `karez config`: prints the effective configuration, or the schema of the file.

use std::io;

use crate::cli::ConfigArgs;
use crate::configuration::{Configuration, Flags, effective, schema};
use crate::stdout::print;

/// Prints the effective configuration of these flags, or the schema.
pub(crate) fn run(args: &ConfigArgs, flags: &Flags) -> io::Result<()> {
    if args.schema {
        return print(format!("{:#}\n", schema()).as_bytes());
    }
    let configuration = Configuration::load_or_exit(flags);
    print(effective(&configuration).as_bytes())
}
