//! The configuration of `karez serve`: flags over the file over defaults.
//!
//! The definition of the command line is the only one: a key of the file (TOML 1.0) is the name of a flag,
//! its values are parsed as those of the flag, and its help is the documentation. So each flag is a key,
//! and the file, `karez check`, `karez config` and the JSON Schema cannot disagree.
//!
//! # Limitations
//!
//! A switch that the file sets cannot be turned off by a flag. Values that are not UTF-8 can only be given
//! as flags.

mod document;
mod fault;
mod key;
mod print;
mod schema;
mod value;

pub(crate) use fault::Faults;
pub(crate) use print::effective;
pub(crate) use schema::schema;

use clap::{ArgMatches, FromArgMatches as _};
use std::path::{Path, PathBuf};
use std::process;

use crate::cli::{ServeArgs, SiteTable};
use crate::stderr;
use document::Document;
use key::{Key, Keys};
use value::Values;

/// The flags that were given, which override the file.
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    values: Values,
    file: Option<PathBuf>,
}

/// A configuration: the arguments of the server, and its sites.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) serve: ServeArgs,
    /// The tables `[[site]]`; empty if the arguments of the server have the only site.
    pub(crate) sites: Vec<Site>,
    file: Option<PathBuf>,
    values: Values,
}

/// A site of the configuration.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) table: SiteTable,
    /// The line of its table.
    line: usize,
    values: Values,
}

impl Flags {
    /// Returns the flags that the command line has.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let file = matches.try_get_one::<PathBuf>("config").ok().flatten().cloned();
        Self::with_file(matches, file)
    }

    /// The same with another file.
    pub(crate) fn with_file(matches: &ArgMatches, file: Option<PathBuf>) -> Self {
        Self { values: Values::of_flags(&Keys::of_server(), matches), file }
    }

    /// Returns flags of which none is given, and a file.
    pub(crate) fn of_file(file: PathBuf) -> Self {
        Self { values: Values::default(), file: Some(file) }
    }

    /// Returns the file.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl Configuration {
    /// Reads the file that the flags name. Keys with faults are left out, so that the rest can be checked,
    /// too. `None` if the file cannot be read, or the rest is inconsistent.
    pub(crate) fn load(flags: &Flags) -> (Option<Self>, Faults) {
        let mut faults = Faults::default();
        let document = match &flags.file {
            Some(file) => match Document::read(file, &mut faults) {
                Some(document) => document,
                None => return (None, faults),
            },
            None => Document::default(),
        };
        let loaded = Self::of(flags, document, &mut faults);
        (loaded, faults)
    }

    /// The same for a command that needs all of it: prints the faults and exits with 1 if there are any.
    pub(crate) fn load_or_exit(flags: &Flags) -> Self {
        match Self::load(flags) {
            (Some(configuration), faults) if faults.is_empty() => configuration,
            (_, faults) => {
                faults.into_sorted().iter().for_each(|fault| stderr::error(fault));
                process::exit(1)
            }
        }
    }

    fn of(flags: &Flags, document: Document, faults: &mut Faults) -> Option<Self> {
        let Document { top, sites: tables } = document;
        if !tables.is_empty() && flags.values.contains(Key::ROOT) {
            faults.add(None, "DIR cannot be given beside a file with [[site]]");
        }
        let mut values = top;
        values.override_by(&flags.values);
        let keys = Keys::of_server();
        let serve = parsed(&keys, &values, faults, None, ServeArgs::from_arg_matches)?;
        let site_keys = Keys::of_site();
        let mut sites = Vec::new();
        for table in tables {
            let mut own = values.inherited(&site_keys);
            own.override_by(&table.values);
            own.override_by(&flags.values.inherited(&site_keys));
            if !own.contains(Key::ROOT) {
                faults.add(Some(table.line), "[[site]] has no root");
            }
            let line = Some(table.line);
            let parsed = parsed(&site_keys, &own, faults, line, SiteTable::from_arg_matches)?;
            sites.push(Site { table: parsed, line: table.line, values: own });
        }
        Some(Self { serve, sites, file: flags.file.clone(), values })
    }

    /// Returns whether the arguments of the server are a site themselves.
    pub(crate) fn has_top_site(&self) -> bool {
        self.sites.is_empty() || self.values.contains(Key::ROOT)
    }

    /// Returns the file that it was read from.
    #[cfg(feature = "tls")]
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns the served directories.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Path> {
        let top = self.has_top_site().then_some(&*self.serve.site.dir);
        top.into_iter().chain(self.sites.iter().map(|site| &*site.table.site.dir))
    }

    /// Returns its own file and the files that its keys name.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = self.values.files(&Keys::of_server());
        let keys = Keys::of_site();
        files.extend(self.sites.iter().flat_map(|site| site.values.files(&keys)));
        files.extend(self.file.clone());
        files
    }

    /// Returns whether addresses to listen on are given.
    pub(crate) fn has_listen(&self) -> bool {
        self.values.contains("listen")
    }

    /// Returns the line of the first of these arguments that the file has.
    pub(crate) fn line_of(&self, ids: &[&str]) -> Option<usize> {
        ids.iter().find_map(|id| self.values.line(id))
    }

    /// Returns the names of the keys that belong to the server and differ from another configuration.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let keys = Keys::of_server();
        let differs = |key: &Key<'_>| self.values.effective(key) != other.values.effective(key);
        keys.iter().filter(differs).map(|key| key.name().to_owned()).collect()
    }
}

impl Site {
    /// Returns the line of one of its arguments, or that of its table.
    pub(crate) fn line_of(&self, id: &str) -> Option<usize> {
        self.values.line(id).or(Some(self.line))
    }
}

/// Parses values by the definition of their keys.
fn parsed<T>(
    keys: &Keys,
    values: &Values,
    faults: &mut Faults,
    line: Option<usize>,
    make: impl FnOnce(&ArgMatches) -> Result<T, clap::Error>,
) -> Option<T> {
    let made = keys.parse(values.arguments(keys)).and_then(|matches| make(&matches));
    match made {
        Ok(made) => Some(made),
        Err(error) => {
            faults.add(line, &fault::first_sentence(&error));
            None
        }
    }
}
