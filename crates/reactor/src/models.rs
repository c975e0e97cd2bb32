//! The models: their names, and one file for each.

use std::str::FromStr;
use std::{fmt, io, thread};

use karez_transfer::Via;

#[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
use crate::driver::Driver;
use crate::error::{named, no_thread};
use crate::selector::Selector;

mod epoll;
pub(crate) mod epoll_edge;
pub(crate) mod epoll_level;
#[cfg(feature = "aio")]
pub(crate) mod linux_aio;
pub(crate) mod list;
pub(crate) mod nonblocking;
pub(crate) mod poll;
#[cfg(all(feature = "aio", target_env = "gnu"))]
pub(crate) mod posix_aio;
pub(crate) mod select;
pub(crate) mod signal;
#[cfg(feature = "uring")]
pub(crate) mod uring;

use epoll_edge::EpollEdge;
use epoll_level::EpollLevel;
#[cfg(feature = "aio")]
use linux_aio::LinuxAio;
use nonblocking::Nonblocking;
use poll::Poll;
#[cfg(all(feature = "aio", target_env = "gnu"))]
use posix_aio::PosixAio;
use select::Select;
use signal::Signal;
#[cfg(feature = "uring")]
use uring::Uring;

macro_rules! define {
    (
        readiness {
            $([$(#[$r_cfg:meta])?] $readiness:ident $r_name:literal $r_call:literal $r_thread:ident
                $r_since:literal $r_doc:literal;)*
        }
        completion {
            $([$(#[$c_cfg:meta])?] $completion:ident $c_name:literal $c_call:literal $c_thread:ident
                $c_since:literal $c_doc:literal;)*
        }
        blocking { $blocking:ident $b_name:literal $b_since:literal $b_doc:literal; }
    ) => {
        /// An I/O model: how an event loop, or a thread, waits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Model {
            $(#[doc = $r_doc] $readiness,)*
            $(#[doc = $c_doc] $completion,)*
            #[doc = $b_doc]
            $blocking,
        }

        impl Model {
            /// Every model that is compiled in, in the order in which help and tests show them.
            pub const ALL: &'static [Self] = &[
                $($(#[$r_cfg])? Self::$readiness,)*
                $($(#[$c_cfg])? Self::$completion,)*
                Self::$blocking,
            ];

            /// Every model, compiled in or not.
            const KNOWN: &'static [Self] =
                &[$(Self::$readiness,)* $(Self::$completion,)* Self::$blocking];

            /// Returns the name used on command lines and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$readiness => $r_name,)*
                    $(Self::$completion => $c_name,)*
                    Self::$blocking => $b_name,
                }
            }

            /// Returns the first version that has it.
            #[must_use]
            pub const fn since(self) -> &'static str {
                match self {
                    $(Self::$readiness => $r_since,)*
                    $(Self::$completion => $c_since,)*
                    Self::$blocking => $b_since,
                }
            }

            /// Returns whether it reports readiness, so that there is a [`Selector`] of it.
            #[must_use]
            pub const fn is_readiness(self) -> bool {
                matches!(self, $(Self::$readiness)|*)
            }

            /// Returns whether it reports results, and not readiness: the kernel, or a thread, makes the
            /// calls.
            #[must_use]
            pub const fn is_completion(self) -> bool {
                matches!(self, $(Self::$completion)|*)
            }

            /// Returns the via by which it moves a file where this one is asked for: a readiness model
            /// supports any, a [completion](Self::is_completion) model those it has operations for.
            #[must_use]
            pub fn supported_via(self, via: Via) -> Via {
                match self {
                    $($(#[$c_cfg])? Self::$completion => $completion::supported_via(via),)*
                    _ => via,
                }
            }

            /// Sets the model up and drops it, so that an error is reported before a client connects.
            ///
            /// # Errors
            /// Named after the call: `epoll_create1: Function not implemented (os error 38)`; or that
            /// the model is not compiled in.
            pub fn probe(self) -> io::Result<()> {
                match self {
                    $($(#[$r_cfg])? Self::$readiness => {
                        $r_thread(|| $readiness::new().map(drop).map_err(named($r_call)))
                    })*
                    $($(#[$c_cfg])? Self::$completion => {
                        $c_thread(|| $completion::new().map(drop).map_err(named($c_call)))
                    })*
                    Self::$blocking => Ok(()),
                    #[allow(unreachable_patterns, reason = "all models may be compiled in")]
                    _ => Err(self.not_compiled()),
                }
            }
        }
    };
}

list::with_models!(define);

impl Model {
    /// The models that are tried, the first first, where none is chosen. Where epoll(7) is refused,
    /// level-triggered epoll is, too. Signals are bounded for each user and process, and `nonblocking`
    /// burns a core, so these have to be chosen.
    pub const AUTO: &'static [Self] = &[Self::EpollEdge, Self::Poll, Self::Select, Self::Blocking];

    /// Returns whether it is compiled in.
    #[must_use]
    pub fn is_compiled(self) -> bool {
        Self::ALL.contains(&self)
    }

    pub(crate) fn not_compiled(self) -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, UnknownModel { not_compiled: Some(self) })
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Self, UnknownModel> {
        let known = Self::KNOWN.iter().copied().find(|model| model.name() == name);
        match known.ok_or(UnknownModel { not_compiled: None })? {
            model if model.is_compiled() => Ok(model),
            model => Err(UnknownModel { not_compiled: Some(model) }),
        }
    }
}

/// No model has this name, or it is not compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownModel {
    not_compiled: Option<Model>,
}

impl fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
        let names = names.join(", ");
        match self.not_compiled {
            Some(model) => write!(f, "model {model} is not compiled in; there are {names}"),
            None => write!(f, "no model has this name; there are {names}"),
        }
    }
}

impl std::error::Error for UnknownModel {}

/// Probes in the calling thread.
fn here(probe: fn() -> io::Result<()>) -> io::Result<()> {
    probe()
}

/// Probes in a thread of its own, for a model that changes the thread that makes it: its signal mask, or
/// by an interruption when a ring is closed.
fn apart(probe: fn() -> io::Result<()>) -> io::Result<()> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("karez-probe".to_owned());
        let thread = thread.spawn_scoped(scope, probe).map_err(no_thread("karez-probe"))?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the probe panicked")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_its_name() {
        for &model in Model::KNOWN {
            let parsed = model.name().parse();
            if model.is_compiled() {
                assert_eq!(parsed, Ok(model));
            } else {
                let message = format!("model {model} is not compiled in; there are ");
                let error: UnknownModel = parsed.unwrap_err();
                assert!(error.to_string().starts_with(&message), "{error}");
                let error = model.probe().unwrap_err();
                assert!(error.to_string().starts_with(&message), "{error}");
            }
        }
        let error = "iocp".parse::<Model>().unwrap_err();
        assert!(error.to_string().starts_with("no model has this name"), "{error}");
    }

    #[test]
    fn features_decide_which_models_are_compiled() {
        assert_eq!(Model::Uring.is_compiled(), cfg!(feature = "uring"));
        assert_eq!(Model::LinuxAio.is_compiled(), cfg!(feature = "aio"));
        let posix_aio = cfg!(all(feature = "aio", target_env = "gnu"));
        assert_eq!(Model::PosixAio.is_compiled(), posix_aio);
        assert!(Model::AUTO.iter().all(|model| model.is_compiled()));
    }
}
