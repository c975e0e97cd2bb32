//! The socket of a client: plain, or under TLS.

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::timeouts::TEST_TIMEOUT;

/// A connected socket.
pub enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::Plain(stream)
    }

    /// Connects, and shakes hands for the name localhost.
    pub fn connect_secure(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        Self::connect(address).secure(config)
    }

    /// Shakes hands on a plain connection for the name localhost.
    pub fn secure(self, config: Arc<ClientConfig>) -> io::Result<Self> {
        let Self::Plain(mut stream) = self else { panic!("the socket is secure already") };
        let name = "localhost".try_into().unwrap();
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, stream))))
    }

    /// Returns the state of TLS.
    pub fn tls(&mut self) -> &mut ClientConnection {
        match self {
            Self::Tls(stream) => &mut stream.conn,
            Self::Plain(_) => panic!("the socket is plain"),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            // An end without close_notify is the error UnexpectedEof.
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Deref for Socket {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}
