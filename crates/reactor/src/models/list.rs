//! The list of models. A new one is a file beside this and a line here: everything that has to know all
//! models is made from the list.
//!
//! A line says: the Cargo feature it needs, its type and variant, its name on command lines, the call
//! that a probe makes, whether that probe changes the calling thread, its age, and its description.

/// Passes the list to the macro `$callback`.
macro_rules! with_models {
    ($callback:ident) => {
        $callback! {
            readiness {
                [] EpollEdge "epoll-edge" "epoll_create1" here
                    "since Linux 2.5.44" "epoll(7), edge-triggered.";
                [] EpollLevel "epoll-level" "epoll_create1" here
                    "since Linux 2.5.44" "epoll(7), level-triggered.";
                [] Poll "poll" "ppoll" here
                    "since Linux 2.1.23, as ppoll 2.6.16" "poll(2).";
                [] Select "select" "pselect6" here
                    "since always, as pselect6 2.6.16" "select(2) with bitmaps of any size.";
                [] Signal "signal" "rt_sigtimedwait" apart
                    "since Linux 2.4" "A real-time signal for every change (fcntl(2), `F_SETSIG`).";
                [#[cfg(feature = "aio")]] LinuxAio "linux-aio"
                    "io_setup (fs.aio-max-nr is shared by all processes)" here
                    "since Linux 2.6, polls 4.18" "Linux AIO's poll (io_submit(2)).";
                [] Nonblocking "nonblocking" "" here
                    "since always" "A call for every connection on every lap: it burns a core.";
            }
            completion {
                [#[cfg(feature = "uring")]] Uring "uring" "io_uring_setup" apart
                    "since Linux 5.1" "io_uring(7).";
                [#[cfg(all(feature = "aio", target_env = "gnu"))]] PosixAio "posix-aio" "posix-aio" here
                    "by glibc 2.1, in threads of its own"
                    "glibc's aio_read(3) and aio_write(3). Not on musl.";
            }
            blocking {
                Blocking "blocking" "since always" "A thread per connection and calls that block.";
            }
        }
    };
}

pub(crate) use with_models;
