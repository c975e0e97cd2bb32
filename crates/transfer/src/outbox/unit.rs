//! Units of multiplexed protocols: a few bytes of memory and a slice of an open file.

use std::fmt;

use super::segment::Segment;
use super::{Outbox, OutboxEvent};
use crate::file_to_socket::FileToSocket;
use crate::residency::ColdPart;

/// The longest memory in front of a unit's slice, in bytes (an HTTP/2 frame header has 9).
const HEAD: usize = 16;

/// Names the stream to which units belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// Names a file that is open in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(usize);

/// What completes a unit whose file has become shorter than the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnShort {
    /// Nothing: the outbox stops in front of the missing bytes
    /// ([`Progress::Truncated`](crate::Progress::Truncated)).
    Stop,
    /// Zeros, so that the frame is complete and other streams go on; the task, told by
    /// [`UnitEvent::Short`], resets the stream.
    ZeroFill,
}

/// What happened to the units of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitEvent {
    /// The pages of a unit are not in memory: the units of its tag that had not begun have been taken
    /// back, with so many bytes of files. They may be pushed again after [`Warm`](Self::Warm).
    Cold {
        /// Bytes of files in the units taken back.
        returned: u64,
    },
    /// The pages have been read.
    Warm,
    /// The file has become shorter than a unit's slice, which was completed by zeros. The units of its
    /// tag that had not begun have been taken back.
    Short {
        /// Bytes of files in the units taken back.
        returned: u64,
    },
}

/// One unit.
pub(super) struct Unit {
    pub(super) tag: Tag,
    head: [u8; HEAD],
    head_length: u8,
    head_sent: u8,
    pub(super) file: FileId,
    /// Bytes of the slice that have not left.
    pub(super) body: u64,
    pub(super) on_short: OnShort,
    /// The file has ended: the rest of the slice is zeros.
    pub(super) short: bool,
    /// A byte of it has left, so that it has to be completed.
    begun: bool,
    /// It is in a buffer that is being gathered or sent.
    pub(super) gathered: bool,
}

/// The files that are open in an outbox.
#[derive(Default)]
pub(super) struct Files {
    open: Vec<Option<Box<FileToSocket>>>,
    /// Page-ins that somebody has to run, and the tag that waits for each.
    page_ins: Vec<(Tag, ColdPart)>,
}

impl Outbox {
    /// Opens a file of which [units](Self::push_unit) take their slices, one behind the other.
    pub fn open_file(&mut self, mut transfer: FileToSocket) -> FileId {
        self.apply_reports(&mut transfer);
        self.files.insert(transfer)
    }

    /// Closes a file. Units that still refer to it must have been [cancelled](Self::cancel) or sent.
    pub fn close_file(&mut self, file: FileId) -> Option<FileToSocket> {
        let transfer = *self.files.open.get_mut(file.0)?.take()?;
        if let Some(ledger) = &mut self.ledger {
            ledger.reports.push(transfer.report().clone());
        }
        Some(transfer)
    }

    /// Returns an open file.
    #[must_use]
    pub fn open_transfer(&self, file: FileId) -> Option<&FileToSocket> {
        self.files.get(file)
    }

    /// Appends a unit: `head`, at most 16 bytes, and the next `body` bytes of an open file.
    ///
    /// # Panics
    /// In debug builds, where `head` is longer.
    pub fn push_unit(&mut self, tag: Tag, head: &[u8], file: FileId, body: u64, on_short: OnShort) {
        debug_assert!(head.len() <= HEAD, "a unit's head has at most {HEAD} bytes");
        let length = head.len().min(HEAD);
        let mut own = [0; HEAD];
        own[..length].copy_from_slice(&head[..length]);
        self.push(Segment::Unit(Unit {
            tag,
            head: own,
            head_length: u8::try_from(length).unwrap_or(0),
            head_sent: 0,
            file,
            body,
            on_short,
            short: false,
            begun: false,
            gathered: false,
        }));
    }

    /// Takes back the units of a tag of which nothing has left. Returns how many bytes of files they
    /// had: a flow-control window gets these back.
    pub fn cancel(&mut self, tag: Tag) -> u64 {
        let (mut bodies, mut all) = (0, 0);
        self.segments.retain(|segment| match segment {
            Segment::Unit(unit) if unit.tag == tag && !unit.begun && !unit.gathered => {
                bodies += unit.body;
                all += unit.remaining();
                false
            }
            _ => true,
        });
        self.queued -= all;
        self.pass_marks();
        bodies
    }

    /// Returns a page-in that has to run, and the tag for which [`page_in_done`](Self::page_in_done)
    /// has to be called then.
    pub fn take_page_in(&mut self) -> Option<(Tag, ColdPart)> {
        self.files.page_ins.pop()
    }

    /// Reports the page-in of a tag as done.
    pub fn page_in_done(&mut self, tag: Tag) {
        self.events.push_back(OutboxEvent::Unit(tag, UnitEvent::Warm));
    }

    /// Takes the units of a tag back whose pages are cold, and asks for these.
    pub(super) fn return_cold(&mut self, tag: Tag, file: FileId) {
        let part = self.files.get(file).map(FileToSocket::cold_part);
        let returned = self.cancel(tag);
        if let Some(part) = part {
            let part = self.measured(part);
            self.files.page_ins.push((tag, part));
        }
        self.events.push_back(OutboxEvent::Unit(tag, UnitEvent::Cold { returned }));
    }

    /// Takes the units of a tag back whose file has become shorter.
    pub(super) fn return_short(&mut self, tag: Tag) {
        let returned = self.cancel(tag);
        self.events.push_back(OutboxEvent::Unit(tag, UnitEvent::Short { returned }));
    }
}

impl Unit {
    pub(super) fn remaining(&self) -> u64 {
        u64::from(self.head_length - self.head_sent) + self.body
    }

    /// Returns the bytes of the head that have not left.
    pub(super) fn head(&self) -> &[u8] {
        &self.head[usize::from(self.head_sent)..usize::from(self.head_length)]
    }

    /// Returns whether a byte of it has left.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) fn advance(&mut self, moved: u64, files: &mut Files) {
        self.begun |= moved > 0;
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
    fn insert(&mut self, transfer: FileToSocket) -> FileId {
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
