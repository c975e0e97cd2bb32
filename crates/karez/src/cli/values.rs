//! Parsers of argument values. Those of a fixed set list it in help and completions.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use karez_reactor::{Address, Model, Topology};
use karez_server::Substitutions;
use karez_transfer::{CachePolicy, Direction, Via};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

/// The name that selects a model automatically.
pub(super) const AUTO: &str = "auto";

/// Maximum of `--jobs`: each is a thread with open files.
const MAX_JOBS: usize = 256;

/// Maximum duration. Deadlines are added to the clock, which must not overflow.
const MAX_DURATION: Duration = Duration::from_secs(365 * 86_400);

/// A model, or `None` for automatic selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModelChoice(pub(crate) Option<Model>);

/// An address to listen on, with or without a scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress {
    /// `None` if it depends on whether there are certificates.
    pub(crate) scheme: Option<Scheme>,
    pub(crate) address: Address,
}

/// The scheme of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    #[cfg(feature = "tls")]
    Https,
}

impl Scheme {
    /// Returns the scheme of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            #[cfg(feature = "tls")]
            "https" => Some(Self::Https),
            _ => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once(':') {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            #[cfg(feature = "tls")]
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            #[cfg(not(feature = "tls"))]
            Some(("https", _)) => return Err("this karez is built without TLS".to_owned()),
            _ => (None, text),
        };
        Ok(Self { scheme, address: rest.parse()? })
    }
}

/// Makes a parser of the names of a type that has `ALL` and `name`.
macro_rules! named {
    ($type:ty) => {
        PossibleValuesParser::new(<$type>::ALL.iter().map(|value| value.name())).map(|name| {
            let found = <$type>::ALL.iter().copied().find(|value| value.name() == name);
            found.unwrap_or(<$type>::ALL[0])
        })
    };
}

pub(super) fn models() -> impl TypedValueParser<Value = ModelChoice> {
    let names = [AUTO].into_iter().chain(Model::ALL.iter().map(|model| model.name()));
    PossibleValuesParser::new(names)
        .map(|name| ModelChoice(Model::ALL.iter().copied().find(|model| model.name() == name)))
}

pub(super) fn vias() -> impl TypedValueParser<Value = Via> {
    let vias = Direction::FileToSocket.vias();
    PossibleValuesParser::new(vias.iter().map(|via| via.name())).try_map(|name| name.parse())
}

/// Parses a via between files. Without edits `cow` is the same as `mmap`, so it is not offered.
pub(super) fn copy_vias() -> impl TypedValueParser<Value = Via> {
    let vias = Direction::FileToFile.vias().iter().filter(|&&via| via != Via::Cow);
    PossibleValuesParser::new(vias.map(|via| via.name())).try_map(|name| name.parse())
}

pub(super) fn cache_policies() -> impl TypedValueParser<Value = CachePolicy> {
    named!(CachePolicy)
}

pub(super) fn topologies() -> impl TypedValueParser<Value = Topology> {
    named!(Topology)
}

pub(super) fn index_name(name: &str) -> Result<String, &'static str> {
    if name.contains('/') || name == "." || name == ".." {
        return Err("must be a name in the directory, not a path");
    }
    Ok(name.to_owned())
}

pub(super) fn substitution(text: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let (from, to) = text.split_once('=').ok_or("it has no '='")?;
    let pair = (from.as_bytes().to_vec(), to.as_bytes().to_vec());
    Substitutions::new(std::slice::from_ref(&pair)).map_err(|error| error.to_string())?;
    Ok(pair)
}

pub(super) fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(jobs) if jobs.get() <= MAX_JOBS => Ok(jobs),
        Ok(_) => Err(format!("no more than {MAX_JOBS} are supported")),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a number of bytes with an optional suffix, as curl does: `K`, `M` and `G` are powers of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| "expected a number of bytes such as 65536, 64K, 10M or 1G".to_owned())?;
    count.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

pub(super) fn rate(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(bytes(text)?).ok_or_else(|| "a rate of 0 would send nothing".to_owned())
}

/// Parses the memory of listings: less than that of an empty directory would refuse all of them.
pub(super) fn listing_memory(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        count if count < 64 << 10 => Err("the minimum is 64K".to_owned()),
        count => Ok(count),
    }
}

pub(super) fn lowat(text: &str) -> Result<NonZeroU32, String> {
    let count = u32::try_from(bytes(text)?).map_err(|_| "the maximum is 4G - 1".to_owned())?;
    NonZeroU32::new(count).ok_or_else(|| "0 would have no effect".to_owned())
}

/// Parses a URL that can be requested.
pub(super) fn url(text: &str) -> Result<String, &'static str> {
    let parsed: ureq::http::Uri = text.parse().map_err(|_| "not a URL")?;
    let schemes = if cfg!(feature = "tls") { &["http", "https"][..] } else { &["http"] };
    match parsed.scheme_str() {
        Some(scheme) if schemes.contains(&scheme) && parsed.host().is_some() => Ok(text.to_owned()),
        Some("https") if !cfg!(feature = "tls") => Err("this karez is built without TLS"),
        _ => Err("expected a URL such as http://127.0.0.1:8080/healthz"),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if parsed > MAX_DURATION {
        return Err("the maximum is a year".to_owned());
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_suffixes_of_curl() {
        for (text, count) in [("0", 0), ("65536", 65536), ("64k", 65536), ("10M", 10 << 20)] {
            assert_eq!(bytes(text), Ok(count), "{text}");
        }
        assert_eq!(lowat("3G").map(NonZeroU32::get), Ok(3 << 30));
        for text in ["", "K", "-1", "1.5M", "1KB", "99999999999G", "1 M"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(lowat("4G").is_err() && lowat("0").is_err());
        assert!(rate("0").is_err());
        assert!(listing_memory("63K").is_err());
        assert_eq!(listing_memory("64K"), Ok(64 << 10));
    }
}
