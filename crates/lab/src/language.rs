//! The language of reports: English in the sources, other languages in one catalogue file each.
//!
//! A text of a report is `text!("English {value}", value = …)`; a text in a constant is
//! `msg!("English")` and is looked up by [`tr`] when it is rendered. As with gettext(3), the English
//! text is the key. The catalogue (`text/zh.po`) is part of the program. The language applies to one
//! call of [`in_language`]; outside of it, reports are in English, as is all JSON and CSV.
//!
//! # Limitations
//! Error messages of the kernel and of workers are English in every language, and so is the progress
//! line. A catalogue entry is one line, without plural forms.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::OnceLock;

/// Returns a text of a report in the current language, with values in place of `{name}`.
macro_rules! text {
    ($english:literal) => { $crate::language::tr($english) };
    ($english:literal, $($name:ident = $value:expr),+ $(,)?) => {
        $crate::language::fill(
            &$crate::language::tr($english),
            &[$((stringify!($name), &$value)),+],
        )
    };
}

/// Marks a constant text that is translated when it is rendered.
macro_rules! msg {
    ($english:literal) => {
        $english
    };
}

pub(crate) use {msg, text};

/// The Chinese catalogue, in the format of gettext.
const CHINESE: &str = include_str!("../text/zh.po");

thread_local! {
    static CURRENT: Cell<Language> = const { Cell::new(Language::English) };
}

/// A language of the reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English, `en`.
    #[default]
    English,
    /// Simplified Chinese, `zh`.
    Chinese,
}

impl Language {
    /// Every language.
    pub const ALL: &'static [Self] = &[Self::English, Self::Chinese];

    /// Returns the name used on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// Returns the language tag (RFC 5646) of a page.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    /// Selects the language of a locale: the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is set
    /// and not empty (locale(7)).
    pub fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut given = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable);
        let locale = given.find(|value| !value.is_empty()).unwrap_or_default();
        let language = locale.split(['_', '.', '@', '-']).next().unwrap_or_default();
        if language == "zh" { Self::Chinese } else { Self::English }
    }

    /// Returns the language of the current call of [`in_language`].
    pub(crate) fn current() -> Self {
        CURRENT.get()
    }
}

impl FromStr for Language {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|one| one.name() == name);
        found.ok_or("unknown language")
    }
}

/// Renders a report in a language.
pub fn in_language<T>(language: Language, render: impl FnOnce() -> T) -> T {
    /// Restores the previous language, also after a panic.
    struct Restore(Language);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(language));
    render()
}

/// Returns the text in the current language; the English one if the catalogue lacks it. A debug
/// build marks such a text, which a test looks for.
pub(crate) fn tr(english: &str) -> String {
    match lookup(english) {
        Some(text) => text.to_owned(),
        None if cfg!(debug_assertions) => format!("⟦{english}⟧"),
        None => english.to_owned(),
    }
}

/// Returns the text in the current language; words that are not in the catalogue, such as the name
/// of an error, are the same in every language.
pub(crate) fn tr_word(english: &str) -> String {
    lookup(english).unwrap_or(english).to_owned()
}

/// Translates the last part of a composed name: `lo: bytes in all`.
pub(crate) fn tr_name(english: &str) -> String {
    match english.rsplit_once(": ") {
        Some((subject, name)) if lookup(english).is_none() => {
            let over = subject.split_once(" over ");
            let subject = match (lookup(subject), over) {
                (Some(known), _) => known.to_owned(),
                (None, Some((via, transport))) => {
                    text!("{via} over {transport}", via = via, transport = transport)
                }
                (None, None) => subject.split(", ").map(tr_word).collect::<Vec<_>>().join("，"),
            };
            text!("{subject}: {name}", subject = subject, name = tr_calls(name))
        }
        _ => tr(english),
    }
}

/// Translates the name of a figure, which may be that of any system call.
fn tr_calls(english: &str) -> String {
    match english.strip_prefix("calls of ") {
        Some(name) if lookup(english).is_none() => text!("calls of {name}", name = name),
        _ => tr(english),
    }
}

fn lookup(english: &str) -> Option<&str> {
    match Language::current() {
        Language::English => Some(english),
        Language::Chinese => {
            static CATALOGUE: OnceLock<HashMap<String, String>> = OnceLock::new();
            let catalogue = CATALOGUE.get_or_init(|| parse(CHINESE));
            catalogue.get(english).map(String::as_str)
        }
    }
}

/// Replaces `{name}` by values.
pub(crate) fn fill(text: &str, values: &[(&str, &dyn Display)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled += before;
        let Some((name, after)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => filled += &value.to_string(),
            None => filled += &format!("{{{name}}}"),
        }
        rest = after;
    }
    filled + rest
}

/// Parses pairs of `msgid` and `msgstr` lines; the header has an empty `msgid`.
fn parse(catalogue: &str) -> HashMap<String, String> {
    let mut pairs = HashMap::new();
    let mut id = String::new();
    for line in catalogue.lines() {
        if let Some(text) = line.strip_prefix("msgid ") {
            id = unquoted(text);
        } else if let Some(text) = line.strip_prefix("msgstr ") {
            pairs.insert(std::mem::take(&mut id), unquoted(text));
        }
    }
    pairs.remove("");
    pairs
}

fn unquoted(text: &str) -> String {
    let inner = text.trim().trim_start_matches('"');
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    inner.replace("\\\"", "\"").replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// Returns the literals of `text!` and `msg!` in a source file.
    fn keys(source: &str) -> Vec<String> {
        let mut keys = Vec::new();
        for (place, _) in source.match_indices("!(") {
            let (before, after) = (&source[..place], source[place + 2..].trim_start());
            let macro_name = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
            if matches!(macro_name, Some("text" | "msg")) && after.starts_with('"') {
                keys.push(literal(&after[1..]));
            }
        }
        keys
    }

    fn literal(source: &str) -> String {
        let (mut text, mut rest) = (String::new(), source.chars());
        while let Some(character) = rest.next() {
            match character {
                '"' => break,
                '\\' => match rest.next() {
                    Some('\n') => rest = rest.as_str().trim_start().chars(),
                    Some('n') => text.push('\n'),
                    Some(other) => text.push(other),
                    None => break,
                },
                other => text.push(other),
            }
        }
        text
    }

    fn all_keys(directory: &Path, into: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all_keys(&path, into);
            } else if path.file_name().is_some_and(|name| name != "language.rs") {
                into.extend(keys(&fs::read_to_string(&path).unwrap()));
            }
        }
    }

    fn placeholders(text: &str) -> BTreeSet<&str> {
        let parts = text.split('{').skip(1).filter_map(|part| part.split_once('}'));
        parts.map(|(name, _)| name).collect()
    }

    #[test]
    fn chinese_catalogue_is_complete_and_has_no_unused_text() {
        let mut used = BTreeSet::from(
            ["{via} over {transport}", "{subject}: {name}", "calls of {name}"].map(str::to_owned),
        );
        all_keys(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
        let catalogue = parse(CHINESE);
        let known: BTreeSet<_> = catalogue.keys().cloned().collect();
        let missing: Vec<_> = used.difference(&known).collect();
        assert!(missing.is_empty(), "not in zh.po: {missing:#?}");
        let unused: Vec<_> = known.difference(&used).collect();
        assert!(unused.is_empty(), "only in zh.po: {unused:#?}");
        for (english, chinese) in &catalogue {
            assert!(!chinese.is_empty(), "{english}");
            assert_eq!(placeholders(english), placeholders(chinese), "{english}");
        }
        assert_eq!(
            catalogue.len(),
            CHINESE.matches("\nmsgid ").count() - 1,
            "a text is there twice"
        );
    }

    #[test]
    fn keys_are_found_in_source_text() {
        let source = "text!(\"a {x}\", x = 1); msg!(\n  \"b \\\n   c\"); mytext!(\"no\")";
        assert_eq!(keys(source), ["a {x}", "b c"]);
    }

    #[test]
    fn language_comes_from_the_first_variable_that_is_set() {
        let of = |pairs: &[(&str, &str)]| {
            Language::of_locale(|name| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("LANG", "zh_CN.UTF-8")]), Language::Chinese);
        assert_eq!(of(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")]), Language::English);
        assert_eq!(of(&[("LC_ALL", ""), ("LC_MESSAGES", "zh")]), Language::Chinese);
        assert_eq!(of(&[("LANG", "zhz_AA")]), Language::English);
        assert_eq!(of(&[]), Language::English);
    }

    #[test]
    fn language_applies_to_one_call() {
        let yes = || tr("confirmed");
        assert_eq!(in_language(Language::Chinese, yes), "成立");
        assert_eq!(yes(), "confirmed");
        assert_eq!(fill("{a} of {b}, {c}", &[("a", &1), ("b", &2)]), "1 of 2, {c}");
    }
}
