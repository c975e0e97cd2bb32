//! The result of the negotiation of a TLS connection.
//!
//! # Limitations
//!
//! Not all that rustls knows of a connection: neither the key exchange nor the signature.

use karez_sys::TlsVersion;
use rustls::server::UnbufferedServerConnection;
use rustls::{HandshakeKind, ProtocolVersion};
use rustls_pki_types::CertificateDer;

/// The result of the negotiation.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The version of TLS.
    pub version: TlsVersion,
    /// The cipher suite (IANA's TLS Cipher Suites), such as `TLS13_AES_128_GCM_SHA256`.
    pub suite: rustls::CipherSuite,
    /// The protocol (ALPN, RFC 7301); `None` if the client offered none.
    pub protocol: Option<Vec<u8>>,
    /// The name that the client asked for (SNI, RFC 6066 §3).
    pub server_name: Option<String>,
    /// The client presented a ticket, so no certificate was sent.
    pub resumed: bool,
    /// The client's certificate and its chain, checked against the client CA.
    pub client_certificates: Vec<CertificateDer<'static>>,
}

/// Returns the version of TLS, once it is negotiated.
pub(crate) fn version_of(connection: &UnbufferedServerConnection) -> Option<TlsVersion> {
    match connection.protocol_version()? {
        ProtocolVersion::TLSv1_3 => Some(TlsVersion::Tls13),
        ProtocolVersion::TLSv1_2 => Some(TlsVersion::Tls12),
        _ => None,
    }
}

/// Returns the result of a negotiation that is complete.
pub(crate) fn info_of(
    connection: &UnbufferedServerConnection,
    server_name: Option<String>,
) -> Option<ConnectionInfo> {
    Some(ConnectionInfo {
        version: version_of(connection)?,
        suite: connection.negotiated_cipher_suite()?.suite(),
        protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
        server_name,
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        client_certificates: connection.peer_certificates().unwrap_or_default().to_vec(),
    })
}
