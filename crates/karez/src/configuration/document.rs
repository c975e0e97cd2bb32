//! The file of a configuration: TOML with the line of each key.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Faults, first_sentence};
use super::key::{Form, Key, Keys};
use super::value::{Origin, Value, Values};

/// The values of a file.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) top: Values,
    /// The tables `[[site]]`.
    pub(super) sites: Vec<Table>,
}

/// A table of a file.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) line: usize,
    pub(super) values: Values,
}

impl Document {
    /// Reads a file. Keys with faults are left out; `None` if it cannot be read.
    pub(super) fn read(file: &Path, faults: &mut Faults) -> Option<Self> {
        faults.of_file(file);
        let text = match std::fs::read(file).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
                faults.add(Some(line), "not UTF-8");
                return None;
            }
            Err(error) => {
                faults.add(None, &error.to_string());
                return None;
            }
        };
        let directory = file.parent().unwrap_or(Path::new("")).to_owned();
        let mut reader = Reader { text: &text, directory, faults };
        reader.document()
    }
}

struct Reader<'a> {
    text: &'a str,
    directory: PathBuf,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn document(&mut self) -> Option<Document> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let line = error.span().map(|span| self.line(span.start));
            self.faults.add(line, error.message().trim());
        }
        if !errors.is_empty() {
            return None; // the keys of a malformed file are guesses
        }
        let mut document = Document::default();
        let keys = Keys::of_server();
        for (name, value) in in_order(table.get_ref()) {
            let line = self.line(name.span().start);
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("site", DeValue::Array(tables)) => {
                    document.sites.extend(tables.iter().filter_map(|table| self.site(table)));
                }
                ("site", _) => self.faults.add(Some(line), "sites are tables: write [[site]]"),
                (name, value) => self.assign(&keys, name, value, line, &mut document.top),
            }
        }
        Some(document)
    }

    fn site(&mut self, table: &Spanned<DeValue<'_>>) -> Option<Table> {
        let line = self.line(table.span().start);
        let DeValue::Table(table) = table.get_ref() else {
            self.faults.add(Some(line), "sites are tables: write [[site]]");
            return None;
        };
        let (keys, mut values) = (Keys::of_site(), Values::default());
        for (name, value) in in_order(table) {
            let line = self.line(name.span().start);
            self.assign(&keys, name.get_ref(), value.get_ref(), line, &mut values);
        }
        Some(Table { line, values })
    }

    /// Takes a key and its value, or adds a fault.
    fn assign(
        &mut self,
        keys: &Keys,
        name: &str,
        value: &DeValue<'_>,
        line: usize,
        to: &mut Values,
    ) {
        let Some(key) = keys.find(name) else {
            let hint = self.hint(keys, name);
            return self.faults.add(Some(line), &format!("unknown key \"{name}\"{hint}"));
        };
        match self.value(keys, key, value) {
            Ok(value) => to.set(key, value, Origin::Line(line)),
            Err(fault) => self.faults.add(Some(line), &format!("{name}: {fault}")),
        }
    }

    fn hint(&self, keys: &Keys, name: &str) -> String {
        let elsewhere = [(Keys::of_server(), "at the top"), (Keys::of_site(), "in a [[site]]")];
        if let Some((_, place)) = elsewhere.iter().find(|(keys, _)| keys.find(name).is_some()) {
            return format!(" (it belongs {place})");
        }
        let near = keys.nearest(name);
        near.map(|near| format!(" (did you mean \"{near}\"?)")).unwrap_or_default()
    }

    fn value(&self, keys: &Keys, key: Key<'_>, value: &DeValue<'_>) -> Result<Value, String> {
        let words = match (value, key.form()) {
            (DeValue::Boolean(on), Form::Switch) => return Ok(Value::Switch(*on)),
            (DeValue::Boolean(on), _) if key.may_be_bare() => return Ok(Value::Switch(*on)),
            (_, Form::Switch) => return Err(format!("true or false, not {}", described(value))),
            (DeValue::Array(values), Form::Many) => {
                values.iter().map(|value| self.word(keys, key, value.get_ref())).collect()
            }
            (value, _) => self.word(keys, key, value).map(|word| vec![word]),
        };
        Ok(Value::Words(words?))
    }

    fn word(&self, keys: &Keys, key: Key<'_>, value: &DeValue<'_>) -> Result<OsString, String> {
        let word = match value {
            DeValue::Integer(number) if key.is_number() => OsString::from(number.as_str()),
            value if key.is_number() => return Err(format!("a number, not {}", described(value))),
            DeValue::String(text) => self.with_directory(key, text),
            value => return Err(format!("a string, not {}", described(value))),
        };
        keys.validate(key, word.clone()).map_err(|error| first_sentence(&error))?;
        Ok(word)
    }

    /// Returns a value whose path, if it has one, begins with the directory of this file.
    fn with_directory(&self, key: Key<'_>, text: &str) -> OsString {
        let Some(at) = key.path_in(text) else { return OsString::from(text) };
        let (glob, path) = text.split_at(at);
        let mut word = OsString::from(glob);
        word.push(self.directory.join(path));
        word
    }

    /// Returns the line of a byte, counted from 1.
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Integer(_) => "an integer".to_owned(),
        value => format!("a {}", value.type_str()),
    }
}

type Entry<'a, 'i> = (&'a Spanned<toml::de::DeString<'i>>, &'a Spanned<DeValue<'i>>);

/// Returns the keys of a table in the order of the file.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}
