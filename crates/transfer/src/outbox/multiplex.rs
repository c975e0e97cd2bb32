//! Units in an outbox: appending, cancelling, and the page-ins for them.

use super::Outbox;
use super::event::{OutboxEvent, Tag, UnitEvent};
use super::segment::Segment;
use super::unit::{FileId, OnShort, Unit};
use crate::file_to_socket::FileToSocket;
use crate::page_in::PageIn;

impl Outbox {
    /// Opens a file from which [units](Self::push_unit) take consecutive slices.
    pub fn open_file(&mut self, mut transfer: FileToSocket) -> FileId {
        self.apply_misses(&mut transfer);
        self.queue.files.insert(transfer)
    }

    /// Closes a file. Units that still refer to it must have been [cancelled](Self::cancel) or sent.
    pub fn close_file(&mut self, file: FileId) -> Option<FileToSocket> {
        let transfer = self.queue.files.remove(file)?;
        if let Some(stats) = &mut self.stats {
            stats.reports.push(transfer.report().clone());
        }
        Some(transfer)
    }

    /// Returns an open file.
    #[must_use]
    pub fn open_transfer(&self, file: FileId) -> Option<&FileToSocket> {
        self.queue.files.get(file)
    }

    /// Appends a unit: `head`, at most 16 bytes, and the next `body` bytes of an open file.
    ///
    /// # Panics
    /// In debug builds, where `head` is longer.
    pub fn push_unit(&mut self, tag: Tag, head: &[u8], file: FileId, body: u64, on_short: OnShort) {
        self.push(Segment::Unit(Unit::new(tag, head, file, body, on_short)));
    }

    /// Removes the units of a tag that have not been started. Returns the bytes of files in them, which a
    /// flow-control window gets back.
    pub fn cancel(&mut self, tag: Tag) -> u64 {
        let returned = self.remove_units(tag);
        self.pass_front_marks();
        returned
    }

    fn remove_units(&mut self, tag: Tag) -> u64 {
        let (mut bodies, mut all) = (0, 0);
        self.queue.segments.retain(|segment| match segment {
            Segment::Unit(unit) if unit.tag == tag && !unit.has_started() && !unit.gathered => {
                bodies += unit.body;
                all += unit.remaining();
                false
            }
            _ => true,
        });
        self.queued -= all;
        bodies
    }

    /// Passes the marks that are in front after units have been removed.
    fn pass_front_marks(&mut self) {
        // A seal stays in front: a gather that removes units continues under the seal that it began with.
        while matches!(self.queue.segments.front(), Some(Segment::Mark(_))) {
            self.drop_front();
        }
        self.deliver_passed();
    }

    /// Removes the units of a tag, and reports it in front of the marks that are passed by that: a mark behind all
    /// units of a tag means otherwise that they have been sent.
    fn remove_and_report(&mut self, tag: Tag, event: impl FnOnce(u64) -> UnitEvent) {
        let returned = self.remove_units(tag);
        self.queue.events.push_back(OutboxEvent::Unit(tag, event(returned)));
        self.pass_front_marks();
    }

    /// Returns a page-in to be run, and the tag for which [`page_in_done`](Self::page_in_done) must be
    /// called afterwards.
    #[doc(hidden)]
    pub fn take_page_in(&mut self) -> Option<(Tag, PageIn)> {
        self.queue.get_mut()?.files.page_ins.pop()
    }

    /// Reports that the page-in of a tag is done.
    #[doc(hidden)]
    pub fn page_in_done(&mut self, tag: Tag) {
        self.queue.events.push_back(OutboxEvent::Unit(tag, UnitEvent::Warm));
    }

    /// Removes the units of a tag after a page-cache miss, and requests a page-in.
    pub(super) fn remove_missed(&mut self, tag: Tag, file: FileId) {
        let page_in = self.queue.files.get(file).map(FileToSocket::page_in);
        if let Some(page_in) = page_in {
            let page_in = self.with_cost(page_in);
            self.queue.files.page_ins.push((tag, page_in));
        }
        self.remove_and_report(tag, |returned| UnitEvent::Cold { returned });
    }

    /// Removes the units of a tag whose file has been written.
    pub(super) fn remove_changed(&mut self, tag: Tag) {
        self.remove_and_report(tag, |returned| UnitEvent::Changed { returned });
    }

    /// Removes the units of a tag whose file has become shorter.
    pub(super) fn remove_short(&mut self, tag: Tag) {
        self.remove_and_report(tag, |returned| UnitEvent::Short { returned });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::outbox::event::Mark;
    use crate::seal::{RecordKind, Seal, SealError, SealRoom};
    use crate::settings::Settings;
    use crate::step::Progress;
    use crate::via::Via;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    /// Brackets around the plaintext.
    struct Brackets;

    impl Seal for Brackets {
        fn room(&self) -> SealRoom {
            SealRoom { prefix: 1, tag: 1 }
        }

        fn max_plain(&self, _idle: bool) -> usize {
            1000
        }

        fn seal(&mut self, _kind: RecordKind, record: &mut [u8]) -> Result<(), SealError> {
            let last = record.len() - 1;
            (record[0], record[last]) = (b'[', b']');
            Ok(())
        }
    }

    /// Returns a file whose first reads are misses.
    fn missing() -> FileToSocket {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"desert").unwrap();
        let device = Device { number: 0, remote: true };
        FileToSocket::new(Arc::new(file), 0..6, Settings { device, ..Via::Copy.into() })
    }

    /// Returns the bytes that the outbox sends until all have been sent.
    fn sent(outbox: &mut Outbox) -> Vec<u8> {
        let (near, mut far) = UnixStream::pair().unwrap();
        while !matches!(outbox.step(near.as_fd()).unwrap(), Progress::Done) {}
        drop(near);
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        received
    }

    #[test]
    fn no_record_is_made_where_all_units_are_removed() {
        let mut outbox = Outbox::new();
        outbox.report_misses();
        outbox.push_seal(Box::new(Brackets));
        let file = outbox.open_file(missing());
        outbox.push_unit(Tag(1), b"head ", file, 6, OnShort::Stop);
        assert!(sent(&mut outbox).is_empty());
        let cold = OutboxEvent::Unit(Tag(1), UnitEvent::Cold { returned: 6 });
        assert_eq!((outbox.next_event(), outbox.queued()), (Some(cold), 0));
    }

    #[test]
    fn a_mark_behind_a_removed_unit_is_passed_after_the_report() {
        let mut outbox = Outbox::new();
        outbox.report_misses();
        let file = outbox.open_file(missing());
        outbox.push_unit(Tag(1), b"head ", file, 6, OnShort::Stop);
        outbox.push_mark(Mark(2));
        assert!(sent(&mut outbox).is_empty());
        let cold = OutboxEvent::Unit(Tag(1), UnitEvent::Cold { returned: 6 });
        let events = [outbox.next_event(), outbox.next_event(), outbox.next_event()];
        assert_eq!(events, [Some(cold), Some(OutboxEvent::Sent(Mark(2))), None]);
    }

    #[test]
    fn a_seal_behind_a_removed_unit_seals_whole_records() {
        let mut outbox = Outbox::new();
        outbox.report_misses();
        let file = outbox.open_file(missing());
        outbox.push_unit(Tag(1), b"head ", file, 6, OnShort::Stop);
        outbox.push_seal(Box::new(Brackets));
        outbox.push_bytes(b"water".to_vec());
        assert_eq!(sent(&mut outbox), b"[water]");
    }

    #[test]
    fn a_unit_is_in_no_record_of_another_kind() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"desert").unwrap();
        let mut outbox = Outbox::new();
        outbox.push_seal(Box::new(Brackets));
        let file = outbox.open_file(FileToSocket::new(Arc::new(file), 0..6, Via::Copy));
        outbox.push_record(RecordKind::HANDSHAKE, b"key".to_vec());
        outbox.push_unit(Tag(1), b"head ", file, 6, OnShort::Stop);
        outbox.push_unit(Tag(1), b"end", file, 0, OnShort::Stop);
        outbox.push_record(RecordKind::ALERT, b"close".to_vec());
        assert_eq!(sent(&mut outbox), b"[key][head desertend][close]");
    }

    #[test]
    fn a_unit_without_a_head_is_completed_when_its_file_is_short() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"desert").unwrap();
        let mut outbox = Outbox::new();
        let file = outbox.open_file(FileToSocket::new(Arc::new(file), 0..20, Via::Copy));
        outbox.push_bytes(b"in the ".to_vec());
        for length in [6, 2, 8] {
            outbox.push_unit(Tag(1), b"", file, length, OnShort::ZeroFill);
        }
        outbox.push_bytes(b"!".to_vec());
        assert_eq!(sent(&mut outbox), b"in the desert\0\0!");
        let short = OutboxEvent::Unit(Tag(1), UnitEvent::Short { returned: 8 });
        assert_eq!((outbox.next_event(), outbox.queued()), (Some(short), 0));
    }
}
