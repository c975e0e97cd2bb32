//! The keys of a configuration, which are the arguments of the command line (clap).

use clap::builder::ValueRange;
use clap::error::ErrorKind::{ArgumentConflict, MissingRequiredArgument};
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, ValueHint};
use std::any::TypeId;
use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroUsize};

use crate::cli::{ServeArgs, SiteTable};

/// The definition of a set of keys.
pub(super) struct Keys(Command);

/// A key.
#[derive(Clone, Copy)]
pub(super) struct Key<'a>(&'a Arg);

/// The form of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// True or false.
    Switch,
    /// One value.
    One,
    /// Any number of values.
    Many,
}

impl Keys {
    /// Returns the keys at the top level.
    pub(super) fn of_server() -> Self {
        Self::new(ServeArgs::augment_args(Command::new("karez")))
    }

    /// Returns the keys of a `[[site]]`.
    pub(super) fn of_site() -> Self {
        Self::new(SiteTable::augment_args(Command::new("karez")))
    }

    fn new(command: Command) -> Self {
        let mut command =
            command.no_binary_name(true).disable_help_flag(true).disable_version_flag(true);
        command.build();
        Self(command)
    }

    /// Returns the keys in the order of their definition.
    pub(super) fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        let of_file = |arg: &&Arg| !matches!(arg.get_id().as_str(), "config");
        self.0.get_arguments().filter(of_file).map(Key)
    }

    pub(super) fn find(&self, name: &str) -> Option<Key<'_>> {
        self.iter().find(|key| key.name() == name)
    }

    pub(super) fn find_id(&self, id: &str) -> Option<Key<'_>> {
        self.iter().find(|key| key.id() == id)
    }

    /// Returns the name that is most similar to one that is unknown.
    pub(super) fn nearest(&self, unknown: &str) -> Option<&str> {
        let unknown = unknown.to_ascii_lowercase().replace('_', "-");
        let scored = self.iter().map(|key| (strsim::jaro_winkler(&unknown, key.name()), key.0));
        let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
        let (_, arg) = best.filter(|(score, _)| *score > 0.8)?;
        Some(Key(arg).name())
    }

    /// Parses one value alone.
    ///
    /// # Errors
    /// The reason why it is invalid. That other keys are missing beside it is none.
    pub(super) fn validate(&self, key: Key<'_>, value: OsString) -> Result<(), clap::Error> {
        let separator = (key.id() == Key::ROOT).then(|| OsString::from("--"));
        let arguments = separator.into_iter().chain([key.argument(value)]).collect();
        match self.parse(arguments) {
            Err(error) if !matches!(error.kind(), MissingRequiredArgument | ArgumentConflict) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Parses arguments.
    pub(super) fn parse(&self, arguments: Vec<OsString>) -> Result<ArgMatches, clap::Error> {
        self.0.clone().try_get_matches_from(arguments)
    }
}

impl<'a> Key<'a> {
    /// The id of the directory of a site.
    pub(super) const ROOT: &'static str = "dir";

    /// Returns the id of the argument.
    pub(super) fn id(self) -> &'a str {
        self.0.get_id().as_str()
    }

    /// Returns the name in a file: that of the flag, and `root` for the directory.
    pub(super) fn name(self) -> &'a str {
        self.0.get_long().unwrap_or("root")
    }

    pub(super) fn form(self) -> Form {
        match self.0.get_action() {
            ArgAction::SetTrue => Form::Switch,
            ArgAction::Append => Form::Many,
            _ => Form::One,
        }
    }

    /// Returns whether it may stand without a value, as `true` in a file.
    pub(super) fn may_be_bare(self) -> bool {
        self.0.get_num_args().is_some_and(|count: ValueRange| count.min_values() == 0)
    }

    /// Returns whether a value is a number.
    pub(super) fn is_number(self) -> bool {
        let id = self.0.get_value_parser().type_id();
        id == TypeId::of::<NonZeroUsize>() || id == TypeId::of::<NonZeroU32>()
    }

    /// Returns where the path begins in a value, which is relative to the file that names it; `None` if it
    /// has none. A rule may have a glob in front.
    pub(super) fn path_in(self, value: &str) -> Option<usize> {
        let begin = match (self.id(), self.0.get_value_hint()) {
            ("auth", _) => value.find('=').map_or(0, |at| at + 1),
            (_, ValueHint::FilePath | ValueHint::DirPath) => 0,
            _ => return None,
        };
        (begin < value.len() || begin == 0).then_some(begin)
    }

    /// Returns whether a path is that of a directory.
    pub(super) fn is_directory(self) -> bool {
        self.0.get_value_hint() == ValueHint::DirPath
    }

    /// Returns whether a site takes the value of the top level.
    pub(super) fn is_inherited(self) -> bool {
        !matches!(self.id(), Self::ROOT | "hosts" | "tls_cert" | "tls_key")
    }

    /// Returns the names of a fixed set of values.
    pub(super) fn possible_values(self) -> Vec<String> {
        let values = self.0.get_possible_values();
        values.iter().map(|value| value.get_name().to_owned()).collect()
    }

    /// Returns the values without any that is given.
    pub(super) fn defaults(self) -> Vec<OsString> {
        let defaults = self.0.get_default_values().iter();
        defaults.map(|value| value.to_os_string()).collect()
    }

    /// Returns the documentation.
    pub(super) fn help(self) -> String {
        let help = self.0.get_long_help().or_else(|| self.0.get_help());
        help.map(ToString::to_string).unwrap_or_default()
    }

    /// Returns the heading under which the help has it.
    pub(super) fn heading(self) -> &'a str {
        self.0.get_help_heading().unwrap_or("Server")
    }

    /// Returns the arguments that give it this value; the directory has no flag.
    pub(super) fn argument(self, value: OsString) -> OsString {
        match self.0.get_long() {
            Some(long) => {
                let mut argument = OsString::from(format!("--{long}="));
                argument.push(value);
                argument
            }
            None => value,
        }
    }

    /// Returns the argument without a value.
    pub(super) fn bare(self) -> OsString {
        format!("--{}", self.name()).into()
    }
}
