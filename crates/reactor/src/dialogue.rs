//! One connection on a completion model: a socket, a task, and what is in flight for it.
//!
//! A receive stands all the time, so that what comes is there before it is wished for. Bytes that
//! come early are kept, but not many: then the receive is cancelled, and the peer's window closes.
//! An end of what the peer says, or an error, is kept in the same way.

use karez_sys::{Completion, Handle, Key, Operation, Outcome, Received};
use karez_transfer::Outbox;
use rustix::io::{self, Errno, ioctl_fionread};
use rustix::net::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::alarms::Deadline;
use crate::carrying::{Carrying, Side};
use crate::completer::Completer;
use crate::mailroom::{Home, Parcel, Unheard};
use crate::outlet::Outlet;
use crate::pool::Ticket;
use crate::sending::{Sending, Stand};
use crate::task::{Event, Job, Obstacle, Task, Want};
use crate::tools::Tools;

mod jobs;
mod names;

/// The most bytes that are kept for a task that does not wish for them.
const EARLY: usize = 16 << 10;

pub(crate) struct Dialogue<T: Task> {
    pub(crate) deadline: Deadline,
    tag: u64,
    socket: Handle,
    /// The same socket, where each direction needs its own number.
    out: Outlet,
    task: T,
    wish: Wish<T::Job>,
    mail: Unheard<T::Mail>,
    receive: Option<Key>,
    early: VecDeque<Vec<u8>>,
    early_bytes: usize,
    end: Option<End>,
    /// Of the job that is out, or of the last: the result of one that timed out is not taken for the
    /// next one's.
    pub(crate) serial: u32,
    /// Where the pool has it.
    pub(crate) ticket: Option<Ticket>,
    /// The deadline of the job.
    job_due: Instant,
    /// It makes room, and others wait for that.
    pub(crate) dismissed: bool,
}

enum Wish<J> {
    /// The task has to be asked.
    Ask,
    Receive {
        until: Instant,
        idle: bool,
    },
    Send(Box<Sending>),
    Relay(Box<Carrying>),
    /// The kernel looks up a name for this job.
    LookUp(Box<J>, Key),
    /// It has, and that was not all.
    Found(Box<J>),
    /// A worker runs its job.
    Work,
}

/// How the peer ended.
enum End {
    Closed,
    Failed(Errno),
}

/// Why a connection rests.
pub(crate) enum Rest<J> {
    /// For what is in flight, at most so long. `still`: no wish was granted.
    Waiting { until: Option<Instant>, idle: bool, still: bool },
    /// For this job, which a worker has to do, at most until then.
    Working(J, Instant),
    /// For a job that a worker does, at most until then.
    StillWorking(Instant),
    /// It is over.
    Closed,
}

impl<T: Task> Dialogue<T> {
    pub(crate) fn new(socket: Handle, out: Handle, task: T, now: Instant) -> Self {
        Self {
            deadline: Deadline::default(),
            tag: 0,
            socket,
            out: Outlet::new(out),
            task,
            wish: Wish::Ask,
            mail: Unheard::new(),
            receive: None,
            early: VecDeque::new(),
            early_bytes: 0,
            end: None,
            serial: 0,
            ticket: None,
            job_due: now,
            dismissed: false,
        }
    }

    /// Tells the task where it lives. Its operations are called so, too.
    pub(crate) fn move_in(&mut self, home: Home<'_, T::Mail>) {
        self.tag = home.token.0;
        self.task.move_in(home);
    }

    /// Keeps a mail until the task wants to receive.
    pub(crate) fn post(&mut self, parcel: Parcel<T::Mail>) {
        self.mail.push_back(parcel);
    }

    /// Takes what came of an operation.
    pub(crate) fn complete<C: Completer>(
        &mut self,
        completion: Completion,
        now: Instant,
        tools: &mut Tools<C>,
    ) {
        self.task.taken_up();
        if let Wish::Relay(carrying) = &mut self.wish {
            if let Err(errno) = carrying.complete(completion, now, tools) {
                self.end_relay(Event::Failed(errno.into()), now, tools);
            }
            return;
        }
        if let Outcome::Received(received) = completion.outcome {
            if self.receive != Some(completion.key) {
                return; // of a relay that is over
            }
            if completion.last {
                self.receive = None;
            }
            return self.received(received, now, tools);
        }
        if let Outcome::LookedUp(found) = completion.outcome {
            return self.looked_up(completion.key, found, now);
        }
        if let Wish::Send(sending) = &mut self.wish
            && let Err(obstacle) = sending.complete(completion, now, tools)
        {
            self.unsent(obstacle, now);
        }
    }

    /// Grants wishes until one has to wait or the task wants no more. With `pool` a job that may
    /// block is handed out instead of run.
    pub(crate) fn advance<C: Completer>(
        &mut self,
        pool: bool,
        now: Instant,
        tools: &mut Tools<C>,
    ) -> Rest<T::Job> {
        self.task.taken_up();
        let rest = self.go_on(pool, now, tools);
        self.task.put_down();
        rest
    }

    fn go_on<C: Completer>(
        &mut self,
        pool: bool,
        now: Instant,
        tools: &mut Tools<C>,
    ) -> Rest<T::Job> {
        let mut still = true;
        loop {
            match &mut self.wish {
                Wish::Work => return Rest::StillWorking(self.job_due),
                Wish::LookUp(..) => {
                    let until = Some(self.job_due);
                    return Rest::Waiting { until, idle: false, still };
                }
                Wish::Found(_) => {
                    if let Some(job) = self.look_further(pool, now, tools) {
                        return self.hand_out(job);
                    }
                }
                Wish::Ask => match self.task.want() {
                    Want::Close => return Rest::Closed,
                    Want::Work { job, until } => {
                        self.job_due = until;
                        if let Some(job) = self.work(job, pool, now, tools) {
                            return self.hand_out(job);
                        }
                    }
                    want => self.take_up::<C>(want, now),
                },
                Wish::Receive { until, idle } => {
                    let (until, idle) = (Some(*until), *idle);
                    if !self.hear_early(now) {
                        self.stand_by(tools);
                        return Rest::Waiting { until, idle, still };
                    }
                }
                Wish::Send(sending) => match sending.advance(self.tag, &mut self.out, tools) {
                    Stand::Flying => {
                        let until = sending.until();
                        return Rest::Waiting { until, idle: false, still: false };
                    }
                    Stand::Sent => self.sent(now),
                    Stand::Unsent(obstacle) => self.unsent(obstacle, now),
                },
                Wish::Relay(carrying) => {
                    if !carrying.advance(self.tag, tools) {
                        let until = Some(carrying.until());
                        return Rest::Waiting { until, idle: false, still: false };
                    }
                    self.end = Some(End::Closed);
                    let moved = carrying.moved();
                    self.end_relay(Event::Relayed(moved), now, tools);
                }
            }
            still = false;
        }
    }

    /// Whether the peer has sent what the task has not heard.
    pub(crate) fn has_unread(&self) -> bool {
        let in_socket = || ioctl_fionread((*self.socket).as_fd()).is_ok_and(|count| count > 0);
        !self.early.is_empty() || in_socket()
    }

    /// From now on nothing more is heard of the peer than what has been received already: most
    /// likely an end.
    pub(crate) fn dismiss(&mut self) {
        self.dismissed = true;
        // A peer that is gone has ended by itself.
        let _gone = shutdown((*self.socket).as_fd(), Shutdown::Read);
    }

    /// The deadline has passed.
    pub(crate) fn time_out<C: Completer>(&mut self, now: Instant, tools: &mut Tools<C>) {
        match &mut self.wish {
            Wish::Ask => {}
            Wish::LookUp(_, key) => {
                tools.completer.abort(*key);
                self.wish = Wish::Ask;
                self.task.hear(Event::TimedOut, now);
            }
            Wish::Receive { .. } | Wish::Found(_) | Wish::Work => {
                self.wish = Wish::Ask;
                self.task.hear(Event::TimedOut, now);
            }
            Wish::Send(sending) => {
                if let Err(obstacle) = sending.cut_short(now, tools) {
                    // A read ahead of a send holds the socket for as long as the file system likes.
                    let _gone = shutdown((*self.out.handle()).as_fd(), Shutdown::Both);
                    self.unsent(obstacle, now);
                }
            }
            Wish::Relay(_) => self.end_relay(Event::TimedOut, now, tools),
        }
    }

    /// Cancels what is in flight: the connection is over.
    pub(crate) fn abort<C: Completer>(&mut self, tools: &mut Tools<C>) {
        if let Some(key) = self.receive.take() {
            tools.completer.abort(key);
        }
        match &mut self.wish {
            Wish::Send(sending) => sending.abort(tools),
            Wish::Relay(carrying) => carrying.abort(tools),
            Wish::LookUp(_, key) => tools.completer.abort(*key),
            Wish::Ask | Wish::Receive { .. } | Wish::Found(_) | Wish::Work => {}
        }
    }

    /// Whether bytes are still on their way out.
    pub(crate) fn is_flying(&self) -> bool {
        matches!(&self.wish, Wish::Send(sending) if sending.is_flying())
    }

    /// The grace is over: the last thing that the task hears.
    pub(crate) fn abandon(&mut self, now: Instant) {
        self.unsent(Obstacle::Stopped, now);
    }

    fn take_up<C: Completer>(&mut self, want: Want<T::Job>, now: Instant) {
        match want {
            Want::Receive { until, idle } => self.wish = Wish::Receive { until, idle },
            Want::Send { outbox, stall } => {
                self.wish = Wish::Send(Box::new(Sending::new(outbox, stall, now)));
            }
            Want::Work { .. } | Want::Close => {} // granted by the caller
            Want::Finish => {
                self.out.finish();
                self.task.hear(Event::Finished, now);
            }
            Want::Relay { upstream, stall } => self.begin_relay::<C>(upstream, stall, now),
        }
    }

    fn begin_relay<C: Completer>(&mut self, upstream: OwnedFd, stall: Duration, now: Instant) {
        if let Some(End::Failed(errno)) = self.end {
            return self.task.hear(Event::Failed(errno.into()), now);
        }
        let client = Side { source: Arc::clone(&self.socket), sink: self.out.clone() };
        match Carrying::new::<C>(client, upstream, stall, now) {
            Ok(mut carrying) => {
                let early = self.early.drain(..).flatten().collect();
                self.early_bytes = 0;
                carrying.begin_with(early, self.end.is_some(), self.receive.take());
                self.wish = Wish::Relay(Box::new(carrying));
            }
            Err(errno) => self.task.hear(Event::Failed(errno.into()), now),
        }
    }

    fn end_relay<C: Completer>(
        &mut self,
        event: Event<'_, <T::Job as Job>::Done, T::Mail>,
        now: Instant,
        tools: &mut Tools<C>,
    ) {
        if let Wish::Relay(carrying) = &mut self.wish {
            carrying.abort(tools);
        }
        self.wish = Wish::Ask;
        self.task.hear(event, now);
    }

    fn received<C: Completer>(
        &mut self,
        received: io::Result<Received>,
        now: Instant,
        tools: &mut Tools<C>,
    ) {
        match received {
            Ok(bytes) if bytes.is_empty() => self.end = Some(End::Closed),
            Ok(bytes) => {
                if matches!(self.wish, Wish::Receive { .. }) && self.early.is_empty() {
                    self.wish = Wish::Ask;
                    return self.task.hear(Event::Received(&bytes), now);
                }
                self.keep(bytes.to_vec(), tools);
            }
            // It ended before its time, and is begun again when it is wished for. NOBUFS: all
            // buffers were out, and are back when what came in this turn has been looked at.
            Err(Errno::NOBUFS | Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
            Err(errno) if self.runs_job() => self.lose_peer(errno, now, tools),
            Err(errno) => self.end = Some(End::Failed(errno)),
        }
    }

    /// Not in the ring's buffer: whoever talks and does not listen would take all of them.
    fn keep<C: Completer>(&mut self, bytes: Vec<u8>, tools: &mut Tools<C>) {
        self.early_bytes += bytes.len();
        self.early.push_back(bytes);
        if let Some(key) = self.receive
            && self.early_bytes > EARLY
        {
            tools.completer.cancel(key);
        }
    }

    /// Lets the task hear what is there already; false if that is nothing.
    fn hear_early(&mut self, now: Instant) -> bool {
        if let Some(parcel) = self.mail.pop_front() {
            self.wish = Wish::Ask;
            self.task.hear(Event::Mail(parcel.open()), now);
            return true;
        }
        let event = if let Some(bytes) = self.early.pop_front() {
            self.early_bytes -= bytes.len();
            self.wish = Wish::Ask;
            self.task.hear(Event::Received(&bytes), now);
            return true;
        } else {
            match self.end.replace(End::Closed) {
                Some(End::Closed) => Event::PeerClosed,
                Some(End::Failed(errno)) => Event::Failed(errno.into()),
                None => {
                    self.end = None;
                    return false;
                }
            }
        };
        self.wish = Wish::Ask;
        self.task.hear(event, now);
        true
    }

    fn stand_by<C: Completer>(&mut self, tools: &mut Tools<C>) {
        if self.receive.is_none() {
            let operation = Operation::Receive(Arc::clone(&self.socket));
            self.receive = Some(tools.completer.start(self.tag, operation));
        }
    }

    fn sent(&mut self, now: Instant) {
        if let Some(outbox) = self.take_outbox() {
            self.task.hear(Event::Sent(outbox), now);
        }
    }

    fn unsent(&mut self, obstacle: Obstacle, now: Instant) {
        if let Some(outbox) = self.take_outbox() {
            self.task.hear(Event::Unsent(outbox, obstacle), now);
        }
    }

    fn take_outbox(&mut self) -> Option<Outbox> {
        match mem::replace(&mut self.wish, Wish::Ask) {
            Wish::Send(sending) => Some(sending.outbox),
            wish => {
                self.wish = wish;
                None
            }
        }
    }
}
