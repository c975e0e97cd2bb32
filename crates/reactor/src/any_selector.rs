//! A selector whose model is chosen at run time.
//!
//! # Limitations
//!
//! Each call has to find out which model it is. The [server](crate::Server) does not use it: its event
//! loop is compiled once for each model.

use rustix::io::{self, Errno};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::models::Model;
use crate::models::epoll_edge::EpollEdge;
use crate::models::epoll_level::EpollLevel;
#[cfg(feature = "aio")]
use crate::models::linux_aio::LinuxAio;
use crate::models::list::with_models;
use crate::models::nonblocking::Nonblocking;
use crate::models::poll::Poll;
use crate::models::select::Select;
use crate::models::signal::Signal;
use crate::selector::{Interest, Ready, Selector, Token};

macro_rules! any {
    (
        readiness {
            $([$(#[$cfg:meta])?] $model:ident $name:literal $call:literal $thread:ident
                $since:literal $doc:literal;)*
        }
        completion $completion:tt
        blocking $blocking:tt
    ) => {
        /// Any readiness model, with the operations and under the contract of a [`Selector`].
        ///
        /// ```
        /// use karez_reactor::{AnySelector, Interest, Model, Token};
        /// use std::io::Write;
        /// use std::os::fd::AsFd;
        /// use std::os::unix::net::UnixStream;
        ///
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// for name in ["select", "epoll-edge"] {
        ///     let mut selector = AnySelector::new(name.parse::<Model>()?)?;
        ///     let (mut near, far) = UnixStream::pair()?;
        ///     selector.register(far.as_fd(), Token(7), Interest::READ)?;
        ///     near.write_all(b"water")?;
        ///     let mut ready = Vec::new();
        ///     while !ready.iter().any(|report: &karez_reactor::Ready| report.readable) {
        ///         selector.wait(None, &mut ready)?;
        ///     }
        ///     assert_eq!(ready[0].token, Token(7));
        /// }
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnySelector {
            $($(#[$cfg])? #[doc = $doc] $model($model),)*
        }

        impl AnySelector {
            /// Sets the model up. Only the calling thread may wait.
            ///
            /// # Errors
            /// As [`Selector::new`]; `EOPNOTSUPP` for a model that does not report readiness
            /// ([`Model::is_readiness`]) or is not compiled in.
            pub fn new(model: Model) -> io::Result<Self> {
                match model {
                    $($(#[$cfg])? Model::$model => $model::new().map(Self::$model),)*
                    _ => Err(Errno::OPNOTSUPP),
                }
            }

            /// Returns the model.
            #[must_use]
            pub fn model(&self) -> Model {
                match self {
                    $($(#[$cfg])? Self::$model(_) => Model::$model,)*
                }
            }

            /// Returns [`Selector::EDGE`] of the model.
            #[must_use]
            pub fn is_edge(&self) -> bool {
                match self {
                    $($(#[$cfg])? Self::$model(_) => $model::EDGE,)*
                }
            }

            /// Returns [`Selector::CLOSE_DEREGISTERS`] of the model.
            #[must_use]
            pub fn close_deregisters(&self) -> bool {
                match self {
                    $($(#[$cfg])? Self::$model(_) => $model::CLOSE_DEREGISTERS,)*
                }
            }

            /// Returns [`Selector::WATCHES_EVENTFD`] of the model.
            #[must_use]
            pub fn watches_eventfd(&self) -> bool {
                match self {
                    $($(#[$cfg])? Self::$model(_) => $model::WATCHES_EVENTFD,)*
                }
            }

            /// Calls [`Selector::register`] of the model.
            ///
            /// # Errors
            /// As there.
            pub fn register(
                &mut self,
                fd: BorrowedFd<'_>,
                token: Token,
                interest: Interest,
            ) -> io::Result<()> {
                match self {
                    $($(#[$cfg])? Self::$model(one) => one.register(fd, token, interest),)*
                }
            }

            /// Calls [`Selector::modify`] of the model.
            ///
            /// # Errors
            /// As there.
            pub fn modify(
                &mut self,
                fd: BorrowedFd<'_>,
                token: Token,
                interest: Interest,
            ) -> io::Result<()> {
                match self {
                    $($(#[$cfg])? Self::$model(one) => one.modify(fd, token, interest),)*
                }
            }

            /// Calls [`Selector::deregister`] of the model.
            ///
            /// # Errors
            /// As there.
            pub fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
                match self {
                    $($(#[$cfg])? Self::$model(one) => one.deregister(fd),)*
                }
            }

            /// Calls [`Selector::wait`] of the model.
            ///
            /// # Errors
            /// As there.
            pub fn wait(
                &mut self,
                timeout: Option<Duration>,
                ready: &mut Vec<Ready>,
            ) -> io::Result<()> {
                match self {
                    $($(#[$cfg])? Self::$model(one) => one.wait(timeout, ready),)*
                }
            }
        }
    };
}

with_models!(any);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    fn wait_for(any: &mut AnySelector, wanted: Token) -> Ready {
        let mut ready = Vec::new();
        loop {
            any.wait(None, &mut ready).unwrap();
            if let Some(&found) = ready.iter().find(|found| found.token == wanted && found.readable)
            {
                return found;
            }
        }
    }

    #[test]
    fn each_model_reports_what_is_registered() {
        let reports = |&model: &Model| {
            let mut any = match AnySelector::new(model) {
                Ok(any) => any,
                Err(errno) => {
                    assert_eq!((errno, model.is_readiness()), (Errno::OPNOTSUPP, false));
                    return false;
                }
            };
            assert_eq!(any.model(), model);
            let (near, mut far) = UnixStream::pair().unwrap();
            any.register(near.as_fd(), Token(1), Interest::NONE).unwrap();
            any.modify(near.as_fd(), Token(2), Interest::READ).unwrap();
            far.write_all(b"x").unwrap();
            wait_for(&mut any, Token(2));
            { &near }.read_exact(&mut [0]).unwrap();
            any.deregister(near.as_fd()).unwrap();
            far.write_all(b"y").unwrap();
            let mut ready = Vec::new();
            any.wait(Some(Duration::ZERO), &mut ready).unwrap();
            assert!(ready.is_empty(), "{model}: {ready:?}");
            assert_eq!(any.watches_eventfd(), model != Model::Signal);
            assert_eq!(any.is_edge(), matches!(model, Model::EpollEdge | Model::Signal));
            true
        };
        let found: Vec<_> = Model::ALL.iter().copied().filter(reports).collect();
        assert_eq!(found.len(), if cfg!(feature = "aio") { 7 } else { 6 }, "{found:?}");
        assert!(found.iter().all(|model| model.is_readiness() && !model.is_completion()));
    }
}
