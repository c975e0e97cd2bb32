//! Opening in user space: [`Opener`] takes received bytes and returns the content of their records.
//!
//! A record that lies whole in the received bytes is opened where it is. Of one that does not, the
//! beginning is kept, and the memory for that is given back when the record is complete.
//!
//! # Limitations
//!
//! A connection in the middle of a record holds up to 16 KiB of it.

use std::fmt;
use std::ops::Range;

use crate::alert::Alert;
use crate::error::TlsError;
use crate::keys::RxKeys;
use crate::record::{
    ALERT, Aead, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, HEADER, MOST_PLAIN, MOST_SEALED,
};
use crate::session::{Control, Session};
use karez_sys::TlsVersion;

/// Opens the records that a connection receives.
pub struct Opener {
    aead: Aead,
    /// The record whose rest has not been received, or the one that was returned last.
    record: Vec<u8>,
    returned: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The peer sends nothing more.
    Closed,
    Failed,
}

/// The content of a record.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming<'a> {
    /// At least one byte of the stream.
    Data(&'a mut [u8]),
    /// The peer sends nothing more; the bytes that follow mean nothing.
    Closed,
}

impl Opener {
    /// Returns an opener for the records that follow the handshake.
    ///
    /// # Errors
    /// The key does not fit its cipher.
    pub fn new(keys: RxKeys) -> Result<Self, TlsError> {
        let aead = Aead::new(&keys.into_kernel())?;
        Ok(Self { aead, record: Vec::new(), returned: false, state: State::Open })
    }

    /// Takes the next record off the front of `input` and returns its content. Alerts and key updates
    /// go to the session and are not returned. `None`: `input` is used up.
    ///
    /// ```
    /// # use karez_tls::{Incoming, Opener, Session, TlsError};
    /// fn receive(
    ///     opener: &mut Opener,
    ///     session: &mut Session,
    ///     mut input: &mut [u8],
    ///     stream: &mut Vec<u8>,
    /// ) -> Result<bool, TlsError> {
    ///     while let Some(incoming) = opener.next(&mut input, session)? {
    ///         match incoming {
    ///             Incoming::Data(bytes) => stream.extend_from_slice(bytes),
    ///             _ => return Ok(false),
    ///         }
    ///     }
    ///     Ok(true)
    /// }
    /// ```
    ///
    /// # Errors
    /// A record that does not open or is not allowed. No other record is opened after that, and the
    /// connection is to be closed behind [`TlsError::alert`].
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i mut [u8],
        session: &mut Session,
    ) -> Result<Option<Incoming<'s>>, TlsError> {
        match self.next_data(input, session) {
            Ok(Some(Data::Input(bytes))) => Ok(Some(Incoming::Data(bytes))),
            Ok(Some(Data::Kept(range))) => Ok(Some(Incoming::Data(&mut self.record[range]))),
            Ok(None) if self.state == State::Closed && !self.returned => {
                self.returned = true;
                Ok(Some(Incoming::Closed))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.state = State::Failed;
                Err(error)
            }
        }
    }

    /// Returns whether no part of a record is held back: only then the end of the stream is an end
    /// between two records. It is a regular one only behind `close_notify`.
    #[must_use]
    pub fn is_between_records(&self) -> bool {
        self.record.is_empty() || self.returned
    }

    /// Returns whether the peer has said that it sends nothing more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Returns how many bytes of memory are held back, as much as is allocated.
    #[must_use]
    pub fn held(&self) -> usize {
        self.record.capacity()
    }

    fn next_data<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        session: &mut Session,
    ) -> Result<Option<Data<'i>>, TlsError> {
        loop {
            match self.state {
                State::Open => {}
                State::Closed => {
                    *input = &mut [];
                    return Ok(None);
                }
                State::Failed => return Err(TlsError::unexpected("a record behind an error")),
            }
            if self.returned {
                (self.record, self.returned) = (Vec::new(), false);
            }
            let Some(whole) = self.take_record(input)? else { return Ok(None) };
            let (kind, range) = match whole {
                Whole::Input(record) => {
                    let (kind, range) = self.open(record)?;
                    if kind == DATA && !range.is_empty() {
                        session.received_data(range.len())?;
                        return Ok(Some(Data::Input(&mut record[range])));
                    }
                    self.record.extend_from_slice(record);
                    (kind, range)
                }
                Whole::Kept => {
                    let mut record = std::mem::take(&mut self.record);
                    let opened = self.open(&mut record);
                    self.record = record;
                    opened?
                }
            };
            self.returned = true;
            if kind == DATA {
                session.received_data(range.len())?;
                if !range.is_empty() {
                    return Ok(Some(Data::Kept(range)));
                }
                continue;
            }
            match session.control(kind, &self.record[range])? {
                Control::Ignored => {}
                Control::Closed => {
                    (self.record, self.returned) = (Vec::new(), false);
                    self.state = State::Closed;
                }
                Control::KeyUpdate(keys) => self.aead = Aead::new(keys.as_kernel())?,
            }
        }
    }

    /// Takes a whole record off the input, or keeps the part that has been received.
    fn take_record<'i>(&mut self, input: &mut &'i mut [u8]) -> Result<Option<Whole<'i>>, TlsError> {
        if self.record.is_empty() {
            match input.first_chunk::<HEADER>() {
                Some(header) => {
                    let length = HEADER + self.check(*header)?;
                    if input.len() >= length {
                        let (record, rest) = std::mem::take(input).split_at_mut(length);
                        *input = rest;
                        return Ok(Some(Whole::Input(record)));
                    }
                }
                None if input.is_empty() => return Ok(None),
                None => {}
            }
        }
        self.keep_up_to(HEADER, input);
        let Some(header) = self.record.first_chunk::<HEADER>() else { return Ok(None) };
        let length = HEADER + self.check(*header)?;
        self.keep_up_to(length, input);
        Ok((self.record.len() == length).then_some(Whole::Kept))
    }

    fn keep_up_to(&mut self, length: usize, input: &mut &mut [u8]) {
        let count = length.saturating_sub(self.record.len()).min(input.len());
        let (kept, rest) = std::mem::take(input).split_at_mut(count);
        self.record.extend_from_slice(kept);
        *input = rest;
    }

    /// Checks a header and returns the length of the rest of its record.
    fn check(&self, header: [u8; HEADER]) -> Result<usize, TlsError> {
        let [kind, major, _, high, low] = header;
        let allowed = match self.aead.version() {
            TlsVersion::Tls13 => kind == DATA,
            TlsVersion::Tls12 => matches!(kind, ALERT | HANDSHAKE | DATA),
        };
        if kind == CHANGE_CIPHER_SPEC {
            return Err(TlsError::unexpected("change_cipher_spec behind the handshake"));
        }
        if !allowed || major != 3 {
            return Err(TlsError::unexpected("a record that is not encrypted"));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MOST_SEALED {
            return Err(TlsError::protocol(Alert::RECORD_OVERFLOW, "a record of more than 16 KiB"));
        }
        Ok(length)
    }

    /// Opens a record, and returns its type and where its content is.
    fn open(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), TlsError> {
        let (outer, range) = self.aead.open(record).map_err(|_| {
            TlsError::protocol(Alert::BAD_RECORD_MAC, "a record that does not open")
        })?;
        let (kind, range) = match self.aead.version() {
            TlsVersion::Tls12 => (outer, range),
            TlsVersion::Tls13 => {
                // Zeros behind the content type are padding.
                let inner = &record[range.clone()];
                let type_at = inner.iter().rposition(|byte| *byte != 0);
                let type_at = type_at.ok_or_else(|| TlsError::unexpected("a record of padding"))?;
                (inner[type_at], range.start..range.start + type_at)
            }
        };
        if range.len() > MOST_PLAIN {
            return Err(TlsError::protocol(
                Alert::RECORD_OVERFLOW,
                "more than 16 KiB of plaintext",
            ));
        }
        Ok((kind, range))
    }
}

/// A record that can be opened: where it is.
enum Whole<'a> {
    Input(&'a mut [u8]),
    Kept,
}

/// Opened bytes of the stream: where they are.
enum Data<'a> {
    Input(&'a mut [u8]),
    Kept(Range<usize>),
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("aead", &self.aead)
            .field("held", &self.record.len())
            .field("state", &self.state)
            .finish()
    }
}
