//! Options of TCP listeners that each accepted connection inherits, so they cost no call per connection:
//! `TCP_CONGESTION` (tcp(7), Linux 2.6.13), `SO_MAX_PACING_RATE` (Linux 3.13), `TCP_NOTSENT_LOWAT`
//! (Linux 3.12), `TCP_USER_TIMEOUT` (tcp(7), Linux 2.6.37).
//!
//! # Limitations
//!
//! UNIX sockets have none of them. A rate holds for a connection, not for a client, which may have many;
//! those may share one ([`SharedRate`](crate::SharedRate)).

use karez_sys::{set_max_pacing_rate, set_notsent_lowat};
use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_congestion, set_tcp_user_timeout};
use std::fmt::Display;
use std::fs;
use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::error::named;

/// Options of the connections that a TCP listener accepts. `TcpOptions::default()` leaves all of them to
/// the system; change the fields that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// The congestion control, such as `cubic` (tcp(7), `TCP_CONGESTION`).
    pub congestion: Option<String>,
    /// The highest rate of a connection, in bytes per second (`SO_MAX_PACING_RATE`). The kernel paces
    /// the packets, by the queueing discipline `fq` or, since Linux 4.13, by a timer of TCP.
    pub max_pacing_rate: Option<NonZeroU64>,
    /// The bytes that have not been sent of which a connection may hold so many before it stops being
    /// writable (`TCP_NOTSENT_LOWAT`). The kernel then holds less memory for a
    /// slow reader, and the event loop is woken more often for a fast one.
    pub notsent_lowat: Option<NonZeroU32>,
    /// How long sent bytes may stay unacknowledged, and bytes unsent because the peer has no room for them,
    /// before the kernel ends the connection with `ETIMEDOUT` (`TCP_USER_TIMEOUT`, RFC 9293 §3.8.3). It
    /// also holds for a connection that has been closed before all of them were sent.
    pub user_timeout: Option<Duration>,
}

impl TcpOptions {
    /// Sets the options on a listener, for the connections that it accepts from now on. `at`: its address, for an error.
    pub(crate) fn set(&self, listener: impl AsFd, at: impl Display) -> io::Result<()> {
        let listener = listener.as_fd();
        if let Some(name) = &self.congestion {
            set_tcp_congestion(listener, name).map_err(|errno| no_congestion(name, errno, &at))?;
        }
        if let Some(rate) = self.max_pacing_rate {
            set_max_pacing_rate(listener, rate.get())
                .map_err(named(format!("setsockopt SO_MAX_PACING_RATE {at}")))?;
        }
        if let Some(bytes) = self.notsent_lowat {
            set_notsent_lowat(listener, bytes.get())
                .map_err(named(format!("setsockopt TCP_NOTSENT_LOWAT {at}")))?;
        }
        if let Some(time) = self.user_timeout {
            // 0 would be the time of the system, and the kernel refuses more than this.
            let milliseconds = time.as_millis().clamp(1, i32::MAX as u128);
            set_tcp_user_timeout(listener, u32::try_from(milliseconds).unwrap_or(u32::MAX))
                .map_err(named(format!("setsockopt TCP_USER_TIMEOUT {at}")))?;
        }
        Ok(())
    }
}

/// Names the congestion controls that the kernel permits: all that are loaded for root, whose request
/// loads others, and those of another list for anyone else (`EPERM`).
fn no_congestion(name: &str, errno: Errno, at: impl Display) -> io::Error {
    let (word, list) = match errno {
        Errno::PERM => ("permitted", "tcp_allowed_congestion_control"),
        _ => ("available", "tcp_available_congestion_control"),
    };
    let error = named(format!("setsockopt TCP_CONGESTION {name} {at}"))(errno);
    match fs::read_to_string(format!("/proc/sys/net/ipv4/{list}")) {
        Ok(names) => io::Error::new(error.kind(), format!("{error}; {word}: {}", names.trim())),
        Err(_) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_unknown_congestion_control_is_named_with_the_available_ones() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = TcpOptions { congestion: Some("nonesuch".into()), ..TcpOptions::default() };
        let error = options.set(&listener, "127.0.0.1:80").unwrap_err();
        let begin = "setsockopt TCP_CONGESTION nonesuch 127.0.0.1:80: No such file or directory";
        assert!(error.to_string().starts_with(begin), "{error}");
        assert!(error.to_string().contains("; available: "), "{error}");
    }
}
