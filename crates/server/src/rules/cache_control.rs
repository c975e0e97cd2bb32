//! `Cache-Control` by path (RFC 9111 §5.2): a preset, or a value.

use std::str::FromStr;

use super::field::FieldRule;

/// A rule for `Cache-Control`, such as `/assets/**=immutable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheControlRule(FieldRule);

impl CacheControlRule {
    pub(super) fn field(&self) -> &FieldRule {
        &self.0
    }
}

impl FromStr for CacheControlRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (glob, value) = text.split_once('=').ok_or("expected GLOB=VALUE")?;
        let preset = PRESETS.iter().find(|(name, _)| *name == value);
        let value = preset.map_or(value, |(_, value)| value);
        if value.is_empty() {
            return Err("the value is empty".to_owned());
        }
        FieldRule::set(glob, "Cache-Control", value).map(Self)
    }
}

/// Presets. `immutable` is for files whose name changes with their content (RFC 8246), `revalidate` for
/// files that are asked for each time and then mostly answered by 304.
const PRESETS: &[(&str, &str)] = &[
    ("immutable", "public, max-age=31536000, immutable"),
    ("revalidate", "no-cache"),
    ("no-store", "no-store"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_and_values() {
        for (text, field) in [
            ("/a/**=immutable", "/a/**: Cache-Control: public, max-age=31536000, immutable"),
            ("*.html=revalidate", "*.html: Cache-Control: no-cache"),
            ("**=no-store", "**: Cache-Control: no-store"),
            ("**=max-age=60, public", "**: Cache-Control: max-age=60, public"),
        ] {
            assert_eq!(*text.parse::<CacheControlRule>().unwrap().field(), field.parse().unwrap());
        }
        for text in ["**", "**=", "=x", "**=a\nb"] {
            assert!(text.parse::<CacheControlRule>().is_err(), "{text}");
        }
    }
}
