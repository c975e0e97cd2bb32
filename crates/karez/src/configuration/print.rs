//! The effective configuration as a file that can be loaded again.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use super::Configuration;
use super::key::{Form, Key, Keys};
use super::value::{Origin, Value, Values};

/// Returns the effective configuration in TOML. A comment behind each value says where it comes from.
pub(crate) fn effective(configuration: &Configuration) -> String {
    let mut out = String::from("# The effective configuration of karez serve.\n");
    let file = configuration.file.as_deref();
    let keys = Keys::of_server();
    let mut heading = "";
    for key in keys.iter() {
        if configuration.sites.is_empty() || key.id() != Key::ROOT || configuration.has_top_site() {
            if heading != key.heading() {
                heading = key.heading();
                let _infallible = write!(out, "\n# {heading}\n");
            }
            push_key(&mut out, key, &configuration.values, file);
        }
    }
    for site in &configuration.sites {
        out.push_str("\n[[site]]\n");
        for key in Keys::of_site().iter() {
            push_key(&mut out, key, &site.values, file);
        }
    }
    out
}

fn push_key(out: &mut String, key: Key<'_>, values: &Values, file: Option<&Path>) {
    let origin = match values.get(key) {
        None => "default".to_owned(),
        Some((_, Origin::Flag)) if key.id() == Key::ROOT => "DIR".to_owned(),
        Some((_, Origin::Flag)) => format!("flag --{}", key.name()),
        Some((_, Origin::Line(line))) => {
            let file = file.map(|file| file.display().to_string()).unwrap_or_default();
            format!("{file}:{line}")
        }
    };
    let name = key.name();
    let _infallible = match literal(key, &values.effective(&key)) {
        Ok(value) => writeln!(out, "{name} = {value} # {origin}"),
        Err(Unwritable::Unset) => writeln!(out, "# {name} is not set"),
        Err(Unwritable::NotUtf8) => writeln!(out, "# {name} is not UTF-8 # {origin}"),
    };
}

/// Why a value cannot be written.
enum Unwritable {
    Unset,
    NotUtf8,
}

fn literal(key: Key<'_>, value: &Value) -> Result<String, Unwritable> {
    let words = match value {
        Value::Switch(on) => return Ok(on.to_string()),
        Value::Words(words) => words,
    };
    let words = words.iter().map(|word| word_literal(key, word)).collect::<Option<Vec<_>>>();
    let words = words.ok_or(Unwritable::NotUtf8)?;
    match (key.form(), words.first()) {
        (Form::Many, _) => Ok(format!("[{}]", words.join(", "))),
        (_, Some(word)) => Ok(word.clone()),
        (_, None) => Err(Unwritable::Unset),
    }
}

fn word_literal(key: Key<'_>, word: &OsStr) -> Option<String> {
    let mut word = word.to_str()?.to_owned();
    // A path in a file is relative to that file, and this one may be saved elsewhere.
    if let Some(at) = key.path_in(&word)
        && let Ok(absolute) = std::path::absolute(&word[at..])
    {
        word.replace_range(at.., absolute.to_str()?);
    }
    Some(match key.is_number() {
        true => word,
        // A string of JSON is one of TOML, except that TOML has no raw DEL.
        false => serde_json::Value::from(word).to_string().replace('\u{7f}', "\\u007f"),
    })
}
