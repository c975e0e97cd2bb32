//! The cost of a response so far: system calls by name, bytes in the page cache, and CPU time of the
//! threads that worked for it. Only with `--explain`.
//!
//! Everything that is done for a connection counts for the response that ends next, so that the costs of
//! a connection add up. Of system calls, those that receive, look up, read and send are counted. Not
//! counted are the calls that start to watch a file; waiting and its preparation (the wait of the model, interest in a descriptor, deadlines,
//! a receive without data), which many connections share; wake-ups of other threads; `close` and
//! `munmap`; memory and random seeds of the program; and the calls that explaining makes itself. A name
//! that io_uring looks up is two operations, or one if the first fails.
//! clock_gettime(2) with `CLOCK_THREAD_CPUTIME_ID`, Linux 2.6.12; cachestat(2), Linux 6.5.
//!
//! # Limitations
//!
//! That clock costs a system call, about six for each response. On a completion model the kernel, or a
//! thread of glibc, moves the bytes; only the number of operations is known of that.

use karez_reactor::{Model, OpenedFile};
use karez_transfer::{Calls, Outbox, Report, Via};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::site::SyscallCounts;

/// The cost of one response.
#[derive(Debug)]
pub(crate) struct RequestCost {
    pub(crate) model: Model,
    pub(crate) calls: Calls,
    /// On a completion model: operations that look up, read and send.
    pub(crate) operations: u64,
    pub(crate) cpu: Duration,
    /// A report for each file of the response whose transfer has begun.
    pub(crate) reports: Vec<Report>,
    /// How the body was going to be sent when the head was made.
    pub(crate) body_plan: Option<BodyPlan>,
    /// Why the file is not watched, so that its path was looked up.
    pub(crate) unwatched: Option<Box<str>>,
    /// The connection is sealed in user space: every via runs as `copy`.
    pub(crate) sealed: bool,
    /// The clock of the thread that works for the connection now, up to which `cpu` is counted.
    counted_to: Option<Duration>,
}

/// How a body is going to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyPlan {
    /// The via that its first file will be tried by.
    pub(crate) via: Via,
    /// Bytes of files in it.
    pub(crate) bytes: u64,
    /// Bytes of them that are in the page cache, `None` if that is unknown.
    pub(crate) cached: Option<u64>,
}

impl RequestCost {
    pub(crate) fn new(model: Model) -> Self {
        // Measured here and not when CPU time is first counted, which would be in a response.
        CLOCK_OVERHEAD.get_or_init(clock_overhead);
        Self {
            model,
            calls: Calls::default(),
            operations: 0,
            cpu: Duration::ZERO,
            reports: Vec::new(),
            body_plan: None,
            unwatched: None,
            sealed: false,
            counted_to: None,
        }
    }

    /// A thread starts to work for the connection.
    pub(crate) fn resume(&mut self) {
        if self.counted_to.is_none() {
            self.counted_to = Some(cpu_time());
        }
    }

    /// The thread stops working for the connection, or turns to other connections.
    pub(crate) fn pause(&mut self) {
        self.flush();
        self.counted_to = None;
    }

    /// Counts the CPU time that the thread has used up to now.
    pub(crate) fn flush(&mut self) {
        if let Some(from) = self.counted_to {
            let now = cpu_time();
            self.cpu += used(from, now);
            self.counted_to = Some(now);
        }
    }

    /// Runs work that is done only to explain, without counting it.
    pub(crate) fn exclude<T>(&mut self, explaining: impl FnOnce() -> T) -> T {
        self.flush();
        let result = explaining();
        self.counted_to = self.counted_to.map(|_| cpu_time());
        result
    }

    /// Counts the receive that returned data. On a completion model it is an operation that belongs to
    /// the connection and not to a response.
    pub(crate) fn received(&mut self) {
        self.calls.recvfrom += u64::from(!self.model.is_completion());
    }

    /// Counts a lookup among the hot files, since the counts were so; `unwatched` says why the file is
    /// not one of them.
    pub(crate) fn looked_up(&mut self, before: SyscallCounts, unwatched: Option<&str>) {
        self.calls.add(&SyscallCounts::of_this_thread().since(before).into());
        self.unwatched = unwatched.map(Into::into);
    }

    /// Counts a job.
    pub(crate) fn job_done(&mut self, job: Option<Box<JobCost>>) {
        if let Some(job) = job {
            self.calls.add(&job.calls.into());
            self.operations += job.operations;
            self.cpu += job.cpu;
        }
    }

    /// Counts the sends of an outbox that is empty, or whose rest cannot be sent.
    pub(crate) fn sent(&mut self, outbox: &mut Outbox) {
        if let Some(stats) = outbox.take_stats() {
            self.calls.add(&stats.calls());
            self.operations += stats.operations();
            self.cpu += stats.page_in_cpu();
            self.reports.extend(stats.into_reports());
        }
    }

    /// Returns the cost of a response that has ended, and starts anew for the next.
    pub(crate) fn take(&mut self) -> Self {
        self.flush();
        let (counted_to, sealed) = (self.counted_to, self.sealed);
        let next = Self { counted_to, sealed, ..Self::new(self.model) };
        std::mem::replace(self, next)
    }
}

/// The cost of a job.
#[derive(Clone, Debug)]
pub(crate) struct JobCost {
    /// The thread of the connection, whose CPU time [`RequestCost`] counts.
    home: ThreadId,
    calls: SyscallCounts,
    /// Operations of io_uring.
    operations: u64,
    cpu: Duration,
}

impl JobCost {
    /// Returns the cost of a job that has not run, for a connection of this thread.
    pub(crate) fn new() -> Box<Self> {
        let home = thread::current().id();
        let calls = SyscallCounts::default();
        Box::new(Self { home, calls, operations: 0, cpu: Duration::ZERO })
    }

    /// Counts a lookup by io_uring: an openat2(2), and a statx(2) of the opened file.
    pub(crate) fn name_opened(&mut self, opened: &Result<OpenedFile, Errno>) {
        self.operations += if opened.is_ok() { 2 } else { 1 };
    }

    /// Runs a job, on whichever thread this is, and adds its cost.
    pub(crate) fn measure<T>(cost: &mut Option<Box<Self>>, job: impl FnOnce() -> T) -> T {
        let Some(cost) = cost else {
            return job();
        };
        let before = SyscallCounts::of_this_thread();
        let elsewhere = thread::current().id() != cost.home;
        let from = elsewhere.then(cpu_time);
        let result = job();
        cost.cpu += from.map_or(Duration::ZERO, |from| used(from, cpu_time()));
        cost.calls.add(SyscallCounts::of_this_thread().since(before));
        result
    }
}

/// Returns the CPU time between two readings of the clock, without the cost of a reading.
fn used(from: Duration, to: Duration) -> Duration {
    to.saturating_sub(from).saturating_sub(*CLOCK_OVERHEAD.get_or_init(clock_overhead))
}

/// The CPU time of one reading of the clock.
static CLOCK_OVERHEAD: OnceLock<Duration> = OnceLock::new();

/// Measures the overhead: the least of some differences, since an interrupt only adds to it.
fn clock_overhead() -> Duration {
    let differences = (0..64).map(|_| {
        let first = cpu_time();
        cpu_time().saturating_sub(first)
    });
    differences.min().unwrap_or_default()
}

/// Returns the CPU time of the calling thread.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_millis(3);

    /// Keeps the thread busy for [`WORK`] of its CPU time.
    fn work() {
        let begun = cpu_time();
        while cpu_time() - begun < WORK {}
    }

    #[test]
    fn work_for_other_connections_is_not_counted() {
        let mut cost = RequestCost::new(Model::EpollEdge);
        work();
        cost.resume();
        work();
        cost.resume(); // a second call changes nothing
        cost.pause();
        let counted = cost.cpu;
        assert!(counted > WORK - *CLOCK_OVERHEAD.get().unwrap(), "{counted:?}");
        work();
        cost.pause();
        cost.flush();
        assert_eq!(cost.cpu, counted);
        cost.resume();
        cost.exclude(work);
        cost.pause();
        assert!(cost.cpu - counted < WORK, "{:?}", cost.cpu);
    }

    #[test]
    fn a_cost_that_was_taken_leaves_only_the_clock() {
        let mut cost = RequestCost::new(Model::Poll);
        cost.resume();
        cost.received();
        work();
        let closed = cost.take();
        assert!(closed.cpu > Duration::ZERO && closed.calls.recvfrom == 1);
        assert_eq!((cost.cpu, cost.calls), (Duration::ZERO, Calls::default()));
        work();
        assert!(cost.take().cpu > WORK / 2, "the thread still works for the connection");
    }

    #[test]
    fn a_job_is_counted_on_the_thread_that_ran_it() {
        let home = Some(JobCost::new());
        let mut at_home = home.clone();
        JobCost::measure(&mut at_home, work);
        assert_eq!(at_home.unwrap().cpu, Duration::ZERO, "the connection counts it");
        let mut away = home;
        let spent = thread::spawn(move || {
            JobCost::measure(&mut away, work);
            JobCost::measure(&mut away, work);
            away.unwrap()
        });
        assert!(spent.join().unwrap().cpu > WORK);
        let mut none = None;
        JobCost::measure(&mut none, || ());
        assert!(none.is_none());
    }
}
