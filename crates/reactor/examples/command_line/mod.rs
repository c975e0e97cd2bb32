//! The command line of the examples: `[--model NAME] [--topology NAME] [--threads N]`, then where
//! to listen, then what the example itself asks for.
#![allow(clippy::print_stderr, reason = "an example says where it listens and what went wrong")]

use karez_reactor::{Bound, Layout, Limits, Model, Service, Stop, Wishes};
use std::error::Error;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

/// Runs what `make` makes of the words behind the address, until the process is killed. `words`
/// are those that it takes, for whoever gives others.
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
    let limits = Limits { connections: 10_000, grace: Duration::from_secs(10) };
    match bound.run(&service, limits, &Stop::new()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(error, words),
    }
}

/// Binds where and how the words say, and gives back those that are left.
pub(crate) fn bind(
    words: impl Iterator<Item = String>,
) -> Result<(Bound, Vec<String>), Box<dyn Error + Send + Sync>> {
    let (mut wishes, mut rest, mut words) = (Wishes::default(), Vec::new(), words);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
        match word.as_str() {
            "--model" => wishes.model = Some(value()?.parse()?),
            "--topology" => wishes.topology = Some(value()?.parse()?),
            "--threads" => wishes.threads = Some(value()?.parse()?),
            _ => rest.push(word),
        }
    }
    if rest.is_empty() {
        return Err("where to listen?".into());
    }
    // It asks all the time, but need not keep the core from those whom it asks.
    wishes.yields = wishes.model == Some(Model::Nonblocking);
    let layout = Layout::probe(&wishes, available_parallelism()?)?.layout;
    let bound = Bound::bind(layout, &[rest.remove(0).parse()?])?;
    Ok((bound, rest))
}

fn complain(error: impl std::fmt::Display, words: &str) -> ExitCode {
    eprintln!("{error}\nusage: [--model NAME] [--topology NAME] [--threads N] {words}");
    ExitCode::FAILURE
}
