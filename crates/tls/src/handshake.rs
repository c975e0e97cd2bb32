//! The server's side of a handshake: bytes in, bytes out, keys at the end.
//!
//! A [`Handshake`] makes no system call. Its caller receives at most [`wants`](Handshake::wants) bytes
//! at a time, gives them to [`receive`](Handshake::receive) and sends the
//! bytes that [`take_output`](Handshake::take_output) returns, as they are. With [`Reading::UpToTheEnd`] not a byte
//! behind the client's `Finished` is received, so the kernel can open all that follows. rustls parses,
//! signs and checks; when the keys are out its connection is dropped.
//!
//! # Limitations
//!
//! It reads no clock, so the caller sets the deadline. The step that signs takes 0.1 ms of CPU with an
//! ECDSA certificate and 0.7 ms with RSA of 2048 bits; a `Handshake` is `Send`, so a worker can make that
//! step ([`will_sign`](Handshake::will_sign)). Early data (0-RTT) is refused.

use karez_sys::TlsVersion;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::UnbufferedStatus;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::alert::Alert;
use crate::challenges::is_check;
use crate::connection_info::{ConnectionInfo, info_of, version_of};
use crate::drive::{Step, handshake_error, take_alert, take_step};
use crate::error::TlsError;
use crate::keys::{RxKeys, TxKeys};
use crate::record::{CHANGE_CIPHER_SPEC, HANDSHAKE, HEADER, MOST_SEALED};
use crate::session::Session;
use crate::sni::Remembering;

/// Bytes and records that a client may send before the handshake is over.
const MOST_BYTES: usize = 64 << 10;
const MOST_RECORDS: usize = 2048;

/// The shortest record that can end a handshake, in bytes: a `Finished` under TLS 1.3 (SHA-256), and
/// under TLS 1.2 (ChaCha20-Poly1305). Until it has been received, the next so many bytes belong to the handshake.
const FINISHED_TLS13: usize = HEADER + 4 + 32 + 1 + 16;
const FINISHED_TLS12: usize = HEADER + 4 + 12 + 16;

/// How far a handshake may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Not beyond its last record: for a connection whose records the kernel is to open.
    UpToTheEnd,
    /// As much as there is; [`Established::unread`] has the bytes that follow the handshake.
    Beyond,
}

/// The state of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More has to be received.
    Receive,
    /// The handshake is over: [`Handshake::finish`].
    Done,
}

/// A handshake under way.
pub struct Handshake {
    config: Arc<ServerConfig>,
    /// For a check by an ACME server.
    challenges: Option<Arc<ServerConfig>>,
    /// None until the first record is complete: a client that sends nothing costs little.
    connection: Option<Box<UnbufferedServerConnection>>,
    resolver: Arc<Remembering>,
    /// Received bytes that have not been used up.
    received: Vec<u8>,
    /// How much of that rustls has seen and wants to see again: pieces of a message.
    seen: usize,
    output: Vec<u8>,
    bytes: usize,
    records: usize,
    reading: Reading,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Done,
    Failed,
}

/// The end of a handshake.
#[derive(Debug)]
pub struct Established {
    /// The result of the negotiation.
    pub info: ConnectionInfo,
    /// The keys of the server's records.
    pub tx: TxKeys,
    /// The keys of the client's records.
    pub rx: RxKeys,
    /// The state that the connection needs until it is closed.
    pub session: Session,
    /// Received bytes behind the handshake, sealed; none with [`Reading::UpToTheEnd`].
    pub unread: Vec<u8>,
}

impl Handshake {
    /// Returns a handshake that waits for a client's first bytes. `config` is from a
    /// [`CertStore`](crate::CertStore); a later reload does not change it.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, reading: Reading) -> Self {
        Self {
            resolver: Arc::new(Remembering::new(Arc::clone(&config.cert_resolver))),
            config,
            challenges: None,
            connection: None,
            received: Vec::new(),
            seen: 0,
            output: Vec::new(),
            bytes: 0,
            records: 0,
            reading,
            state: State::Running,
        }
    }

    /// Answers checks by an ACME server from the configuration of [`Challenges`](crate::Challenges).
    #[must_use]
    pub fn answering(self, challenges: Option<Arc<ServerConfig>>) -> Self {
        Self { challenges, ..self }
    }

    /// Returns how many bytes the next receive may take at most; `None` when the handshake is over.
    ///
    /// A client cannot finish before it has seen the server's first flight, so until then that is up to
    /// a whole record; after it, the shortest `Finished` or the rest of the record that has begun. With
    /// [`Reading::Beyond`] a receive may take more.
    #[must_use]
    pub fn wants(&self) -> Option<NonZeroUsize> {
        if self.state != State::Running {
            return None;
        }
        let least = match self.version() {
            _ if self.reading == Reading::Beyond => return NonZeroUsize::new(HEADER + MOST_SEALED),
            None => return NonZeroUsize::new(HEADER + MOST_SEALED),
            Some(TlsVersion::Tls13) => FINISHED_TLS13,
            Some(TlsVersion::Tls12) => FINISHED_TLS12,
        };
        let begun = &self.received[self.seen..];
        let rest = match begun.first_chunk::<HEADER>() {
            None => least - begun.len(),
            Some(header) => {
                let rest = record_length(*header).saturating_sub(begun.len()).max(1);
                // A Finished has to follow it.
                if header[0] == CHANGE_CIPHER_SPEC { rest + least } else { rest }
            }
        };
        NonZeroUsize::new(rest)
    }

    /// Takes received bytes and goes on as far as they allow.
    ///
    /// # Errors
    /// The handshake cannot succeed. [`take_output`](Self::take_output) has the alert, which should be
    /// sent before the connection is closed. It is empty for [`TlsError::PlainHttp`], and where a bound of
    /// this crate is exceeded behind the server's first flight.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Progress, TlsError> {
        self.push(bytes);
        self.advance()
    }

    /// Keeps received bytes without looking at them, for an [`advance`](Self::advance) elsewhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Returns whether [`advance`](Self::advance) is about to parse the client's first message and to
    /// sign: the one step that costs so much that it may be worth a worker.
    #[must_use]
    pub fn will_sign(&self) -> bool {
        let header = self.received.first_chunk::<HEADER>();
        let whole = header.is_some_and(|header| self.received.len() >= record_length(*header));
        self.state == State::Running && whole && self.version().is_none()
    }

    /// Goes on as far as the bytes that were [pushed](Self::push) allow.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn advance(&mut self) -> Result<Progress, TlsError> {
        match self.state {
            State::Running => {}
            State::Done => return Ok(Progress::Done),
            State::Failed => return Err(TlsError::NotReady),
        }
        let advanced = self.advance_records();
        if let Err(error) = &advanced {
            self.state = State::Failed;
            // Without keys the alert can be made here; rustls has queued its own.
            if let Some(alert) = error.alert().filter(|_| self.version().is_none()) {
                self.output.extend_from_slice(&alert.to_plain_record());
            }
        }
        advanced
    }

    fn advance_records(&mut self) -> Result<Progress, TlsError> {
        while self.state == State::Running {
            let Some(end) = self.next_record()? else { return Ok(Progress::Receive) };
            self.records += 1;
            if self.records > MOST_RECORDS {
                return Err(TlsError::TooMuch("records in a handshake"));
            }
            self.process(end)?;
        }
        Ok(Progress::Done)
    }

    /// Returns where the next record ends that rustls has not seen, if it is whole.
    fn next_record(&self) -> Result<Option<usize>, TlsError> {
        let begun = &self.received[self.seen..];
        let whole = match begun.first_chunk::<HEADER>() {
            None => None,
            Some(header) => {
                self.check_header(*header)?;
                let length = record_length(*header);
                (begun.len() >= length).then_some(self.seen + length)
            }
        };
        // Bytes behind the handshake are no fault of `Reading::Beyond`.
        if whole.is_none() && self.bytes > MOST_BYTES {
            return Err(TlsError::TooMuch("bytes in a handshake"));
        }
        Ok(whole)
    }

    fn check_header(&self, header: [u8; HEADER]) -> Result<(), TlsError> {
        let first = self.connection.is_none();
        let [kind, major, _, high, low] = header;
        if first && is_http(header) {
            return Err(TlsError::PlainHttp);
        }
        if !(CHANGE_CIPHER_SPEC..=23).contains(&kind) || (first && kind != HANDSHAKE) {
            return Err(TlsError::unexpected("a record of an unknown type"));
        }
        if major != 3 {
            return Err(TlsError::protocol(
                Alert::PROTOCOL_VERSION,
                "a record of an unknown version",
            ));
        }
        if usize::from(u16::from_be_bytes([high, low])) > MOST_SEALED {
            return Err(TlsError::protocol(Alert::RECORD_OVERFLOW, "a record of more than 16 KiB"));
        }
        Ok(())
    }

    /// Returns a connection for a client whose first record ends at `end`.
    fn begin(&mut self, end: usize) -> Result<Box<UnbufferedServerConnection>, TlsError> {
        let checks = self.challenges.take().filter(|_| is_check(&self.received[..end]));
        let mut config = ServerConfig::clone(&checks.unwrap_or_else(|| Arc::clone(&self.config)));
        self.resolver = Arc::new(Remembering::new(config.cert_resolver));
        config.cert_resolver = Arc::clone(&self.resolver) as Arc<_>;
        let connection = UnbufferedServerConnection::new(Arc::new(config));
        connection.map(Box::new).map_err(TlsError::Handshake)
    }

    /// Has rustls process the received bytes up to `end`.
    fn process(&mut self, end: usize) -> Result<(), TlsError> {
        if self.connection.is_none() {
            self.connection = Some(self.begin(end)?);
        }
        let Some(connection) = &mut self.connection else { return Err(TlsError::NotReady) };
        let mut end = end;
        loop {
            let UnbufferedStatus { discard, state, .. } =
                connection.process_tls_records(&mut self.received[..end]);
            let step = match state {
                Ok(state) => take_step(state, &mut self.output),
                Err(error) => Err(handshake_error(error)),
            };
            self.received.drain(..discard);
            end -= discard;
            self.seen = self.seen.saturating_sub(discard);
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Blocked) => break,
                Err(error) => {
                    let received = &mut self.received[..end];
                    match self.resolver.found_none() {
                        // Clients show rustls's choice, access_denied, as a matter of their own certificate.
                        true => self.output.extend(Alert::UNRECOGNIZED_NAME.to_plain_record()),
                        false => take_alert(connection, received, self.seen, &mut self.output),
                    }
                    return Err(error);
                }
            }
        }
        self.seen = end;
        if self.received.is_empty() {
            // Nothing is held while the client computes its answer.
            self.received = Vec::new();
        }
        if !connection.is_handshaking() {
            self.state = State::Done;
        }
        Ok(())
    }

    /// Returns the bytes to send, as they are: they must not be sealed.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Returns the received bytes that TLS does not understand, for an answer over [plain
    /// HTTP](TlsError::PlainHttp).
    #[must_use]
    pub fn into_received(self) -> Vec<u8> {
        self.received
    }

    /// Returns how many bytes of memory the handshake has allocated itself, besides those inside rustls.
    #[must_use]
    pub fn allocated(&self) -> usize {
        let connection = self.connection.as_ref().map_or(0, |it| size_of_val(&**it));
        self.received.capacity() + self.output.capacity() + connection
    }

    fn version(&self) -> Option<TlsVersion> {
        version_of(self.connection.as_ref()?)
    }

    /// Ends the handshake with its keys. The last [output](Self::take_output) has to be sent before
    /// anything that is sealed by them.
    ///
    /// # Errors
    /// The handshake is not over.
    pub fn finish(self) -> Result<Established, TlsError> {
        let (State::Done, Some(connection)) = (self.state, self.connection) else {
            return Err(TlsError::NotReady);
        };
        let name = self.resolver.name().map(str::to_owned);
        let info = info_of(&connection, name).ok_or(TlsError::NotReady)?;
        let (secrets, schedule) =
            connection.dangerous_into_kernel_connection().map_err(TlsError::Handshake)?;
        let version = info.version;
        let schedule = (version == TlsVersion::Tls13).then_some(schedule);
        Ok(Established {
            info,
            tx: TxKeys::new(version, secrets.tx.0, secrets.tx.1)?,
            rx: RxKeys::new(version, secrets.rx.0, secrets.rx.1)?,
            session: Session::new(version, schedule),
            unread: self.received,
        })
    }
}

fn record_length([.., high, low]: [u8; HEADER]) -> usize {
    HEADER + usize::from(u16::from_be_bytes([high, low]))
}

/// Returns whether a connection begins as requests of HTTP do: `GET /`, `OPTIO`, `PRI *`.
fn is_http(start: [u8; HEADER]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b' ' | b'/' | b'*' | b'-');
    start[0].is_ascii_uppercase() && start.iter().all(fits)
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("state", &self.state)
            .field("reading", &self.reading)
            .field("received", &self.received.len())
            .field("output", &self.output.len())
            .finish_non_exhaustive()
    }
}
