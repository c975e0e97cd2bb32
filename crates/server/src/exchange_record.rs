//! The record of an exchange that has ended: one for each request, from which access log lines are made.
//!
//! It borrows from the exchange, so that a record costs no allocation.
//!
//! # Limitations
//!
//! Times are differences of the clock of the event loop, which is read once a turn: a response that is sent
//! in the turn in which its request arrived took none.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use karez_http::{Field, Request, Status};
use karez_reactor::Peer;
use karez_transfer::Via;

use crate::cost::RequestCost;
use crate::host;
use crate::rules::auth::credentials::Credentials;

/// The facts about one exchange.
pub(crate) struct ExchangeRecord<'a> {
    /// The client, for which a proxy may speak.
    pub(crate) client: Peer,
    pub(crate) request_line: &'a [u8],
    /// `None` if the received bytes were no request.
    pub(crate) request: Option<&'a Request>,
    /// 499 if the client closed the connection before there was a response.
    pub(crate) status: Status,
    /// Bytes of the response head that were sent.
    pub(crate) head_bytes: u64,
    /// Bytes of the body that were sent.
    pub(crate) body_bytes: u64,
    /// Time from the end of the request to the response head.
    pub(crate) head_time: Option<Duration>,
    /// Time from the end of the request to the last byte of the response.
    pub(crate) time: Duration,
    /// The via of the last file that was sent.
    pub(crate) via: Option<Via>,
    /// The resource needed a password.
    pub(crate) asked_password: bool,
    /// The request asked for the health of the server.
    pub(crate) is_health: bool,
    /// The first name of the site; empty if it has none.
    pub(crate) site: &'a str,
    /// Present on a TLS connection.
    pub(crate) tls: Option<TlsDescription>,
    /// Present with `--explain`.
    pub(crate) cost: Option<&'a RequestCost>,
}

/// The negotiated TLS of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TlsDescription {
    pub(crate) version: &'static str,
    pub(crate) cipher: &'static str,
}

impl<'a> ExchangeRecord<'a> {
    /// Appends the address of the client; `unix:` for a peer of a UNIX socket, as nginx does.
    pub(crate) fn push_client(&self, out: &mut Vec<u8>) {
        match self.client.address.map(|address| address.ip()) {
            // Each line has one, so it is written without the formatting machinery.
            Some(IpAddr::V4(address)) => {
                for (index, octet) in address.octets().into_iter().enumerate() {
                    out.extend_from_slice(if index > 0 { b"." } else { b"" });
                    out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
                }
            }
            Some(IpAddr::V6(address)) => {
                // Writing to memory cannot fail.
                let _written = write!(out, "{address}");
            }
            None => out.extend_from_slice(b"unix:"),
        }
    }

    /// Returns the value of a field of the request.
    pub(crate) fn field(&self, field: Field) -> Option<&'a [u8]> {
        self.request?.value(field)
    }

    /// Returns the values of a field of the request, by its name in lower case; several as a list.
    pub(crate) fn field_by_name(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        let request = self.request?;
        if name == b"host" {
            // HTTP/2 may have the authority alone.
            return host::authority(request).map(Cow::from);
        }
        let values = request.fields().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values
            .map(|(_, value)| Cow::from(value))
            .reduce(|list, value| [&list[..], b", ", &value].concat().into())
    }

    /// Returns the host that the request names, without the port.
    pub(crate) fn host(&self) -> Option<&'a [u8]> {
        host::authority(self.request?).map(host::host)
    }

    /// Returns the user whose password was asked for; with status 401 that is a claim.
    pub(crate) fn user(&self) -> Option<Vec<u8>> {
        let request = self.request.filter(|_| self.asked_password)?;
        Credentials::of(request).map(|credentials| credentials.user().to_vec())
    }
}
