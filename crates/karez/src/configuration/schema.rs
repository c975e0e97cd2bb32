//! A JSON Schema (2020-12) of the file, for editors.

use serde_json::{Map, Value, json};

use super::key::{Form, Key, Keys};

/// Returns the schema.
pub(crate) fn schema() -> Value {
    let mut properties = properties(&Keys::of_server());
    let site = json!({
        "type": "object",
        "properties": self::properties(&Keys::of_site()),
        "required": ["root"],
        "additionalProperties": false,
    });
    let sites = json!({
        "description": "Sites, chosen by the host that a request names.",
        "type": "array",
        "items": site,
    });
    properties.insert("site".to_owned(), sites);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of karez serve",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn properties(keys: &Keys) -> Map<String, Value> {
    keys.iter().map(|key| (key.name().to_owned(), property(key))).collect()
}

fn property(key: Key<'_>) -> Value {
    let word = match (key.is_number(), key.possible_values()) {
        (true, _) => json!({ "type": "integer", "minimum": 1 }),
        (false, values) if values.is_empty() => json!({ "type": "string" }),
        (false, values) => json!({ "enum": values }),
    };
    let mut forms = Vec::new();
    if key.form() == Form::Switch || key.may_be_bare() {
        forms.push(json!({ "type": "boolean" }));
    }
    if key.form() != Form::Switch {
        forms.push(word.clone());
    }
    if key.form() == Form::Many {
        forms.push(json!({ "type": "array", "items": word }));
    }
    let mut property = match forms.len() {
        1 => forms.remove(0),
        _ => json!({ "anyOf": forms }),
    };
    property["description"] = key.help().into();
    let defaults: Vec<_> =
        key.defaults().iter().filter_map(|it| Some(it.to_str()?.to_owned())).collect();
    match (key.form(), defaults.first()) {
        (Form::Switch, _) => property["default"] = false.into(),
        (Form::Many, Some(_)) => property["default"] = defaults.into(),
        (_, Some(default)) => property["default"] = default.as_str().into(),
        (_, None) => {}
    }
    property
}
