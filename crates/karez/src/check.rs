//! `karez check`: checks a configuration file and everything that it names.
//!
//! # Limitations
//!
//! Addresses are not bound, because a server may be running.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use karez_server::{ContentTags, rule_faults};

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
    check_logs(configuration, faults);
    check_etag_cache(configuration, faults);
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

/// A file that does not exist is not made.
fn check_logs(configuration: &Configuration, faults: &mut Faults) {
    for (id, path) in configuration.serve.logs.files() {
        // A named pipe without a reader would block.
        if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
            continue;
        }
        let found = match OpenOptions::new().append(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                std::fs::read_dir(directory.unwrap_or(Path::new("."))).map(|_| ())
            }
            found => found.map(|_| ()),
        };
        if let Err(error) = found {
            let text = format!("{}: {error}", path.display());
            faults.add(configuration.line_of(&[id]), &text);
        }
    }
}

/// A file that does not exist is not made.
fn check_etag_cache(configuration: &Configuration, faults: &mut Faults) {
    let Some(path) = &configuration.serve.etag_cache else { return };
    let found = match path.exists() {
        true => ContentTags::open(path).map(|_| ()),
        false => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let read = std::fs::read_dir(directory.unwrap_or(Path::new("."))).map(|_| ());
            read.map_err(|error| std::io::Error::other(format!("{}: {error}", path.display())))
        }
    };
    if let Err(error) = found {
        faults.add(configuration.line_of(&["etag_cache"]), &error.to_string());
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
