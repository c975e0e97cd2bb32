//! Media types by extension, in front of the built-in table.

use std::collections::HashMap;
use std::str::FromStr;

/// A media type for an extension, such as `md=text/plain; charset=utf-8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaTypeRule {
    extension: String,
    media_type: String,
}

impl FromStr for MediaTypeRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (extension, media_type) = text.split_once('=').ok_or("expected EXT=TYPE")?;
        let extension = extension.trim_start_matches('.').to_ascii_lowercase();
        if extension.is_empty() || extension.contains(['/', '.']) {
            return Err("expected an extension, such as md".to_owned());
        }
        let is_token = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
            !part.is_empty() && part.bytes().all(fits)
        };
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let (kind, subtype) = essence.split_once('/').unwrap_or_default();
        let visible = media_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !is_token(kind) || !is_token(subtype) || !visible {
            return Err("expected a media type, such as text/plain".to_owned());
        }
        Ok(Self { extension, media_type: media_type.trim().to_owned() })
    }
}

/// The media types of a site by extension in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct MediaTypes(HashMap<String, String>);

impl MediaTypes {
    pub(super) fn new(rules: &[MediaTypeRule]) -> Self {
        let pairs = rules.iter().map(|it| (it.extension.clone(), it.media_type.clone()));
        Self(pairs.collect())
    }

    /// Returns the type for an extension.
    pub(crate) fn find(&self, extension: &str) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&extension.to_ascii_lowercase()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_and_types() {
        let rules = ["MD=text/plain; charset=utf-8", ".x=application/vnd.x+json"];
        let rules = rules.map(|rule| rule.parse().unwrap());
        let types = MediaTypes::new(&rules);
        assert_eq!(types.find("Md"), Some("text/plain; charset=utf-8"));
        assert_eq!(types.find("x"), Some("application/vnd.x+json"));
        assert_eq!(types.find("y"), None);
        for text in
            ["md", "md=", "=a/b", "md=text", "md=a/b\r\nX: y", "a.b=a/b", "md=/b", "md=a b/c"]
        {
            assert!(text.parse::<MediaTypeRule>().is_err(), "{text}");
        }
    }
}
