//! Units of multiplexed protocols: a few bytes of memory and a slice of an open file.

use std::fmt;

use super::event::Tag;
use crate::file_to_socket::FileToSocket;
use crate::page_in::PageIn;

/// The longest memory in front of a unit's slice, in bytes (an HTTP/2 frame header has 9).
const HEAD: usize = 16;

/// Identifies an open file of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(usize);

/// How a unit is completed whose file has become shorter than the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnShort {
    /// Not at all: the outbox stops in front of the missing bytes
    /// ([`Progress::Truncated`](crate::Progress::Truncated)).
    Stop,
    /// By zeros, so that the frame is complete and other streams continue; on
    /// [`UnitEvent::Short`](crate::UnitEvent::Short) the task resets the stream.
    ZeroFill,
}

/// A unit.
pub(super) struct Unit {
    pub(super) tag: Tag,
    head: [u8; HEAD],
    head_length: u8,
    head_sent: u8,
    pub(super) file: FileId,
    /// The unsent bytes of the slice.
    pub(super) body: u64,
    pub(super) on_short: OnShort,
    /// The file has ended: the rest of the slice is zeros.
    pub(super) short: bool,
    /// A byte of it has been sent, so it must be completed.
    started: bool,
    /// It is in a buffer that is being gathered or sent.
    pub(super) gathered: bool,
}

/// The files that are open in an outbox.
pub(super) struct Files {
    open: Vec<Option<Box<FileToSocket>>>,
    /// Page-ins to be run, each with the tag that waits for it.
    pub(super) page_ins: Vec<(Tag, PageIn)>,
}

impl Unit {
    /// Returns a unit of which no byte has been sent.
    pub(super) fn new(tag: Tag, head: &[u8], file: FileId, body: u64, on_short: OnShort) -> Self {
        debug_assert!(head.len() <= HEAD, "a unit's head has at most {HEAD} bytes");
        let length = head.len().min(HEAD);
        let mut own = [0; HEAD];
        own[..length].copy_from_slice(&head[..length]);
        Self {
            tag,
            head: own,
            head_length: u8::try_from(length).unwrap_or(0),
            head_sent: 0,
            file,
            body,
            on_short,
            short: false,
            started: false,
            gathered: false,
        }
    }

    pub(super) fn remaining(&self) -> u64 {
        u64::from(self.head_length - self.head_sent) + self.body
    }

    /// Returns the unsent bytes of the head.
    pub(super) fn head(&self) -> &[u8] {
        &self.head[usize::from(self.head_sent)..usize::from(self.head_length)]
    }

    /// Returns whether a byte of it has been sent.
    pub(super) fn has_started(&self) -> bool {
        self.started
    }

    pub(super) fn advance(&mut self, moved: u64, files: &mut Files) {
        self.started |= moved > 0;
        let of_head = moved.min(self.head().len() as u64);
        self.head_sent += u8::try_from(of_head).unwrap_or(0);
        let of_body = moved - of_head;
        self.body -= of_body;
        if let Some(transfer) = files.get_mut(self.file).filter(|_| !self.short) {
            transfer.advance(of_body.min(transfer.remaining()));
        }
    }
}

impl Files {
    pub(super) const fn new() -> Self {
        Self { open: Vec::new(), page_ins: Vec::new() }
    }

    /// Returns whether no file is open and no page-in is to be run.
    pub(super) fn is_empty(&self) -> bool {
        self.page_ins.is_empty() && self.open.iter().all(Option::is_none)
    }

    pub(super) fn insert(&mut self, transfer: FileToSocket) -> FileId {
        let transfer = Some(Box::new(transfer));
        match self.open.iter().position(Option::is_none) {
            Some(free) => {
                self.open[free] = transfer;
                FileId(free)
            }
            None => {
                self.open.push(transfer);
                FileId(self.open.len() - 1)
            }
        }
    }

    pub(super) fn remove(&mut self, file: FileId) -> Option<FileToSocket> {
        Some(*self.open.get_mut(file.0)?.take()?)
    }

    pub(super) fn get(&self, file: FileId) -> Option<&FileToSocket> {
        self.open.get(file.0)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, file: FileId) -> Option<&mut FileToSocket> {
        self.open.get_mut(file.0)?.as_deref_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut FileToSocket> {
        self.open.iter_mut().flatten().map(|transfer| &mut **transfer)
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unit of {:?}, {} bytes", self.tag, self.remaining())
    }
}
