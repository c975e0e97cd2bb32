//! The task of a connection and its state between two events: its outbox, its requests, and the events that
//! wait for it.

use karez_transfer::{Outbox, OutboxEvent};
use std::mem;
use std::time::{Duration, Instant};

use crate::io::{Io, JobId, Requests, Wants};
use crate::moment::Moment;
use crate::pending::Pending;
use crate::sync::mailbox::Envelope;
use crate::sync::offload::{OffloadId, Tickets};
use crate::task::{Event, EventName, Job, JobError, Task};
use crate::timers::Deadline;

/// Where no deadline is set: longer than any connection lasts.
pub(crate) const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The task of a connection and its state between two events.
pub(crate) struct TaskState<T: Task> {
    pub(crate) task: T,
    pub(crate) outbox: Outbox,
    pub(crate) wants: Wants,
    /// The last time that a byte was sent, or that the outbox was empty.
    pub(crate) progressed_at: Moment,
    pub(crate) deadline: Deadline,
    /// In the event loop's run queue.
    pub(crate) queued: bool,
    /// It is evicted as soon as the received bytes are delivered.
    pub(crate) evicting: bool,
    /// Nothing has happened since it blocked last.
    pub(crate) unchanged: bool,
    /// The kernel opens the records of TLS that the socket receives.
    pub(crate) records: bool,
    /// The event that the task has deferred to is due.
    pub(crate) deferred_due: bool,
    last_event: EventName,
    pub(crate) tickets: Tickets,
    pending: Pending<T>,
}

/// The result of a turn of a connection.
pub(crate) enum Turn {
    /// Everything that its task wants has to wait, at most until `deadline`. `unchanged`: nothing has
    /// happened since it blocked last.
    Blocked {
        deadline: Option<Instant>,
        idle: bool,
        unchanged: bool,
    },
    /// Its budget is used up; it could go on at once.
    Yielded,
    Closed,
}

impl<T: Task> TaskState<T> {
    pub(crate) fn new(task: T, outbox: Outbox, now: Instant) -> Self {
        Self {
            task,
            outbox,
            wants: Wants::new(),
            progressed_at: now.into(),
            deadline: Deadline::default(),
            queued: false,
            evicting: false,
            unchanged: false,
            records: false,
            deferred_due: false,
            last_event: EventName::Opened,
            tickets: Tickets::default(),
            pending: Pending::default(),
        }
    }

    /// Lets the task handle an event, and remembers its requests.
    pub(crate) fn handle(
        &mut self,
        event: Event<'_, T>,
        requests: &mut Requests<T::Job>,
        now: Instant,
    ) {
        let was_empty = self.outbox.is_empty();
        self.last_event = EventName::of(&event);
        let mut io = Io::new(now, &mut self.outbox, requests, self.wants.jobs);
        self.task.handle(event, &mut io);
        self.wants.take(requests);
        self.unchanged = false;
        if was_empty {
            self.progressed_at = now.into();
        }
    }

    /// Returns the next event that needs no system call.
    pub(crate) fn next_event(&mut self) -> Option<Event<'static, T>> {
        if mem::take(&mut self.deferred_due) {
            return Some(Event::Deferred);
        }
        if let Some((id, result)) = self.pending.next_result() {
            return Some(Event::JobDone(id, result));
        }
        if let Some(event) = self.outbox.next_event() {
            return Some(match event {
                OutboxEvent::Sent(mark) => Event::Sent(mark),
                OutboxEvent::Unit(tag, event) => Event::Unit(tag, event),
            });
        }
        // Backpressure: a task that answers messages to a slow peer does not get more of them.
        if self.outbox.room() == 0 {
            return None;
        }
        self.pending.next_message().map(|envelope| Event::Message(envelope.open()))
    }

    /// Keeps a message until the next turn.
    pub(crate) fn push_message(&mut self, envelope: Envelope<T::Message>) {
        self.pending.push_message(envelope);
    }

    /// Keeps the result of a job that did not run elsewhere.
    pub(crate) fn push_result(&mut self, id: JobId, done: <T::Job as Job>::Done) {
        self.pending.push_result((id, Ok(done)));
    }

    /// Keeps the result of a job that ran elsewhere until the next turn.
    pub(crate) fn job_done(&mut self, id: JobId, result: Result<<T::Job as Job>::Done, JobError>) {
        self.tickets.remove(OffloadId::Job(id));
        self.wants.jobs = self.wants.jobs.saturating_sub(1);
        self.pending.push_result((id, result));
    }

    pub(crate) fn progressed(&mut self, bytes: u64, now: Instant) {
        self.progressed_at = self.wants.stall.progress(self.progressed_at, bytes, now);
    }

    /// Returns when the peer has taken no byte, or too few, for too long.
    pub(crate) fn stall_deadline(&self) -> Instant {
        self.progressed_at.instant() + self.wants.stall.timeout()
    }

    /// Returns whether no event can follow but for pages that are being read for units of the outbox.
    pub(crate) fn waits_for_units_alone(&self) -> bool {
        let waits = self.tickets.has_unit_page_ins() && self.outbox.is_empty();
        waits && self.wants.deadline().is_none() && self.wants.jobs == 0
    }

    /// Returns when work for the pool is overdue.
    pub(crate) fn offload_deadline(&self, id: OffloadId, now: Instant) -> Instant {
        match id {
            OffloadId::Job(_) => self.wants.timer.map_or(now + NEVER, Moment::instant),
            OffloadId::PageIn(_) => self.stall_deadline(),
        }
    }

    /// Ends a turn in which nothing more can be done. `busy`: the backend sends, relays or reads pages, at
    /// most until `stall`.
    pub(crate) fn block(&mut self, busy: bool, stall: Option<Instant>) -> Turn {
        let deadline = self.wants.deadline().map(Moment::instant);
        let busy = busy || self.wants.jobs > 0;
        if deadline.is_none() && !busy {
            if !self.evicting {
                self.fail_forgotten();
            }
            return Turn::Closed;
        }
        let idle = !busy && self.wants.receive.is_some_and(|receive| receive.idle);
        let unchanged = mem::replace(&mut self.unchanged, true);
        Turn::Blocked { deadline: deadline.into_iter().chain(stall).min(), idle, unchanged }
    }

    /// Panics: no event can follow, and the task has not closed the connection.
    #[cold]
    #[expect(clippy::panic, reason = "it is contained in the connection and reported like others")]
    pub(crate) fn fail_forgotten(&self) -> ! {
        panic!(
            "{} has nothing armed, queued or running after Event::{:?}, and has not closed its connection",
            std::any::type_name::<T>(),
            self.last_event
        );
    }

    /// Returns what the connection waits for.
    #[cfg(feature = "simulation")]
    pub(crate) fn describe(&self) -> String {
        let now = crate::clock::now();
        let left = |at: Moment| at.instant().saturating_duration_since(now);
        let Wants { receive, timer, shutdown_write, jobs, .. } = &self.wants;
        let receive = receive.map(|receive| left(receive.deadline));
        let (timer, unsent) = (timer.map(left), !self.outbox.is_empty());
        format!(
            "receive {receive:?}, timer {timer:?}, jobs {jobs}, unsent {unsent}, FIN {shutdown_write}"
        )
    }
}
