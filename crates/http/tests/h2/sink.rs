//! A sink that is told how much of its queue is sent, and which units come back.

use karez_http::h2::{StreamId, UnitEvent, UnitSink};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::LazyLock;

/// A file: its number, from which its octets follow.
#[derive(Debug, PartialEq)]
pub(crate) struct File(pub(crate) u8);

/// The octets of a range of a file. File 0 is all zeros.
pub(crate) fn content(file: u8, range: Range<u64>) -> Vec<u8> {
    static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..PERIOD).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]).collect()
    });
    let length = usize::try_from(range.end - range.start).unwrap();
    if file == 0 {
        return vec![0; length];
    }
    let start = (usize::from(file) * 4099 + usize::try_from(range.start).unwrap()) % PERIOD;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(&PATTERN[start..PERIOD.min(start + length)]);
    while bytes.len() < length {
        bytes.extend(&PATTERN[..PERIOD.min(length - bytes.len())]);
    }
    bytes
}

const PERIOD: usize = (1 << 20) - 3;

#[derive(Debug)]
enum Segment {
    Bytes(Vec<u8>),
    Unit { stream: StreamId, file: u8, bytes: Vec<u8>, body: u64, begun: bool },
    Mark(StreamId),
}

/// Queues like an outbox.
#[derive(Debug)]
pub(crate) struct Queue {
    segments: VecDeque<Segment>,
    pub(crate) room: u64,
    pub(crate) wire: Vec<u8>,
    pub(crate) events: VecDeque<(StreamId, UnitEvent)>,
    pub(crate) closed: Vec<u8>,
    /// Where the next range of each file begins.
    next: Vec<(u8, u64)>,
}

impl Default for Queue {
    fn default() -> Self {
        let (segments, wire, events) = (VecDeque::new(), Vec::new(), VecDeque::new());
        Self { segments, room: 64 << 10, wire, events, closed: Vec::new(), next: Vec::new() }
    }
}

impl Queue {
    fn queued(&self) -> u64 {
        let lengths = self.segments.iter().map(|segment| match segment {
            Segment::Bytes(bytes) | Segment::Unit { bytes, .. } => bytes.len() as u64,
            Segment::Mark(_) => 0,
        });
        lengths.sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Sends at most so many octets.
    pub(crate) fn send(&mut self, mut most: usize) {
        while let Some(front) = self.segments.front_mut() {
            let bytes = match front {
                Segment::Mark(stream) => {
                    self.events.push_back((*stream, UnitEvent::Sent));
                    self.segments.pop_front();
                    continue;
                }
                Segment::Unit { bytes, begun, .. } => {
                    *begun |= most > 0;
                    bytes
                }
                Segment::Bytes(bytes) => bytes,
            };
            if most == 0 {
                break;
            }
            let count = most.min(bytes.len());
            self.wire.extend(bytes.drain(..count));
            most -= count;
            if bytes.is_empty() {
                self.segments.pop_front();
            }
        }
    }

    /// Streams that have units which have not begun.
    pub(crate) fn units(&self) -> Vec<StreamId> {
        let unit = |segment: &Segment| match segment {
            Segment::Unit { stream, body, begun: false, .. } if *body > 0 => Some(*stream),
            _ => None,
        };
        self.segments.iter().filter_map(unit).collect()
    }

    fn take_back(&mut self, wanted: StreamId) -> u64 {
        let mut returned = 0;
        let next = &mut self.next;
        self.segments.retain(|segment| match segment {
            Segment::Unit { stream, file, body, begun: false, .. } if *stream == wanted => {
                returned += body;
                if let Some((_, next)) = next.iter_mut().find(|(other, _)| other == file) {
                    *next -= body;
                }
                false
            }
            _ => true,
        });
        returned
    }

    /// Finds the pages of a stream's first unit cold.
    pub(crate) fn find_cold(&mut self, stream: StreamId) {
        let returned = self.take_back(stream);
        self.events.push_back((stream, UnitEvent::Cold { returned }));
    }

    /// Finds the file of a stream's first unit shorter: the unit is completed with zeros.
    pub(crate) fn find_short(&mut self, wanted: StreamId) {
        for segment in &mut self.segments {
            if let Segment::Unit { stream, bytes, begun: begun @ false, .. } = segment
                && *stream == wanted
            {
                *begun = true;
                bytes[9..].fill(0);
                break;
            }
        }
        let returned = self.take_back(wanted);
        self.events.push_back((wanted, UnitEvent::Short { returned }));
    }
}

impl UnitSink<File> for Queue {
    fn room(&self) -> u64 {
        self.room.saturating_sub(self.queued())
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        assert!(!bytes.is_empty());
        self.segments.push_back(Segment::Bytes(bytes));
    }

    fn unit(&mut self, stream: StreamId, header: [u8; 9], file: &File, range: Range<u64>) {
        assert!(!self.closed.contains(&file.0), "{file:?} is closed");
        // Ranges follow each other, as those of an outbox do.
        match self.next.iter_mut().find(|(other, _)| *other == file.0) {
            Some((_, next)) if *next == range.start => *next = range.end,
            Some((_, next)) => panic!("{range:?} of {file:?} behind {next}"),
            None => self.next.push((file.0, range.end)),
        }
        let body = range.end - range.start;
        let bytes = [&header[..], &content(file.0, range)].concat();
        self.segments.push_back(Segment::Unit { stream, file: file.0, bytes, body, begun: false });
    }

    fn cancel(&mut self, stream: StreamId) -> u64 {
        self.take_back(stream)
    }

    fn notify_sent(&mut self, stream: StreamId) {
        self.segments.push_back(Segment::Mark(stream));
        // A mark that nothing precedes passes at once.
        self.send(0);
    }

    fn close(&mut self, file: File) {
        assert!(!self.closed.contains(&file.0), "{file:?} is closed twice");
        let needs =
            |segment: &Segment| matches!(segment, Segment::Unit { file: of, .. } if *of == file.0);
        assert!(!self.segments.iter().any(needs), "a unit needs {file:?}");
        self.closed.push(file.0);
        self.next.retain(|(other, _)| *other != file.0);
    }
}
