//! A thread per connection, or a bounded pool of threads that each hold one connection at a time,
//! and calls that block until they are through.
//!
//! Since always; deadlines of receives by `SO_RCVTIMEO` (socket(7), Linux 2.3.41), an eighth too late
//! at most, so that it has not to be set for each. A send that finds no room waits in poll(2), for
//! `SO_SNDTIMEO` is no deadline of a call that moves much. A
//! deadline counts when one more look that began behind it has found nothing.
//!
//! What it does badly: every connection, idle or not, costs a stack, a kernel thread and two
//! switches a wait, so thousands of idle ones weigh as much as thousands of busy ones; a thread
//! inside a call hears of nothing else, so to stop it somebody has to shut its socket down (calls that
//! may hang are [offloaded](offload), but for reads of local files); and a
//! deadline over several calls has to be set anew for each.

use karez_transfer::{Outbox, Progress};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, SocketFlags, recv, shutdown, sockopt};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::admission::{Admission, Limits};
use crate::demultiplexer::Token;
use crate::error::{named, no_thread};
use crate::listener::{Listener, peer_gave_up};
use crate::mailroom::Home;
use crate::order::{Errand, Order};
use crate::pool::Pool;
use crate::reactor::JobOf;
use crate::send_limit;
use crate::stop::Stop;
use crate::task::{Event, Job, Obstacle, Peer, Service, Task, Want};
use crate::waker::Waker;

mod hands;
mod offload;
mod post;
mod register;
mod relay;
mod wait;

use hands::Hands;
use offload::{Offload, Outcome};
use post::Post;
use register::{Place, Register};

/// The receive buffer of a thread. Smaller than a reactor's, for there is one a connection.
const BUFFER: usize = 16 << 10;

/// A thread here parses a head and makes calls; it needs no 8 MiB.
const STACK: usize = 256 << 10;

/// One acceptor a listener and a thread a connection, until the stop is complete; with `workers`
/// so many threads at most, and each takes one connection after the other.
pub(crate) fn run<S: Service>(
    listeners: &[Listener],
    service: &S,
    limits: Limits,
    workers: Option<usize>,
    threads: usize,
    stop: &Stop,
) -> io::Result<()> {
    let sleeper = Arc::new(Waker::blocking().map_err(named("eventfd"))?);
    stop.rouses(&sleeper);
    for listener in listeners {
        rustix::io::ioctl_fionbio(listener, false).map_err(named("ioctl FIONBIO"))?;
    }
    // A connection that is let in has a thread, so there is room for as many as there are threads.
    let connections = limits.connections.min(workers.unwrap_or(usize::MAX));
    let admission = &Admission::new(Limits { connections, ..limits });
    let (register, hands) = (&Register::default(), &workers.map(Hands::new));
    let pool = &Pool::new(threads, None, Order::perform);
    thread::scope(|scope| {
        let mut outcome = Ok(());
        for listener in listeners {
            let acceptor = Acceptor { listener, service, admission, register, hands, pool };
            let spawned = thread::Builder::new()
                .name("karez-accept".to_owned())
                .spawn_scoped(scope, move || acceptor.run(scope));
            outcome = outcome.and(spawned.map(drop).map_err(no_thread("karez-accept")));
        }
        while outcome.is_ok() && !stop.has_begun() {
            sleeper.sleep();
        }
        register.stop();
        for listener in listeners {
            // Wakes the acceptor with EINVAL; if it is gone already there is nothing to wake.
            let _awake = shutdown(listener, Shutdown::Both);
        }
        if let Some(hands) = hands {
            hands.end();
        }
        register.end_after(admission.grace());
        outcome
    })
}

struct Acceptor<'a, S: Service> {
    listener: &'a Listener,
    service: &'a S,
    admission: &'a Admission,
    register: &'a Register,
    hands: &'a Option<Hands>,
    pool: &'a Pool<Order<JobOf<S>>>,
}

impl<'a, S: Service> Acceptor<'a, S> {
    fn run<'scope>(&self, scope: &'scope thread::Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        while !self.register.is_stopping() {
            match self.listener.accept(SocketFlags::empty()) {
                Ok((socket, peer)) if self.admit() => self.begin(scope, socket, peer),
                Ok(_) => {} // the stop came first
                Err(errno) if peer_gave_up(errno) => {}
                Err(Errno::MFILE) => self.register.make_room(self.admission.pause()),
                Err(_) => self.register.rest(self.admission.pause()),
            }
        }
    }

    /// Waits until there is room for one more; false if the stop came first.
    fn admit(&self) -> bool {
        while !self.admission.enter() {
            if self.register.is_stopping() {
                return false;
            }
            self.register.make_room(self.admission.pause());
        }
        true
    }

    /// Finds a thread for the connection.
    fn begin<'scope>(&self, scope: &'scope thread::Scope<'scope, '_>, socket: OwnedFd, peer: Peer)
    where
        'a: 'scope,
    {
        let Self { service, admission, register, hands, pool, .. } = *self;
        let hands = hands.as_ref();
        let given = match hands {
            Some(hands) => hands.give(socket, peer),
            None => Some((socket, peer)),
        };
        let Some(mut given) = given else { return };
        let name = if hands.is_some() { "karez-work" } else { "karez-conn" };
        let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        let spawned = builder.spawn_scoped(scope, move || {
            loop {
                converse(service, register, admission, pool, given);
                match hands.and_then(Hands::next) {
                    Some(next) => given = next,
                    None => return,
                }
            }
        });
        if spawned.is_err() {
            // No thread to be had: the connection is closed, and others have to leave first.
            if let Some(hands) = hands {
                hands.one_less();
            }
            admission.leave();
            register.make_room(admission.pause());
        }
    }
}

/// Holds one connection from its begin to its end.
fn converse<S: Service>(
    service: &S,
    register: &Register,
    admission: &Admission,
    pool: &Pool<Order<JobOf<S>>>,
    (socket, peer): (OwnedFd, Peer),
) {
    let socket = Arc::new(socket);
    let place = register.enter(Arc::clone(&socket));
    let task = service.connect(peer, Instant::now());
    let offload = Offload::new(pool);
    let (receive, limited) = (None, false);
    Conversation { socket: &socket, place: &place, offload, receive, limited }.hold(task);
    // Before the place goes, for that tells who waits for room.
    admission.leave();
}

/// One connection and its thread.
struct Conversation<'a, J: Job> {
    socket: &'a OwnedFd,
    place: &'a Place<'a>,
    offload: Offload<'a, J>,
    /// `SO_RCVTIMEO` as it stands.
    receive: Option<Duration>,
    /// Sends that find no room are over in a moment.
    limited: bool,
}

impl<J: Job> Conversation<'_, J> {
    fn hold<T: Task<Job = J>>(mut self, mut task: T) {
        let mut buffer = vec![0; BUFFER];
        let mut room = None;
        task.move_in(Home { token: Token(0), room: &mut room, waker: None });
        let mut post = room.map(Post::new);
        task.taken_up();
        loop {
            let event = match task.want() {
                Want::Receive { until, idle } => {
                    if !self.place.set_idle(idle) {
                        return;
                    }
                    let event = match &mut post {
                        None => self.receive(&mut buffer, until),
                        Some(post) => self.receive_or_hear(&mut buffer, until, post),
                    };
                    self.place.set_idle(false);
                    event
                }
                Want::Send { outbox, stall } => self.send(outbox, stall),
                Want::Work { job, until } => match self.work(job, until) {
                    Some(event) => event,
                    None => return,
                },
                Want::Finish => {
                    // A peer that is gone already needs no FIN.
                    let _gone = shutdown(self.socket, Shutdown::Write);
                    Event::Finished
                }
                Want::Relay { upstream, stall } => relay::relay(self.socket, upstream, stall),
                Want::Close => return,
            };
            task.hear(event, Instant::now());
        }
    }

    /// Runs a job: here if that takes no waiting. `None` if it panicked.
    fn work<'b, M>(&mut self, job: J, until: Instant) -> Option<Event<'b, J::Done, M>> {
        let job = match job.try_run() {
            Ok(done) => return Some(Event::Worked(done)),
            Err(job) => job,
        };
        Some(match self.offload.run(Errand::Job(job), until, self.socket) {
            Outcome::Worked(done) => Event::Worked(done),
            Outcome::TimedOut | Outcome::Warmed => Event::TimedOut,
            Outcome::Rejected(_) => Event::Rejected,
            Outcome::HungUp => Event::Failed(Errno::CONNRESET.into()),
            Outcome::Lost => return None,
        })
    }

    fn receive_or_hear<'b, D, M>(
        &mut self,
        buffer: &'b mut [u8],
        until: Instant,
        post: &mut Post<M>,
    ) -> Event<'b, D, M> {
        match post.wait(self.socket, until) {
            Ok(Some(mail)) => Event::Mail(mail),
            Ok(None) => self.receive(buffer, until),
            Err(errno) => Event::Failed(errno.into()),
        }
    }

    fn receive<'b, D, M>(&mut self, buffer: &'b mut [u8], until: Instant) -> Event<'b, D, M> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut flags = RecvFlags::empty();
            if left.is_zero() {
                // What came in time may not have been looked at: this process was stopped.
                flags = RecvFlags::DONTWAIT;
            } else if let Err(errno) = self.allow_receiving(left) {
                return Event::Failed(errno.into());
            }
            match recv(self.socket, &mut *buffer, flags) {
                Ok((0, _)) => return Event::PeerClosed,
                Ok((count, _)) => return Event::Received(&buffer[..count]),
                Err(Errno::AGAIN) if left.is_zero() => return Event::TimedOut,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Event::Failed(errno.into()),
            }
        }
    }

    /// Sets `SO_RCVTIMEO`, unless what is set is about right: it is the same for every request.
    fn allow_receiving(&mut self, left: Duration) -> rustix::io::Result<()> {
        let lax = left + left / 8 + Duration::from_millis(1);
        if self.receive.is_none_or(|set| set < left || set > lax) {
            sockopt::set_socket_timeout(self.socket, sockopt::Timeout::Recv, Some(lax))?;
            self.receive = Some(lax);
        }
        Ok(())
    }

    fn send<'b, D, M>(&mut self, mut outbox: Outbox, stall: Duration) -> Event<'b, D, M> {
        let limited = if self.limited { Ok(()) } else { send_limit::limit(self.socket.as_fd()) };
        self.limited = limited.is_ok();
        match limited.map_err(|errno| Obstacle::Failed(errno.into())) {
            Ok(()) => match self.send_all(&mut outbox, stall) {
                Ok(()) => Event::Sent(outbox),
                Err(obstacle) => Event::Unsent(outbox, obstacle),
            },
            Err(obstacle) => Event::Unsent(outbox, obstacle),
        }
    }

    fn send_all(&mut self, outbox: &mut Outbox, stall: Duration) -> Result<(), Obstacle> {
        outbox.tell_remote();
        let mut until = Instant::now() + stall;
        loop {
            let waits_for = match outbox.step(self.socket.as_fd()) {
                Ok(Progress::Moved(_)) => {
                    until = Instant::now() + stall;
                    continue;
                }
                Ok(Progress::Done) => return Ok(()),
                Ok(Progress::NeedsWorker) => {
                    self.warm(outbox, until)?;
                    continue;
                }
                // That the socket has let go is told on its error queue, which is reported unasked.
                Ok(Progress::NeedsRelease) => PollFlags::empty(),
                Ok(Progress::NeedsWritable | Progress::NeedsReadable) => PollFlags::OUT,
                Ok(Progress::Truncated { missing }) => {
                    return Err(Obstacle::Truncated { missing });
                }
                Err(error) => return Err(Obstacle::Failed(error)),
            };
            // That there is some room, but not enough for poll to say so, is no reason to go on.
            let mut fds = [PollFd::new(self.socket, waits_for)];
            match wait::until_ready(&mut fds, until) {
                Ok(true) => {}
                Ok(false) => return Err(Obstacle::TimedOut),
                Err(errno) => return Err(Obstacle::Failed(errno.into())),
            }
        }
    }

    /// Has what comes next read by a thread that may hang.
    fn warm(&mut self, outbox: &mut Outbox, until: Instant) -> Result<(), Obstacle> {
        let Some(part) = outbox.cold_part() else {
            outbox.wait_for_disk();
            return Ok(());
        };
        match self.offload.run(Errand::Warm(part), until, self.socket) {
            Outcome::Warmed | Outcome::Worked(_) | Outcome::Lost => Ok(()),
            Outcome::TimedOut => Err(Obstacle::TimedOut),
            Outcome::Rejected(_) => Err(Obstacle::Failed(Errno::AGAIN.into())),
            Outcome::HungUp => Err(Obstacle::Failed(Errno::CONNRESET.into())),
        }
    }
}
