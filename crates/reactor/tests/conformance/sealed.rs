//! Sealed sending by every via on every model: records arrive whole and in order.

use karez_reactor::{ALLOWED, Event, Io, Mark, NoJob, Peer, SendError, Service, Task};
use karez_transfer::{Direction, Fallback, FileToSocket, Reason, Report, Via};
use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::scripted_task::{LONG, config, connect, end_of, many, serve_with};
use crate::xor::{Xor, open_all};

/// Bytes of the file, of which the first is not asked for.
const LENGTH: usize = 600_001;

/// Bytes that are promised and do not exist, where so many are asked for.
const MISSING: u64 = 20_000;

/// Sends the file by the requested via, behind a seal.
struct Sealed {
    file: Arc<File>,
    outcomes: Sender<Outcome>,
}

enum Outcome {
    Sent(Vec<Report>),
    Truncated(u64),
}

impl Sealed {
    fn send(&self, via: Via, truncated: bool, io: &mut Io<'_, NoJob>) {
        let end = LENGTH as u64 + if truncated { MISSING } else { 0 };
        let outbox = io.outbox();
        outbox.enable_stats();
        outbox.push_bytes(b"plain".to_vec());
        outbox.push_seal(Box::new(Xor(7)));
        outbox.push_bytes(b"head".to_vec());
        outbox.push_file(FileToSocket::new(self.file.clone(), 1..end, via));
        outbox.push_bytes(b"tail".to_vec());
        io.notify_sent(Mark(1));
    }
}

impl Task for Sealed {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        let outcome = match event {
            Event::Opened(_) => return io.receive(io.now() + LONG, true, None),
            Event::Received(order, _) => {
                let via = Direction::FileToSocket.vias()[usize::from(order[0])];
                return self.send(via, order[1] == 1, io);
            }
            Event::Sent(Mark(1)) => Outcome::Sent(io.outbox().take_stats().unwrap().into_reports()),
            Event::SendFailed(SendError::Truncated { missing }) => Outcome::Truncated(missing),
            Event::Closing(_) => return,
            _ => panic!("{event:?}"),
        };
        self.outcomes.send(outcome).unwrap();
        io.close();
    }
}

struct Sealing {
    file: Arc<File>,
    outcomes: Mutex<Sender<Outcome>>,
}

impl Service for Sealing {
    type Task = Sealed;

    fn connect(&self, _: Peer, _: Instant) -> Sealed {
        Sealed { file: self.file.clone(), outcomes: self.outcomes.lock().unwrap().clone() }
    }
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|n| (n * 31 + n / 256).to_le_bytes()[0]).collect()
}

#[test]
fn everything_behind_a_seal_arrives_in_records_by_every_via() {
    let content = content();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let (file, whole) = (Arc::new(file), [b"head", &content[1..], b"tail"].concat());
    for &(model, topology) in ALLOWED {
        let (sender, outcomes) = mpsc::channel();
        let service = Sealing { file: file.clone(), outcomes: Mutex::new(sender) };
        serve_with(config(model, topology), many(), &service, |address, _, name| {
            for (number, via) in Direction::FileToSocket.vias().iter().enumerate() {
                for truncated in [0, 1] {
                    let mut stream = connect(address);
                    stream.write_all(&[u8::try_from(number).unwrap(), truncated]).unwrap();
                    let sent = end_of(stream);
                    let plain = open_all(sent.strip_prefix(b"plain").unwrap(), 7);
                    match outcomes.recv_timeout(LONG).unwrap() {
                        Outcome::Sent(reports) => {
                            assert!(truncated == 0 && plain == whole, "{name}, {via}");
                            let [report] = &reports[..] else { panic!("{name}, {via}") };
                            let bytes = LENGTH as u64 - 1;
                            assert_eq!(
                                (report.bytes, report.effective),
                                (bytes, Via::Copy),
                                "{name}"
                            );
                            let plain = matches!(via, Via::Auto | Via::Copy);
                            let fallback = Fallback::new(*via, Reason::Sealed, 0);
                            let expected = if plain { vec![] } else { vec![fallback] };
                            assert_eq!(report.fallbacks, expected, "{name}");
                        }
                        Outcome::Truncated(missing) => {
                            assert_eq!((truncated, missing), (1, MISSING), "{name}, {via}");
                            assert!(plain == whole[..whole.len() - 4], "{name}, {via}");
                        }
                    }
                }
            }
        });
    }
}
