//! The command line of karez: parses the arguments and calls the libraries.

use clap::{CommandFactory as _, FromArgMatches as _};
use std::process::ExitCode;

use configuration::Flags;

#[cfg(feature = "acme")]
mod acme;
mod activation;
mod check;
mod cli;
mod configuration;
mod copy;
mod copy_report;
#[cfg(feature = "tls")]
mod core_dumps;
mod doctor;
#[cfg(feature = "exploit-tests")]
mod exploits;
#[cfg(feature = "fault-injection")]
mod faults;
mod first_signal;
mod generate;
mod health;
#[cfg(feature = "tls")]
mod ktls;
mod lab;
mod logs;
mod memory_limit;
#[cfg(feature = "metrics")]
mod observe;
mod panic_log;
mod passwd;
mod password_input;
mod plain_passwords;
#[cfg(feature = "compress")]
mod precompress;
mod print_config;
mod progress;
mod progress_bar;
mod ready;
mod reload;
mod rlimit;
mod sandbox;
mod serve;
mod serve_options;
mod service_manager;
mod stderr;
mod stdout;
mod stop_signals;
mod style;
mod supervise;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod upgrade;
mod user;

fn main() -> ExitCode {
    if let Err(error) = upgrade::begin() {
        stderr::error(&format!("standard input: {error}"));
        return ExitCode::from(1);
    }
    stderr::report_by(upgrade::report_fault);
    let matches = cli::Cli::command().try_get_matches().unwrap_or_else(|error| exit(&error));
    let cli = cli::Cli::from_arg_matches(&matches).unwrap_or_else(|error| exit(&error));
    let of_command = matches.subcommand().map_or(&matches, |(_, matches)| matches);
    let outcome = match cli.command {
        cli::Command::Serve(_) => serve::run(&Flags::of(of_command)),
        cli::Command::Check(args) => return check::run(&args),
        cli::Command::Config(args) => print_config::run(&args, &Flags::of(of_command)),
        cli::Command::Upgrade(args) => upgrade::request(&args),
        cli::Command::Passwd(args) => passwd::run(&args),
        cli::Command::Health(args) => health::run(&args),
        cli::Command::Doctor(args) => doctor::run(&args),
        cli::Command::Copy(args) => return copy::run(&args),
        #[cfg(feature = "compress")]
        cli::Command::Precompress(args) => return precompress::run(&args),
        cli::Command::Lab(lab) => match lab::run(&lab) {
            Ok(true) => Ok(()),
            // The report names the failure.
            Ok(false) => return ExitCode::from(1),
            Err(error) => Err(error),
        },
        cli::Command::Completions { shell } => generate::completions(shell),
        cli::Command::Man { command } => generate::man(command.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stderr::error(&error);
            ExitCode::from(1)
        }
    }
}

/// Prints help, or what is wrong with the arguments, and exits.
fn exit(error: &clap::Error) -> ! {
    if error.use_stderr() {
        let text = error.to_string();
        let fault = text.lines().next().unwrap_or_default();
        upgrade::report_fault(fault.trim_start_matches("error: "));
    }
    error.exit()
}
