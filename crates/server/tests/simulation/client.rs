//! A client: a protocol, plain or through TLS, on one end of a socket pair.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustls::ClientConnection;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;

use crate::excuse::Excuse;

/// The side of a client that knows requests and responses.
pub(crate) trait Protocol {
    /// Appends the next thing that it has to say, if there is one; false if nothing was appended.
    fn speak(&mut self, out: &mut Vec<u8>) -> bool;

    /// Takes bytes of the server. An error or an early end may have an excuse.
    ///
    /// # Errors
    /// What is wrong with them.
    fn receive(&mut self, bytes: &[u8], excuse: Excuse) -> Result<(), String>;

    /// Takes the end of the stream; `regular` if it is one that could be that of a response.
    ///
    /// # Errors
    /// What is wrong with it.
    fn end(&mut self, regular: bool, excuse: Excuse) -> Result<(), String>;

    /// Appends all that the server still needs to respond to everything.
    fn settle(&mut self, out: &mut Vec<u8>);

    /// Returns whether every request has been written, and its response has come to its end.
    fn is_done(&self) -> bool;

    /// Returns whether nothing more has to be said.
    fn may_half_close(&self) -> bool;

    /// Returns whether the server has announced that it ends the connection.
    fn has_to_end(&self) -> bool;

    fn answers(&self) -> Answers;

    fn describe(&self) -> String;
}

/// The ends of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    /// Responses that are right.
    pub(crate) right: u32,
    /// Responses that report an error.
    pub(crate) errors: u32,
    /// Visible ends in place of responses.
    pub(crate) cut: u32,
}

impl Answers {
    pub(crate) fn count(&mut self, right: bool) {
        *(if right { &mut self.right } else { &mut self.errors }) += 1;
    }
}

pub(crate) struct Client {
    socket: Option<OwnedFd>,
    tls: Option<ClientConnection>,
    pub(crate) protocol: Box<dyn Protocol>,
    /// Bytes to be sent.
    wire: Vec<u8>,
    half_closed: bool,
    ended: bool,
    /// What it has done itself excuses an early end.
    left: bool,
}

impl Client {
    pub(crate) fn new(
        socket: OwnedFd,
        tls: Option<ClientConnection>,
        protocol: Box<dyn Protocol>,
    ) -> Self {
        let (wire, half_closed, ended, left) = (Vec::new(), false, false, false);
        let mut client =
            Self { socket: Some(socket), tls, protocol, wire, half_closed, ended, left };
        if let Some(tls) = &mut client.tls {
            tls.set_buffer_limit(None);
        }
        client
    }

    /// Writes what the protocol says next.
    pub(crate) fn speak(&mut self) -> bool {
        let mut plain = Vec::new();
        let spoke = !self.half_closed && !self.ended && self.protocol.speak(&mut plain);
        self.seal(&plain);
        spoke
    }

    /// Sends and receives what the handshake needs. Returns whether anything moved.
    pub(crate) fn shake_hands(&mut self) -> Result<bool, String> {
        self.seal(&[]);
        let sent = self.send(usize::MAX) > 0;
        Ok(self.receive(64 << 10, Excuse::None)? || sent)
    }

    fn seal(&mut self, plain: &[u8]) {
        match &mut self.tls {
            None => self.wire.extend_from_slice(plain),
            Some(tls) => {
                tls.writer().write_all(plain).unwrap();
                while tls.wants_write() {
                    tls.write_tls(&mut self.wire).unwrap();
                }
            }
        }
    }

    /// Sends at most so many bytes. Returns how many the socket has taken.
    pub(crate) fn send(&mut self, most: usize) -> usize {
        let Some(socket) = &self.socket else { return 0 };
        let piece = &self.wire[..self.wire.len().min(most)];
        if piece.is_empty() {
            return 0;
        }
        match send(socket, piece, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => {
                self.wire.drain(..count);
                count
            }
            Err(Errno::AGAIN) => 0,
            // The server has closed; what it has sent before is received.
            Err(_) => {
                self.wire.clear();
                0
            }
        }
    }

    /// Receives at most so many bytes. Returns whether there were any, or the end.
    pub(crate) fn receive(&mut self, most: usize, excuse: Excuse) -> Result<bool, String> {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.ended) else { return Ok(false) };
        let excuse = if self.left { Excuse::All } else { excuse };
        let mut bytes = vec![0; most];
        match recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.end(true, excuse)?,
            Ok((count, _)) => self.open(&bytes[..count], excuse)?,
            Err(Errno::AGAIN) => return Ok(false),
            // What a UNIX socket reports whose peer has closed with bytes in it.
            Err(Errno::CONNRESET) if excuse == (Excuse::Eviction { late: false }) => {
                return Err("bytes that had arrived are dropped".to_owned());
            }
            Err(_) => self.end(false, excuse)?,
        }
        Ok(true)
    }

    fn open(&mut self, mut wire: &[u8], excuse: Excuse) -> Result<(), String> {
        let Some(tls) = &mut self.tls else { return self.protocol.receive(wire, excuse) };
        while !wire.is_empty() {
            tls.read_tls(&mut wire).map_err(|error| format!("TLS: {error}"))?;
            tls.process_new_packets().map_err(|error| format!("TLS: {error}"))?;
            let mut plain = [0; 16 << 10];
            while let Ok(count @ 1..) = tls.reader().read(&mut plain) {
                self.protocol.receive(&plain[..count], excuse)?;
            }
        }
        self.seal(&[]);
        Ok(())
    }

    fn end(&mut self, fin: bool, excuse: Excuse) -> Result<(), String> {
        self.ended = true;
        let mut regular = fin;
        if let Some(tls) = &mut self.tls {
            // Without `close_notify` anybody may have cut the stream.
            let _records = tls.read_tls(&mut std::io::empty());
            let end = tls.reader().read(&mut [0; 1]);
            regular &= matches!(end, Ok(0));
            let cut = matches!(&end, Err(error) if error.kind() == ErrorKind::WouldBlock);
            if cut && excuse == Excuse::None {
                return Err("an end during the handshake".to_owned());
            }
        }
        self.protocol.end(regular, excuse)
    }

    /// Sends a FIN behind everything, if the protocol allows it. Returns whether it did.
    pub(crate) fn half_close(&mut self) -> bool {
        let may = self.tls.is_none() && self.protocol.may_half_close() && self.wire.is_empty();
        let Some(socket) = self.socket.as_ref().filter(|_| may && !self.half_closed) else {
            return false;
        };
        self.half_closed = true;
        let _closed = shutdown(socket, Shutdown::Write);
        true
    }

    /// Closes its socket at any time, with bytes in it.
    pub(crate) fn leave(&mut self) -> Result<(), String> {
        self.left = true;
        self.socket = None;
        match std::mem::replace(&mut self.ended, true) {
            true => Ok(()),
            false => self.protocol.end(false, Excuse::All),
        }
    }

    /// Sends and receives everything, as long as something moves. Returns whether it did.
    pub(crate) fn settle(&mut self, excuse: Excuse) -> Result<bool, String> {
        let mut moved = false;
        loop {
            if !self.half_closed && !self.ended {
                let mut plain = Vec::new();
                self.protocol.settle(&mut plain);
                self.seal(&plain);
            }
            let sent = self.send(usize::MAX) > 0;
            if !(self.receive(64 << 10, excuse)? || sent) {
                return Ok(moved);
            }
            moved = true;
        }
    }

    /// Receives the end, of a server that has ended.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        while self.receive(64 << 10, Excuse::All)? {}
        match self.ended {
            true => Ok(()),
            false => {
                Err(format!("no end of the connection after the server's: {}", self.describe()))
            }
        }
    }

    /// Returns whether everything has been answered, or the stream has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.ended || (self.protocol.is_done() && !self.protocol.has_to_end())
    }

    pub(crate) fn describe(&self) -> String {
        let (tls, unsent, ended) = (self.tls.is_some(), self.wire.len(), self.ended);
        format!("TLS {tls}, {unsent} bytes unsent, ended {ended}: {}", self.protocol.describe())
    }
}
