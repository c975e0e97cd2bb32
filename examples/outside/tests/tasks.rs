//! A task under the harness of karez-reactor: each event, each request, and the values of both.

use karez_reactor::testing::{ArmedReceive, Closed, Harness};
use karez_reactor::{
    Context, Device, Event, Io, Job, JobError, JobId, Local, Mailbox, Mark, OpenRequest,
    OpenedFile, Peer, Reason, RecordType, RelayEnd, SendError, SharedRate, SocketOption, Tag, Task,
    UnitEvent,
};
use karez_transfer::Errno;
use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// A job that doubles a number.
#[derive(Debug)]
struct Double(u32);

impl Job for Double {
    type Done = u32;

    fn device(&self) -> Device {
        Device { number: u64::from(self.0), remote: false }
    }

    fn run(self) -> u32 {
        2 * self.0
    }

    fn try_run(self) -> Result<u32, Self> {
        if self.0 < 10 { Ok(self.run()) } else { Err(self) }
    }

    fn open_request(&mut self) -> Option<OpenRequest> {
        None
    }

    fn opened(self, opened: Result<OpenedFile, Errno>) -> Result<u32, Self> {
        if opened.is_ok() { Ok(0) } else { Err(self) }
    }
}

/// State that the tasks of an event loop share.
struct Count(u32);

impl Local for Count {
    fn tend(&mut self, now: Instant) -> Option<Instant> {
        (self.0 > 0).then(|| now + SECOND)
    }
}

/// Writes down each event.
#[derive(Default)]
struct Protocol {
    seen: Vec<&'static str>,
    turns: i32,
    mailbox: Option<Mailbox<u8>>,
}

impl Protocol {
    fn opened(&mut self, context: Context<'_, u8>, io: &mut Io<'_, Double>) -> &'static str {
        self.mailbox = context.mailbox().ok();
        io.local::<Count>().into_iter().for_each(|count| count.0 += 1);
        io.send_timeout(SECOND);
        io.min_send_rate(1000);
        io.configure(SocketOption::NoDelay(true));
        io.configure(SocketOption::KeepAlive(true));
        io.configure(SocketOption::UserTimeout(1000));
        io.receive(io.now() + SECOND, true, NonZeroUsize::new(100));
        "opened"
    }

    fn received(bytes: &[u8], io: &mut Io<'_, Double>) -> &'static str {
        assert_eq!((io.epoch(), io.may_defer()), (1, false));
        io.defer(); // which it may not
        assert!(io.start_costly(SECOND), "there is no limit on model blocking");
        io.outbox().push_bytes(bytes.to_vec());
        io.notify_sent(Mark(1));
        io.set_timer(Some(io.now() + SECOND));
        assert!(io.run(JobId(1), Double(21)).is_ok());
        "received"
    }
}

impl Task for Protocol {
    type Job = Double;
    type Message = u8;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, Double>) {
        let name = match event {
            Event::Opened(context) => self.opened(context, io),
            Event::Received(bytes, RecordType::Data) => Self::received(bytes, io),
            Event::Received(_, RecordType::Control(_)) => "control record",
            Event::Configured(result) if result.is_ok() => "configured",
            Event::JobDone(JobId(1), Ok(42)) => "job done",
            Event::JobDone(_, Err(JobError::Panicked | JobError::Rejected)) => "no result",
            Event::Sent(Mark(1)) => "sent",
            Event::SendFailed(SendError::Truncated { missing: 1 }) => "truncated",
            Event::SendFailed(SendError::TimedOut | SendError::ShutDown | SendError::Failed(_)) => {
                "not sent"
            }
            Event::Unit(Tag(1), UnitEvent::Warm) => "unit",
            Event::Deferred => "deferred",
            Event::Timer => "timer",
            Event::ReceiveTimedOut => "timed out",
            Event::Message(7) => "message",
            Event::Relayed(RelayEnd { to_upstream: 1, to_client: 2, error: None }) => "relayed",
            Event::Closing(Reason::Draining | Reason::Evicted) => "closing",
            Event::Closing(Reason::Shutdown) => {
                io.shutdown_write();
                "shutdown"
            }
            Event::PeerClosed => {
                io.close();
                "peer closed"
            }
            Event::Failed(_) => {
                io.reset();
                "failed"
            }
            _ => "another",
        };
        self.seen.push(name);
    }

    fn fill(&mut self, io: &mut Io<'_, Double>) {
        io.outbox().push_bytes(b"more".to_vec());
    }

    fn on_resume(&mut self) {
        self.turns += 1;
    }

    fn on_yield(&mut self) {
        self.turns -= 1;
    }
}

fn harness() -> Harness<Protocol> {
    let mut harness = Harness::new(Protocol::default(), Instant::now());
    harness.set_local(Some(Box::new(Count(0))));
    harness.open();
    harness
}

#[test]
fn requests_are_remembered() {
    let mut harness = harness();
    let now = harness.now();
    let Some(ArmedReceive { deadline, idle, at_most, .. }) = harness.receive() else {
        panic!("it receives")
    };
    assert!(deadline > now && idle && at_most == Some(100));
    assert_eq!((harness.send_timeout(), harness.timer()), (SECOND, None));
    let options = harness.take_options();
    assert!(options.iter().all(|option| !matches!(option, SocketOption::TlsRx(_))));
    assert_eq!(options.len(), 3);
    harness.advance(SECOND);
    harness.handle(Event::Received(&mut b"water".to_vec(), RecordType::Data));
    assert!(harness.timer().is_some_and(|timer| timer > deadline) && harness.receive().is_none());
    harness.fill();
    assert_eq!(harness.outbox().queued(), 9);
    let jobs = harness.take_jobs();
    assert_eq!(jobs.len(), 1);
    for (id, job) in jobs {
        assert_eq!(job.device().number, 21);
        let mut job = job.try_run().expect_err("it would block");
        assert!(job.open_request().is_none());
        let job = job.opened(Err(Errno::INVAL)).expect_err("nothing was opened");
        harness.handle(Event::JobDone(id, Ok(job.run())));
    }
    let mailbox = harness.task().mailbox.take().expect("it asked for one");
    assert!(Mailbox::<u8>::CAPACITY > 1 && mailbox.send(7).is_ok());
    assert_eq!(harness.task().seen, ["opened", "received", "job done"]);
    let task = harness.task();
    task.on_resume();
    task.on_yield();
    assert_eq!(task.turns, 0);
}

#[test]
fn each_event_is_delivered() {
    let mut harness = harness();
    let events = [
        (Event::Configured(Ok(())), "configured"),
        (Event::Received(&mut [], RecordType::Control(21)), "control record"),
        (Event::JobDone(JobId(2), Err(JobError::Rejected)), "no result"),
        (Event::JobDone(JobId(2), Err(JobError::Panicked)), "no result"),
        (Event::Sent(Mark(1)), "sent"),
        (Event::SendFailed(SendError::Truncated { missing: 1 }), "truncated"),
        (Event::SendFailed(SendError::TimedOut), "not sent"),
        (Event::SendFailed(SendError::ShutDown), "not sent"),
        (Event::SendFailed(SendError::Failed(io::ErrorKind::BrokenPipe.into())), "not sent"),
        (Event::Unit(Tag(1), UnitEvent::Warm), "unit"),
        (Event::Deferred, "deferred"),
        (Event::Timer, "timer"),
        (Event::ReceiveTimedOut, "timed out"),
        (Event::Message(7), "message"),
        (Event::Relayed(RelayEnd { to_upstream: 1, to_client: 2, error: None }), "relayed"),
        (Event::Closing(Reason::Evicted), "closing"),
        (Event::Closing(Reason::Draining), "closing"),
    ];
    for (event, name) in events {
        harness.handle(event);
        assert_eq!(harness.task().seen.pop(), Some(name));
    }
    assert_eq!((harness.shuts_down_write(), harness.closed()), (false, None));
    harness.handle(Event::Closing(Reason::Shutdown));
    harness.handle(Event::PeerClosed);
    assert_eq!((harness.shuts_down_write(), harness.closed()), (true, Some(Closed::Regularly)));
    harness.handle(Event::Failed(io::ErrorKind::ConnectionReset.into()));
    assert_eq!(harness.closed(), Some(Closed::ByReset));
}

/// Relays, at a part of a rate.
struct Relaying(Option<OwnedFd>, SharedRate);

impl Task for Relaying {
    type Job = karez_reactor::NoJob;
    type Message = std::convert::Infallible;

    fn handle(&mut self, _: Event<'_, Self>, io: &mut Io<'_, Self::Job>) {
        let share: karez_reactor::RateShare = self.1.join();
        io.pace(&share);
        if let Some(upstream) = self.0.take() {
            io.relay(upstream, SECOND);
        }
    }
}

#[test]
fn a_relay_takes_the_upstream() -> io::Result<()> {
    let rate = SharedRate::new(NonZeroU64::MIN.saturating_add(999), None);
    assert!(rate.is_unused());
    let (upstream, _peer) = UnixStream::pair()?;
    let mut harness = Harness::new(Relaying(Some(upstream.into()), rate.clone()), Instant::now());
    harness.open();
    assert!(harness.take_relay().is_some_and(|(_, stall)| stall == SECOND));
    let _one = rate.join();
    assert_eq!(rate.part(), 1000);
    let peer = Peer::new(None, 3);
    assert_eq!((peer.address, peer.listener), (None, 3));
    Ok(())
}
