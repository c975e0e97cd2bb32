//! The account of a connection: what an answer has cost so far, in system calls by name, bytes of
//! the page cache and CPU time of the threads that worked for it. Only with `--explain`.
//!
//! Everything that is done for a connection goes on the account of the answer that ends next, so
//! that the accounts of a connection add up. Of system calls there are those that receive, look up,
//! read and send. Not there: waiting and what prepares it (the model's wait, interest in a
//! descriptor, deadlines, a receive that brought nothing), which many connections share, wake-ups
//! of other threads, letting go (`close`, `munmap`), memory and seeds of the program, and what
//! explaining makes itself. A name that a ring looks up is two operations, or one if that fails.
//! clock_gettime(2) with `CLOCK_THREAD_CPUTIME_ID`, Linux 2.6.12; cachestat(2), Linux 6.5.
//!
//! What it does badly: that clock costs a system call, some six an answer. On a model that
//! completes the kernel, or a thread of glibc's, does the moving, of which it knows the number of
//! operations only.

use karez_reactor::{Model, Opened};
use karez_transfer::{Calls, Outbox, Report, Via};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::site::Tally;

/// What is on the account of one answer.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) model: Model,
    pub(crate) calls: Calls,
    /// On a model that completes: operations that look up, read and send.
    pub(crate) operations: u64,
    pub(crate) cpu: Duration,
    /// A report for each file in the answer that has begun to leave.
    pub(crate) reports: Vec<Report>,
    /// What was found out when the head was made.
    pub(crate) outlook: Option<Outlook>,
    /// The clock of the thread that works for it now, as far as it is booked.
    since: Option<Duration>,
}

/// How the body is going to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// The via that its first file will be tried by.
    pub(crate) via: Via,
    /// Bytes of files in it.
    pub(crate) bytes: u64,
    /// How many of them the page cache has, `None` where nobody tells.
    pub(crate) cached: Option<u64>,
}

impl Account {
    pub(crate) fn new(model: Model) -> Self {
        // Now, and not when something is booked for the first time.
        A_LOOK.get_or_init(cost_of_a_look);
        Self {
            model,
            calls: Calls::default(),
            operations: 0,
            cpu: Duration::ZERO,
            reports: Vec::new(),
            outlook: None,
            since: None,
        }
    }

    /// A thread begins to work for the connection.
    pub(crate) fn begin(&mut self) {
        if self.since.is_none() {
            self.since = Some(cpu_time());
        }
    }

    /// It has ended, or others have their turn.
    pub(crate) fn rest(&mut self) {
        self.book();
        self.since = None;
    }

    /// Books what the thread has used until now.
    pub(crate) fn book(&mut self) {
        if let Some(since) = self.since {
            let now = cpu_time();
            self.cpu += used(since, now);
            self.since = Some(now);
        }
    }

    /// Does what is done only to explain: it is not booked.
    pub(crate) fn leave_out<T>(&mut self, explaining: impl FnOnce() -> T) -> T {
        self.book();
        let found = explaining();
        self.since = self.since.map(|_| cpu_time());
        found
    }

    /// Bytes came from the peer. Where a receive stands it is an operation of the connection.
    pub(crate) fn received(&mut self) {
        self.calls.recvfrom += u64::from(!self.model.completes());
    }

    /// A job was done.
    pub(crate) fn worked(&mut self, spent: Option<Box<Spent>>) {
        if let Some(spent) = spent {
            self.calls.add(&spent.calls.into());
            self.operations += spent.operations;
            self.cpu += spent.cpu;
        }
    }

    /// An outbox has left, or what could leave of it.
    pub(crate) fn sent(&mut self, outbox: &mut Outbox) {
        if let Some(ledger) = outbox.take_ledger() {
            self.calls.add(&ledger.calls());
            self.operations += ledger.operations();
            self.cpu += ledger.warming();
            self.reports.extend(ledger.into_reports());
        }
    }

    /// Closes the account of an answer and opens that of the next.
    pub(crate) fn close(&mut self) -> Self {
        self.book();
        let next = Self { since: self.since, ..Self::new(self.model) };
        std::mem::replace(self, next)
    }
}

/// What a job has cost.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    /// The thread that works for the connection: what is done there is booked by the account.
    home: ThreadId,
    calls: Tally,
    /// What a ring did for it.
    operations: u64,
    cpu: Duration,
}

impl Spent {
    /// Nothing yet, of a job for a connection that this thread works for.
    pub(crate) fn nothing() -> Box<Self> {
        let home = thread::current().id();
        let calls = Tally::default();
        Box::new(Self { home, calls, operations: 0, cpu: Duration::ZERO })
    }

    /// A ring has looked a name up: an openat2(2), and a statx(2) of what that had opened.
    pub(crate) fn looked_up(&mut self, opened: &Result<Opened, Errno>) {
        self.operations += if opened.is_ok() { 2 } else { 1 };
    }

    /// Does a job, on whatever thread this is, and adds what that costs.
    pub(crate) fn add<T>(spent: &mut Option<Box<Self>>, job: impl FnOnce() -> T) -> T {
        let Some(spent) = spent else {
            return job();
        };
        let before = Tally::of_this_thread();
        let elsewhere = thread::current().id() != spent.home;
        let begun = elsewhere.then(cpu_time);
        let done = job();
        spent.cpu += begun.map_or(Duration::ZERO, |begun| used(begun, cpu_time()));
        spent.calls.add(Tally::of_this_thread().since(before));
        done
    }
}

/// What a thread has used between two looks at its clock, without a look.
fn used(from: Duration, to: Duration) -> Duration {
    to.saturating_sub(from).saturating_sub(*A_LOOK.get_or_init(cost_of_a_look))
}

/// What looking at the clock costs, which is taken off.
static A_LOOK: OnceLock<Duration> = OnceLock::new();

/// The least of some differences between two looks.
fn cost_of_a_look() -> Duration {
    let differences = (0..64).map(|_| {
        let first = cpu_time();
        cpu_time().saturating_sub(first)
    });
    differences.min().unwrap_or_default()
}

/// The CPU time of the calling thread.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_millis(3);

    /// Keeps the thread busy for so long of its own time.
    fn work() {
        let begun = cpu_time();
        while cpu_time() - begun < WORK {}
    }

    #[test]
    fn what_a_thread_does_for_others_is_not_booked() {
        let mut account = Account::new(Model::EpollEdge);
        work();
        account.begin();
        work();
        account.begin(); // which may be said twice
        account.rest();
        let booked = account.cpu;
        assert!(booked > WORK - *A_LOOK.get().unwrap(), "{booked:?}");
        work();
        account.rest();
        account.book();
        assert_eq!(account.cpu, booked);
        account.begin();
        account.leave_out(work);
        account.rest();
        assert!(account.cpu - booked < WORK, "{:?}", account.cpu);
    }

    #[test]
    fn a_closed_account_leaves_nothing_for_the_next_but_the_clock() {
        let mut account = Account::new(Model::Poll);
        account.begin();
        account.received();
        work();
        let closed = account.close();
        assert!(closed.cpu > Duration::ZERO && closed.calls.recvfrom == 1);
        assert_eq!((account.cpu, account.calls), (Duration::ZERO, Calls::default()));
        work();
        assert!(account.close().cpu > WORK / 2, "the thread still works for it");
    }

    #[test]
    fn a_job_is_booked_where_it_was_done() {
        let home = Some(Spent::nothing());
        let mut at_home = home.clone();
        Spent::add(&mut at_home, work);
        assert_eq!(at_home.unwrap().cpu, Duration::ZERO, "the account has it");
        let mut away = home;
        let spent = thread::spawn(move || {
            Spent::add(&mut away, work);
            Spent::add(&mut away, work);
            away.unwrap()
        });
        assert!(spent.join().unwrap().cpu > WORK);
        let mut nobody = None;
        Spent::add(&mut nobody, || ());
        assert!(nobody.is_none());
    }
}
