//! The command line of the examples: `[--model NAME] [--topology NAME] [--threads N]`, then the address
//! to listen on, then the arguments of the example.
#![allow(clippy::print_stderr, reason = "an example says where it listens and what went wrong")]

use karez_reactor::{Config, Limits, Model, Server, Service, Shutdown, Topology};
use std::error::Error;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

/// Runs the service that `make` makes of the words behind the address, until the process is killed.
/// `words` describes them in the usage message.
pub(crate) fn serve<S: Service>(
    make: impl FnOnce(&[String]) -> Option<S>,
    words: &str,
) -> ExitCode {
    let (bound, rest) = match bind(std::env::args().skip(1)) {
        Ok(bound) => bound,
        Err(error) => return complain(&*error, words),
    };
    let Some(service) = make(&rest) else {
        return complain("words are missing, or there are too many", words);
    };
    for address in bound.addresses() {
        eprintln!("listening on {address}");
    }
    let limits = Limits::new(10_000, Duration::from_secs(10));
    match bound.run(&service, limits, &Shutdown::new()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(error, words),
    }
}

/// Binds a server as the words say, and returns the rest of them.
pub(crate) fn bind(
    words: impl Iterator<Item = String>,
) -> Result<(Server, Vec<String>), Box<dyn Error + Send + Sync>> {
    let (mut builder, mut rest, mut words) = (Config::builder(), Vec::new(), words);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
        match word.as_str() {
            "--model" => {
                let model: Model = value()?.parse()?;
                // It never waits, but other threads may run between its laps.
                builder = builder.model(model).yields(model == Model::Nonblocking);
            }
            "--topology" => builder = builder.topology(value()?.parse::<Topology>()?),
            "--threads" => builder = builder.threads(value()?.parse::<NonZeroUsize>()?),
            _ => rest.push(word),
        }
    }
    if rest.is_empty() {
        return Err("where to listen?".into());
    }
    let config = builder.build_supported(available_parallelism()?)?.config;
    let bound = Server::bind(config, &[rest.remove(0).parse()?])?;
    Ok((bound, rest))
}

fn complain(error: impl std::fmt::Display, words: &str) -> ExitCode {
    eprintln!("{error}\nusage: [--model NAME] [--topology NAME] [--threads N] {words}");
    ExitCode::FAILURE
}
