//! Values of keys, and where each comes from.

use clap::ArgMatches;
use clap::parser::ValueSource;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::key::{Form, Key, Keys};

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Of a switch, or of a key that may stand without a value.
    Switch(bool),
    /// One or more values.
    Words(Vec<OsString>),
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Flag,
    /// A line of the file.
    Line(usize),
}

/// The values of keys by the ids of their arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Values(BTreeMap<String, (Value, Origin)>);

impl Values {
    /// Returns the values that a command line has.
    pub(super) fn of_flags(keys: &Keys, matches: &ArgMatches) -> Self {
        let mut values = Self::default();
        for key in keys.iter() {
            if matches.value_source(key.id()) != Some(ValueSource::CommandLine) {
                continue;
            }
            let value = match key.form() {
                Form::Switch => Value::Switch(matches.get_flag(key.id())),
                _ => {
                    let raw = matches.get_raw(key.id()).into_iter().flatten();
                    Value::Words(raw.map(OsString::from).collect())
                }
            };
            values.set(key, value, Origin::Flag);
        }
        values
    }

    pub(super) fn set(&mut self, key: Key<'_>, value: Value, origin: Origin) {
        self.0.insert(key.id().to_owned(), (value, origin));
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    pub(super) fn get(&self, key: Key<'_>) -> Option<&(Value, Origin)> {
        self.0.get(key.id())
    }

    /// Returns the line of a key.
    pub(super) fn line(&self, id: &str) -> Option<usize> {
        match self.0.get(id) {
            Some((_, Origin::Line(line))) => Some(*line),
            _ => None,
        }
    }

    /// Replaces the values of the keys that `other` has.
    pub(super) fn override_by(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(id, value)| (id.clone(), value.clone())));
    }

    /// Returns the values that a site takes.
    pub(super) fn inherited(&self, keys: &Keys) -> Self {
        let of_site = |id: &str| keys.find_id(id).is_some_and(Key::is_inherited);
        Self(
            self.0
                .iter()
                .filter(|(id, _)| of_site(id))
                .map(|(id, it)| (id.clone(), it.clone()))
                .collect(),
        )
    }

    /// Returns the value that holds: the given one, or the default.
    pub(super) fn effective(&self, key: &Key<'_>) -> Value {
        match (self.get(*key), key.form()) {
            (Some((value, _)), _) => value.clone(),
            (None, Form::Switch) => Value::Switch(false),
            (None, _) => Value::Words(key.defaults()),
        }
    }

    /// Returns the files that the values name.
    pub(super) fn files(&self, keys: &Keys) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for key in keys.iter().filter(|key| !key.is_directory()) {
            let Value::Words(words) = self.effective(&key) else { continue };
            // A path that is not UTF-8 begins where the value does.
            let path = |word: &OsString| match word.to_str() {
                Some(text) => key.path_in(text).map(|at| PathBuf::from(&text[at..])),
                None => key.path_in("").map(|_| PathBuf::from(word)),
            };
            files.extend(words.iter().filter_map(path));
        }
        files
    }

    /// Returns the command line that gives these values.
    pub(super) fn arguments(&self, keys: &Keys) -> Vec<OsString> {
        let (mut flags, mut positional) = (Vec::new(), Vec::new());
        for (key, (value, _)) in keys.iter().filter_map(|key| Some((key, self.get(key)?))) {
            match value {
                Value::Switch(true) => flags.push(key.bare()),
                Value::Switch(false) => {}
                // A default that a file repeats may need another key (`requires`), which it has not.
                Value::Words(words) if *words == key.defaults() => {}
                Value::Words(words) => {
                    let to = if key.id() == Key::ROOT { &mut positional } else { &mut flags };
                    to.extend(words.iter().map(|word| key.argument(word.clone())));
                }
            }
        }
        if !positional.is_empty() {
            flags.push("--".into());
        }
        flags.extend(positional);
        flags
    }
}
