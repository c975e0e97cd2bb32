//! `karez check`: checks a configuration file and everything that it names.
//!
//! # Limitations
//!
//! Addresses are not bound, because a server may be running.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;

use karez_server::rule_faults;

use crate::cli::{CheckArgs, SiteArgs};
use crate::configuration::{Configuration, Faults, Flags};
use crate::serve_options;
use crate::stderr;
use crate::stdout::print;
use crate::tls;

/// Checks a file, and prints its faults.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let (configuration, mut faults) = Configuration::load(&Flags::of_file(args.file.clone()));
    if let Some(configuration) = configuration {
        check(&configuration, &mut faults);
    }
    if faults.is_empty() {
        // Without standard output the exit status still says it.
        let _closed = print(format!("{}: no fault\n", args.file.display()).as_bytes());
        return ExitCode::SUCCESS;
    }
    for fault in faults.into_sorted() {
        stderr::error(&fault);
    }
    ExitCode::from(1)
}

/// Adds the faults of everything that a configuration names.
fn check(configuration: &Configuration, faults: &mut Faults) {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    if let Err(error) = serve_options::config(&configuration.serve).build_supported(cores) {
        faults.add(configuration.line_of(&["model", "topology", "threads"]), &error.to_string());
    }
    tls::check_files(configuration, faults);
    if configuration.has_top_site() {
        let line_of = |id: &str| configuration.line_of(&[id]);
        check_site(&configuration.serve.site, line_of, faults);
    }
    let mut hosts = HashSet::new();
    for site in &configuration.sites {
        check_site(&site.table.site, |id| site.line_of(id), faults);
        for host in site.table.hosts.iter().filter(|host| !hosts.insert(*host)) {
            let text = format!("the host {host} belongs to another site, too");
            faults.add(site.line_of("hosts"), &text);
        }
    }
}

/// `line_of` returns the line of an argument of the site.
fn check_site(site: &SiteArgs, line_of: impl Fn(&str) -> Option<usize>, faults: &mut Faults) {
    if let Err(error) = std::fs::read_dir(&site.dir) {
        faults.add(line_of("dir"), &format!("root {}: {error}", site.dir.display()));
        return;
    }
    for (id, file) in site.rules.files() {
        let path = site.dir.join(file);
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => {}
            Ok(_) => faults.add(line_of(id), &format!("{}: not a file", path.display())),
            Err(error) => faults.add(line_of(id), &format!("{}: {error}", path.display())),
        }
    }
    for rule in &site.rules.auth {
        if let Err(error) = rule.check() {
            faults.add(line_of("auth"), &error.to_string());
        }
    }
    for fault in rule_faults(&site.rules.options()) {
        faults.add(line_of("redirect"), &fault);
    }
}
