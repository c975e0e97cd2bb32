//! The header of the PROXY protocol, in front of everything else on a connection, also of a TLS handshake.

use std::num::NonZeroUsize;

use karez_http::proxy_protocol::{self, Progress, ProxiedClient};
use karez_reactor::{Io, RecordType};

use super::Connection;
use super::admission::ProxyHeader;
use crate::address_limits::connections::Verdict;
use crate::closing::CloseReason;
use crate::job::FileJob;

impl Connection {
    /// Waits for the header, of which at least so many bytes are missing.
    pub(super) fn wait_for_header(
        &mut self,
        header: ProxyHeader,
        missing: usize,
        io: &mut Io<'_, FileJob>,
    ) {
        // Where the transport must not read ahead, no byte behind the header may be taken.
        let most = self.transport.receive_limit().and(NonZeroUsize::new(missing));
        io.receive(header.due, header.bytes.is_empty(), most);
        self.admission.set_header(header);
    }

    /// Receives a part of the header, and what follows it.
    pub(super) fn receive_header(
        &mut self,
        mut header: ProxyHeader,
        received: &[u8],
        kind: RecordType,
        io: &mut Io<'_, FileJob>,
    ) {
        header.bytes.extend_from_slice(received);
        match proxy_protocol::parse(&header.bytes) {
            Ok(Progress::Incomplete(missing)) => self.wait_for_header(header, missing, io),
            Ok(Progress::Complete { client, length }) => {
                match client {
                    ProxiedClient::Address(address) => self.address = Some(address),
                    ProxiedClient::Unix => self.address = None,
                    ProxiedClient::Proxy => {}
                }
                self.count();
                if self.verdict() == Verdict::FarAbove {
                    self.counted.set(CloseReason::Limit);
                    return io.close();
                }
                self.pace(io);
                match header.bytes.get_mut(length..) {
                    Some(rest) if !rest.is_empty() => self.received(rest, kind, io),
                    _ => self.open(io),
                }
            }
            Err(error) => {
                let peer = self.address.map_or("unix".to_owned(), |it| it.ip().to_string());
                self.context.log_error(&format!("trusted proxy {peer}: {error}"));
                io.close();
            }
        }
    }
}
