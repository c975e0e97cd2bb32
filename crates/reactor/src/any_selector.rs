//! A demultiplexer whose model is chosen when the program runs: by a flag, or by what the kernel
//! grants.
//!
//! What it does badly: each call looks which one it is. The [reactor](crate::Bound) does not use it,
//! for it is compiled once for each model.

use rustix::io::{self, Errno};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::models::Model;
use crate::models::epoll_edge::EpollEdge;
use crate::models::epoll_level::EpollLevel;
use crate::models::linux_aio::LinuxAio;
use crate::models::nonblocking::Nonblocking;
use crate::models::poll::Poll;
use crate::models::select::Select;
use crate::models::signal::Signal;
use crate::selector::{Demultiplexer, Interest, Ready, Token};

macro_rules! any {
    ($($model:ident: $doc:literal),* $(,)?) => {
        /// Any readiness model, with the operations and under the contract of a [`Demultiplexer`].
        ///
        /// ```
        /// use karez_reactor::{AnyDemultiplexer, Interest, Model, Token};
        /// use std::io::Write;
        /// use std::os::fd::AsFd;
        /// use std::os::unix::net::UnixStream;
        ///
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// for name in ["select", "epoll-edge"] {
        ///     let mut demultiplexer = AnyDemultiplexer::new(name.parse::<Model>()?)?;
        ///     let (mut near, far) = UnixStream::pair()?;
        ///     demultiplexer.register(far.as_fd(), Token(7), Interest::READ)?;
        ///     near.write_all(b"water")?;
        ///     let mut ready = Vec::new();
        ///     while !ready.iter().any(|report: &karez_reactor::Ready| report.readable) {
        ///         demultiplexer.wait(None, &mut ready)?;
        ///     }
        ///     assert_eq!(ready[0].token, Token(7));
        /// }
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnyDemultiplexer {
            $(#[doc = $doc] $model($model),)*
        }

        impl AnyDemultiplexer {
            /// Asks the kernel for what the model needs. The calling thread waits.
            ///
            /// # Errors
            /// Whatever the kernel refuses it with; `EOPNOTSUPP` for a model that does not tell of
            /// readiness ([`Model::demultiplexes`]).
            pub fn new(model: Model) -> io::Result<Self> {
                match model {
                    $(Model::$model => $model::new().map(Self::$model),)*
                    _ => Err(Errno::OPNOTSUPP),
                }
            }

            /// Which one it is.
            #[must_use]
            pub fn model(&self) -> Model {
                match self {
                    $(Self::$model(_) => Model::$model,)*
                }
            }

            /// As [`Demultiplexer::EDGE`].
            #[must_use]
            pub fn is_edge(&self) -> bool {
                match self {
                    $(Self::$model(_) => $model::EDGE,)*
                }
            }

            /// As [`Demultiplexer::FORGETS_CLOSED`].
            #[must_use]
            pub fn forgets_closed(&self) -> bool {
                match self {
                    $(Self::$model(_) => $model::FORGETS_CLOSED,)*
                }
            }

            /// As [`Demultiplexer::WATCHES_EVENTFD`].
            #[must_use]
            pub fn watches_eventfd(&self) -> bool {
                match self {
                    $(Self::$model(_) => $model::WATCHES_EVENTFD,)*
                }
            }

            /// As [`Demultiplexer::register`].
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
                    $(Self::$model(one) => one.register(fd, token, interest),)*
                }
            }

            /// As [`Demultiplexer::modify`].
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
                    $(Self::$model(one) => one.modify(fd, token, interest),)*
                }
            }

            /// As [`Demultiplexer::deregister`].
            ///
            /// # Errors
            /// As there.
            pub fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
                match self {
                    $(Self::$model(one) => one.deregister(fd),)*
                }
            }

            /// As [`Demultiplexer::wait`].
            ///
            /// # Errors
            /// As there.
            pub fn wait(
                &mut self,
                timeout: Option<Duration>,
                ready: &mut Vec<Ready>,
            ) -> io::Result<()> {
                match self {
                    $(Self::$model(one) => one.wait(timeout, ready),)*
                }
            }
        }

        impl Model {
            /// Whether it tells of readiness, so that there is a [`Demultiplexer`] of it.
            #[must_use]
            pub const fn demultiplexes(self) -> bool {
                matches!(self, $(Self::$model)|*)
            }
        }
    };
}

any! {
    EpollEdge: "epoll(7), edge-triggered.",
    EpollLevel: "epoll(7), level-triggered.",
    Poll: "poll(2).",
    Select: "select(2).",
    Signal: "A real-time signal for every change.",
    LinuxAio: "Linux AIO's poll.",
    Nonblocking: "Asking every descriptor, again and again.",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    fn until_told(any: &mut AnyDemultiplexer, wanted: Token) -> Ready {
        let mut ready = Vec::new();
        loop {
            any.wait(None, &mut ready).unwrap();
            if let Some(&told) = ready.iter().find(|told| told.token == wanted && told.readable) {
                return told;
            }
        }
    }

    #[test]
    fn whatever_is_chosen_does_what_it_is_asked() {
        let told_by = |&model: &Model| {
            let mut any = match AnyDemultiplexer::new(model) {
                Ok(any) => any,
                Err(errno) => {
                    assert_eq!((errno, model.demultiplexes()), (Errno::OPNOTSUPP, false));
                    return false;
                }
            };
            assert_eq!(any.model(), model);
            let (near, mut far) = UnixStream::pair().unwrap();
            any.register(near.as_fd(), Token(1), Interest::NONE).unwrap();
            any.modify(near.as_fd(), Token(2), Interest::READ).unwrap();
            far.write_all(b"x").unwrap();
            until_told(&mut any, Token(2));
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
        let told: Vec<_> = Model::ALL.iter().copied().filter(told_by).collect();
        assert_eq!(told.len(), 7, "{told:?}");
        assert!(told.iter().all(|model| model.demultiplexes() && !model.completes()));
    }
}
