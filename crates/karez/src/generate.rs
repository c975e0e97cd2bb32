//! Prints man pages and completion scripts, generated from the definition of the command line.

use clap::CommandFactory as _;
use std::io;

use crate::cli::Cli;
use crate::stdout::print;

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "karez", &mut script);
    print(&script)
}

/// Prints the man page of a command, or of karez itself.
pub(crate) fn man(command: Option<&str>) -> io::Result<()> {
    let mut definition = Cli::command();
    definition.build();
    if let Some(found) = command.and_then(|name| definition.find_subcommand(name)) {
        definition = found.clone();
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(definition).render(&mut page)?;
    print(&page)
}
