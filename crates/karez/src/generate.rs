//! Man pages and completions, made from the definition of the command line.

use clap::CommandFactory as _;
use std::io::{self, Write as _};

use crate::cli::Cli;

/// Prints the completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "karez", &mut script);
    print(&script)
}

/// Prints the page of a command, or of karez itself.
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

/// A reader that closes early, such as `head`, has had enough: that is no error.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
