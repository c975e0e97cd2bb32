//! Receiving from a socket on which the kernel opens the records of TLS: recvmsg(2) with room for the type
//! of a record (`TLS_GET_RECORD_TYPE`, Documentation/networking/tls.rst; Linux 4.17).
//!
//! # Limitations
//!
//! A receive returns bytes of one type, and as many whole records as are there: a short count does not
//! mean that nothing more can be received, so readiness models make one more call.

use karez_sys::receive_tls_record;
use rustix::io::{self, Errno};
use rustix::net::{RecvFlags, recv, sockopt};
use std::os::fd::BorrowedFd;

use crate::task::RecordType;

/// The content type of bytes of the stream (RFC 8446 §5.1).
const APPLICATION_DATA: u8 = 23;

/// Receives once; `records`: the kernel opens the records of this socket. No bytes of type
/// [`RecordType::Data`] are the end of the stream.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
    records: bool,
) -> io::Result<(usize, RecordType)> {
    if !records {
        let (count, _) = recv(socket, buffer, flags)?;
        return Ok((count, RecordType::Data));
    }
    match receive_tls_record(socket, buffer, flags) {
        Ok((count, None | Some(APPLICATION_DATA))) => Ok((count, RecordType::Data)),
        Ok((count, Some(kind))) => Ok((count, RecordType::Control(kind))),
        Err(errno) => {
            clear_error(socket, errno);
            Err(errno)
        }
    }
}

/// After a record that does not open, takes the error off the socket, so that an alert can be sent. A send may be
/// the first to return that error: the kernel opens records when they are received, but checks their headers as soon as they
/// arrive.
pub(crate) fn clear_error(socket: BorrowedFd<'_>, errno: Errno) {
    if matches!(errno, Errno::BADMSG | Errno::MSGSIZE | Errno::INVAL) {
        let _same = sockopt::socket_error(socket);
    }
}
