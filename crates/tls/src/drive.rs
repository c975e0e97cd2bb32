//! The steps of rustls's unbuffered connection, as a [`Handshake`](crate::Handshake) takes them.
//!
//! # Limitations
//!
//! rustls queues its records in buffers of its own, so each is copied once.

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};

use crate::alert::Alert;
use crate::error::TlsError;
use crate::record::{HANDSHAKE, HEADER};

/// The next thing to do after a step of rustls.
pub(crate) enum Step {
    Again,
    /// Nothing more can be done with the received bytes.
    Blocked,
}

pub(crate) fn take_step(
    state: ConnectionState<'_, '_, ServerConnectionData>,
    output: &mut Vec<u8>,
) -> Result<Step, TlsError> {
    match state {
        ConnectionState::EncodeTlsData(mut encode) => {
            let start = output.len();
            // Too little room says how much is needed.
            let Err(EncodeError::InsufficientSize(needed)) = encode.encode(&mut []) else {
                return Ok(Step::Again);
            };
            output.resize(start + needed.required_size, 0);
            encode.encode(&mut output[start..]).map_err(|_| TlsError::NotReady)?;
            Ok(Step::Again)
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Ok(Step::Again)
        }
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => Ok(Step::Blocked),
        ConnectionState::PeerClosed | ConnectionState::Closed => {
            Err(TlsError::Peer(Alert::CLOSE_NOTIFY))
        }
        // Early data is never accepted, and data follow the handshake.
        _ => Err(TlsError::unexpected("data inside the handshake")),
    }
}

/// Takes the records that rustls has queued before an error, and its alert.
///
/// It looks at its input again after each piece. Where that still has the record that was refused, an
/// unfinished one is put in its place, so that it is not refused, and answered, a second time.
pub(crate) fn take_alert(
    connection: &mut UnbufferedServerConnection,
    received: &mut [u8],
    refused: usize,
    output: &mut Vec<u8>,
) {
    if let Some(header) = received.get_mut(refused..refused + HEADER) {
        header.copy_from_slice(&[HANDSHAKE, 3, 3, 0x47, 0xff]);
    }
    loop {
        let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(received);
        match state {
            Ok(state @ ConnectionState::EncodeTlsData(_)) if discard == 0 => {
                if take_step(state, output).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

pub(crate) fn handshake_error(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::AlertReceived(alert) => TlsError::Peer(Alert(alert.into())),
        error => TlsError::Handshake(error),
    }
}
