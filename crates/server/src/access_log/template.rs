//! Log formats of one's own: a text with variables, which have the names and meanings of nginx's.
//!
//! # Limitations
//!
//! There are no variables for fields of the response (`$sent_http_…`). Fields that have passwords cannot be
//! logged.

use std::fmt;
use std::str::FromStr;

use variables::Variable;

use crate::exchange_record::ExchangeRecord;
use crate::http_clock::HttpDate;

mod variables;

/// A format with variables: `$name` or `${name}`; `$$` is a dollar.
///
/// ```
/// use karez_server::LogTemplate;
///
/// let template = r#"$remote_addr "$request" $status $request_time"#.parse::<LogTemplate>();
/// assert!(template.is_ok());
/// let error = "$remote_adr".parse::<LogTemplate>().unwrap_err().to_string();
/// assert!(error.starts_with("unknown variable $remote_adr"), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Variable(Variable),
}

/// A text that is no format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadLogTemplate {
    /// A control character, which would not keep to its line.
    Control,
    /// A `$` without the name of a variable behind it.
    NoName,
    /// A variable that does not exist.
    Unknown(String),
    /// A variable that would log passwords.
    Secret(String),
    /// There is no variable, so that all lines would be equal.
    NoVariable,
}

impl LogTemplate {
    /// Appends the line of a record.
    pub(super) fn push(
        &self,
        out: &mut Vec<u8>,
        record: &ExchangeRecord<'_>,
        now: HttpDate,
        json: bool,
    ) {
        let Self(parts) = self;
        for part in parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Variable(variable) => variable.push(out, record, now, json),
            }
        }
    }
}

impl FromStr for LogTemplate {
    type Err = BadLogTemplate;

    fn from_str(text: &str) -> Result<Self, BadLogTemplate> {
        if text.chars().any(|character| character.is_control() && character != '\t') {
            return Err(BadLogTemplate::Control);
        }
        let (mut parts, mut literal, mut rest) = (Vec::new(), Vec::new(), text);
        while let Some((before, behind)) = rest.split_once('$') {
            literal.extend_from_slice(before.as_bytes());
            if let Some(behind) = behind.strip_prefix('$') {
                literal.push(b'$');
                rest = behind;
                continue;
            }
            let (name, behind) = name(behind).ok_or(BadLogTemplate::NoName)?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Variable(variable(name)?));
            rest = behind;
        }
        literal.extend_from_slice(rest.as_bytes());
        if parts.is_empty() {
            return Err(BadLogTemplate::NoVariable);
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self(parts))
    }
}

/// Splits text behind a `$` into the name of the variable, with or without braces, and the rest.
fn name(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = match text.strip_prefix('{') {
        Some(text) => text.split_once('}')?,
        None => {
            let belongs = |character: char| character.is_ascii_alphanumeric() || character == '_';
            text.split_at(text.find(|character| !belongs(character)).unwrap_or(text.len()))
        }
    };
    (!name.is_empty()).then_some((name, rest))
}

fn variable(name: &str) -> Result<Variable, BadLogTemplate> {
    if Variable::is_secret(name) {
        return Err(BadLogTemplate::Secret(name.to_owned()));
    }
    Variable::named(name).ok_or_else(|| BadLogTemplate::Unknown(name.to_owned()))
}

impl fmt::Display for BadLogTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("a control character"),
            Self::NoName => f.write_str("a $ without a variable; a dollar is $$"),
            Self::Secret(name) => write!(f, "${name} would log passwords"),
            Self::NoVariable => f.write_str("no variable, such as $request"),
            Self::Unknown(name) => {
                write!(f, "unknown variable ${name}; known:")?;
                Variable::NAMES.iter().try_for_each(|(name, _)| write!(f, " ${name}"))?;
                f.write_str(" $http_NAME")
            }
        }
    }
}

impl std::error::Error for BadLogTemplate {}
