//! The command line: a thin main over the libraries.

use clap::Parser;
use std::process::ExitCode;

mod cli;
mod complain;
mod copied;
mod copy;
mod descriptors;
mod doctor;
mod generate;
mod lab;
mod progress;
mod serve;
mod stop_signals;
mod style;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let outcome = match cli.command {
        cli::Command::Serve(args) => serve::run(&args),
        cli::Command::Doctor(args) => doctor::run(&args),
        cli::Command::Copy(args) => return copy::run(&args),
        cli::Command::Lab(lab) => match lab::run(&lab) {
            Ok(true) => Ok(()),
            // The report has said what was not as it should be.
            Ok(false) => return ExitCode::from(1),
            Err(error) => Err(error),
        },
        cli::Command::Completions { shell } => generate::completions(shell),
        cli::Command::Man { command } => generate::man(command.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain::about(&error);
            ExitCode::from(1)
        }
    }
}
