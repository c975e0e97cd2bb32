//! Any events in any order: the sums of flow control, and the end of each stream.

use crate::peer::*;
use crate::sink::{File, content};
use karez_http::h2::{ErrorCode, StreamBody, StreamId, StreamPart, UnitEvent, flag, kind};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// Something that happens to a connection.
#[derive(Clone, Copy, Debug)]
enum Event {
    Request { length: u64, streamed: bool },
    Window { stream: u8, increment: u16 },
    InitialWindow(u16),
    Send(u16),
    Cold(u8),
    Warm,
    Short(u8),
    ResetByClient(u8),
    ResetByServer(u8),
    Room(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u64..30_000, any::<bool>())
            .prop_map(|(length, streamed)| Event::Request { length, streamed }),
        4 => (any::<u8>(), 1_u16..40_000)
            .prop_map(|(stream, increment)| Event::Window { stream, increment }),
        1 => any::<u16>().prop_map(Event::InitialWindow),
        8 => any::<u16>().prop_map(Event::Send),
        2 => any::<u8>().prop_map(Event::Cold),
        2 => Just(Event::Warm),
        1 => any::<u8>().prop_map(Event::Short),
        1 => any::<u8>().prop_map(Event::ResetByClient),
        1 => any::<u8>().prop_map(Event::ResetByServer),
        1 => any::<u16>().prop_map(Event::Room),
    ]
}

/// The client's books.
#[derive(Default)]
struct Books {
    window: i64,
    initial: i64,
    /// Changes of the initial window that are not acknowledged, and the first stream that each does
    /// not concern.
    changes: VecDeque<(i64, u32)>,
    windows: BTreeMap<u32, i64>,
    expected: BTreeMap<u32, Vec<u8>>,
    received: BTreeMap<u32, Vec<u8>>,
    cold: Vec<u32>,
    /// Streams that were reset, or whose file is shorter.
    gone: Vec<u32>,
    ended: Vec<u32>,
    wire: usize,
}

impl Books {
    fn pick(&self, seed: u8) -> Option<u32> {
        let streams: Vec<_> = self.expected.keys().copied().collect();
        streams.get(usize::from(seed) % streams.len().max(1)).copied()
    }

    fn open(&self, seed: u8) -> Option<u32> {
        self.pick(seed).filter(|stream| !self.gone.contains(stream) && !self.ended.contains(stream))
    }

    /// Books frames that are complete on the wire.
    fn book(&mut self, wire: &[u8]) {
        while let Some(header) = wire.get(self.wire..self.wire + 9) {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let Some(frame) = wire.get(self.wire..self.wire + 9 + length) else {
                break;
            };
            self.wire += frame.len();
            for frame in parse(frame) {
                if frame.kind == kind::DATA {
                    let size = i64::try_from(frame.payload.len()).unwrap();
                    self.window -= size;
                    let window = self.windows.get_mut(&frame.stream).unwrap();
                    *window -= size;
                    assert!(
                        size == 0 || (*window >= 0 && self.window >= 0),
                        "a window is exceeded"
                    );
                    self.received.get_mut(&frame.stream).unwrap().extend(&frame.payload);
                }
                if (frame.kind, frame.flags) == (kind::SETTINGS, flag::ACK)
                    && let Some((change, until)) = self.changes.pop_front()
                {
                    self.windows.range_mut(..until).for_each(|(_, window)| *window += change);
                }
                if frame.ends() {
                    assert!(!self.ended.contains(&frame.stream), "{} ends twice", frame.stream);
                    self.ended.push(frame.stream);
                }
            }
        }
    }
}

fn apply(peer: &mut Peer, books: &mut Books, event: Event, next: &mut u32) {
    match event {
        Event::Request { length, streamed } if books.expected.len() < 40 => {
            let stream = *next;
            *next += 2;
            let file = u8::try_from(stream / 2 + 1).unwrap();
            peer.send(&get(stream));
            let mut expected = content(file, 0..length);
            if streamed {
                peer.connection.respond(StreamId(stream), ok(), StreamBody::Stream);
                let file = StreamPart::File(File(file), 0..length);
                peer.connection.append(StreamId(stream), file, false);
                let end = StreamPart::Bytes(vec![file_end(stream); 50].into());
                peer.connection.append(StreamId(stream), end, true);
                expected.extend([file_end(stream); 50]);
            } else {
                let body = StreamBody::File(File(file), 0..length);
                peer.connection.respond(StreamId(stream), ok(), body);
            }
            books.expected.insert(stream, expected);
            books.received.insert(stream, Vec::new());
            books.windows.insert(stream, books.initial);
        }
        Event::Window { stream, increment } => {
            let target = books.pick(stream).filter(|_| stream % 2 == 0).unwrap_or(0);
            peer.send(&window(target, increment.into()));
            let window = books.windows.get_mut(&target).unwrap_or(&mut books.window);
            *window += i64::from(increment);
        }
        Event::InitialWindow(size) => {
            peer.send(&settings(&[(4, size.into())]));
            let change = i64::from(size) - books.initial;
            books.initial += change;
            books.changes.push_back((change, *next));
        }
        Event::Send(count) => peer.queue.send(count.into()),
        Event::Cold(seed) => {
            let units = peer.queue.units();
            if let Some(stream) = units.get(usize::from(seed) % units.len().max(1)) {
                peer.queue.find_cold(*stream);
                books.cold.push(stream.0);
            }
        }
        Event::Warm => {
            if let Some(stream) = books.cold.pop() {
                peer.queue.events.push_back((StreamId(stream), UnitEvent::Warm));
            }
        }
        Event::Short(seed) => {
            let units = peer.queue.units();
            if let Some(stream) = units.get(usize::from(seed) % units.len().max(1)) {
                peer.queue.find_short(*stream);
                books.gone.push(stream.0);
            }
        }
        Event::ResetByClient(seed) => {
            if let Some(stream) = books.open(seed) {
                peer.send(&reset(stream, ErrorCode::CANCEL));
                books.gone.push(stream);
            }
        }
        Event::ResetByServer(seed) => {
            if let Some(stream) = books.open(seed) {
                peer.connection.reset(StreamId(stream), ErrorCode::CANCEL);
                books.gone.push(stream);
            }
        }
        Event::Room(room) => peer.queue.room = room.into(),
        Event::Request { .. } => {}
    }
}

fn file_end(stream: u32) -> u8 {
    stream.to_le_bytes()[0]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(250) })]

    /// Whatever happens in whatever order: no window is exceeded, every stream that is not reset ends
    /// exactly once with exactly its body, every file is closed exactly once, and the window of the
    /// connection has lost exactly the octets that were sent.
    #[test]
    fn sums_are_right_after_any_events(events in prop::collection::vec(event(), 1..80)) {
        let mut peer = Peer::new();
        let mut books = Books { window: 65_535, initial: 65_535, ..Books::default() };
        let mut next = 1;
        for event in events {
            apply(&mut peer, &mut books, event, &mut next);
            while !peer.queue.events.is_empty() {
                peer.report();
            }
            peer.connection.fill(&mut peer.queue);
            let wire = std::mem::take(&mut peer.queue.wire);
            books.book(&wire);
            peer.queue.wire = wire;
        }
        // Everything that was begun comes to its end.
        for stream in std::mem::take(&mut books.cold) {
            peer.queue.events.push_back((StreamId(stream), UnitEvent::Warm));
        }
        peer.queue.room = 64 << 10;
        peer.report();
        peer.send(&window(0, 1_500_000));
        books.window += 1_500_000;
        for stream in books.expected.keys() {
            peer.send(&window(*stream, 900_000));
            *books.windows.get_mut(stream).unwrap() += 900_000;
        }
        prop_assert_eq!(peer.error, None);
        loop {
            peer.connection.fill(&mut peer.queue);
            if peer.queue.is_empty() && peer.queue.events.is_empty() {
                break;
            }
            peer.queue.send(usize::MAX);
            peer.report();
        }
        let wire = std::mem::take(&mut peer.queue.wire);
        books.book(&wire);
        prop_assert_eq!(books.wire, wire.len());
        for (stream, expected) in &books.expected {
            let (received, ended) = (&books.received[stream], books.ended.contains(stream));
            if !books.gone.contains(stream) {
                prop_assert!(ended && received == expected, "{} of {}", received.len(), expected.len());
            }
        }
        prop_assert!(peer.connection.is_idle(), "{:?}", peer.connection.waiting());
        let mut closed = peer.queue.closed.clone();
        closed.sort_unstable();
        let files: Vec<_> = books.expected.keys().map(|stream| u8::try_from(stream / 2 + 1).unwrap()).collect();
        prop_assert_eq!(closed, files);
        // Exactly the rest of the connection's window can be sent, the last of it where a small window is used.
        peer.send_all(&[settings(&[(4, 0x7fff_ffff)]), get(next)]);
        let whole = StreamBody::File(File(0), 0..20_000_000);
        peer.connection.respond(StreamId(next), ok(), whole);
        let mut frames = peer.receive();
        peer.connection.use_small_windows();
        frames.extend(peer.receive());
        let sent: u64 = frames.iter().filter(|frame| frame.kind == kind::DATA).map(|frame| frame.payload.len() as u64).sum();
        prop_assert_eq!(i64::try_from(sent).unwrap(), books.window);
    }
}
