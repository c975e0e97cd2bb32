//! Learns from which file size on `sendfile` costs less CPU than `copy` into a socket.
//!
//! Which of the two is cheaper depends on the processor, the caches and the network stack: on one machine
//! `copy` of 128 KiB took two thirds of what `sendfile` took, on another twice as much. So `auto` compares
//! them while it serves. Transfers are grouped by size ([`CLASSES`] classes between 16 KiB and 1 MiB); in
//! each class a few transfers are timed on the thread's CPU clock (`CLOCK_THREAD_CPUTIME_ID`,
//! clock_gettime(2)), and the cheaper method is preferred until the other one is clearly cheaper. Every
//! thread learns by itself: the threads share nothing.
//!
//! # Limitations
//!
//! Only CPU time inside the calls is compared. Work that the kernel does later, in an interrupt (freeing
//! what was acknowledged), is not attributed to a transfer. The first [`FIRST`] transfers of a class by
//! each method are timed, later one of [`PERIOD`], half of them by the method that is not preferred.

use rustix::time::{ClockId, clock_gettime};
use std::cell::RefCell;
use std::time::Duration;

use crate::via::Via;

/// Up to this size the content is always copied: one send has the head and the content.
pub(crate) const ALWAYS_COPY: u64 = 16 << 10;

/// From this size on the pages are passed, always.
pub(crate) const ALWAYS_SENDFILE: u64 = 1 << 20;

/// Sizes between the two, by powers of two.
const CLASSES: usize = 6;

/// Timed transfers of each method before the classes are compared.
const FIRST: u32 = 8;

/// Transfers of a class between two timed ones.
const PERIOD: u32 = 64;

/// The other method is preferred if it costs less than this part of the preferred one.
const CLEARLY: f32 = 0.95;

/// Weight of a new sample in the mean, once there are [`FIRST`]; before, all count the same.
const WEIGHT: f32 = 1.0 / FIRST as f32;

/// A sample counts at most this multiple of the mean: an interrupt may have been in it.
const OUTLIER: f32 = 2.0;

/// Measures the cost of one transfer.
#[derive(Debug)]
pub(crate) struct Sample {
    class: usize,
    method: Method,
    len: u64,
    cpu: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Copy,
    Sendfile,
}

/// The measurements of one class of sizes.
#[derive(Clone, Copy, Debug)]
struct Class {
    preferred: Method,
    /// Nanoseconds per byte by `copy` and `sendfile`, and how many samples are in it.
    cost: [(f32, u32); 2],
    count: u32,
}

thread_local! {
    static LEARNED: RefCell<[Class; CLASSES]> = const { RefCell::new(Class::INITIAL) };
}

/// Returns the method for a file of `len` bytes, and a sample if its cost is to be measured.
pub(crate) fn choose(len: u64) -> (Via, Option<Sample>) {
    let Some(class) = class_of(len) else {
        return (always(len), None);
    };
    LEARNED.with_borrow_mut(|classes| {
        let (method, timed) = classes[class].next();
        let sample = timed.then_some(Sample { class, method, len, cpu: Duration::ZERO });
        (method.via(), sample)
    })
}

/// Returns the method that [`choose`] will return next on this thread.
pub(crate) fn next(len: u64) -> Via {
    match class_of(len) {
        Some(class) => LEARNED.with_borrow(|classes| { classes[class] }.next().0.via()),
        None => always(len),
    }
}

fn always(len: u64) -> Via {
    if len < ALWAYS_SENDFILE { Via::Copy } else { Via::Sendfile }
}

fn class_of(len: u64) -> Option<usize> {
    let inside = (ALWAYS_COPY + 1..ALWAYS_SENDFILE).contains(&len);
    inside.then(|| (len.ilog2() - ALWAYS_COPY.ilog2()) as usize)
}

impl Sample {
    /// Runs a step of the transfer and adds its CPU time.
    pub(crate) fn time<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let before = thread_cpu();
        let result = step();
        self.cpu += thread_cpu().saturating_sub(before);
        result
    }

    /// Counts the sample, if the whole transfer ran by the method that was chosen.
    pub(crate) fn complete(self, ran: Via) {
        if ran != self.method.via() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a mean of measurements")]
        let cost = self.cpu.as_nanos() as f32 / self.len as f32;
        LEARNED.with_borrow_mut(|classes| classes[self.class].add(self.method, cost));
    }
}

impl Class {
    const INITIAL: [Self; CLASSES] = {
        let unknown = Self { preferred: Method::Sendfile, cost: [(0.0, 0); 2], count: 0 };
        let mut classes = [unknown; CLASSES];
        classes[0].preferred = Method::Copy; // up to 32 KiB both cost about the same
        classes
    };

    /// Returns the method of the next transfer, and whether it is timed.
    fn next(&mut self) -> (Method, bool) {
        self.count = self.count.wrapping_add(1);
        let [copy, sendfile] = self.cost.map(|(_, samples)| samples);
        if copy.min(sendfile) < FIRST {
            let method = if copy <= sendfile { Method::Copy } else { Method::Sendfile };
            return (method, true);
        }
        match self.count % (2 * PERIOD) {
            0 => (self.preferred.other(), true),
            PERIOD => (self.preferred, true),
            _ => (self.preferred, false),
        }
    }

    fn add(&mut self, method: Method, cost: f32) {
        let (mean, samples) = &mut self.cost[method as usize];
        *samples = samples.saturating_add(1);
        *mean = match *samples {
            1 => cost,
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            few @ 2..FIRST => *mean + (cost.min(OUTLIER * *mean) - *mean) / few as f32,
            _ => *mean + WEIGHT * (cost.min(OUTLIER * *mean) - *mean),
        };
        let known = self.cost.iter().all(|(_, samples)| *samples >= FIRST);
        let of = |method: Method| self.cost[method as usize].0;
        if known && of(self.preferred.other()) < CLEARLY * of(self.preferred) {
            self.preferred = self.preferred.other();
        }
    }
}

impl Method {
    fn via(self) -> Via {
        match self {
            Self::Copy => Via::Copy,
            Self::Sendfile => Via::Sendfile,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Copy => Self::Sendfile,
            Self::Sendfile => Self::Copy,
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves `count` transfers that cost so many nanoseconds a byte; returns how many ran by copy.
    fn serve(class: &mut Class, count: u32, copy: f32, sendfile: f32) -> u32 {
        let mut copied = 0;
        for _ in 0..count {
            let (method, timed) = class.next();
            copied += u32::from(method == Method::Copy);
            if timed {
                class.add(method, if method == Method::Copy { copy } else { sendfile });
            }
        }
        copied
    }

    #[test]
    fn prefers_the_cheaper_method() {
        let mut class = Class::INITIAL[3];
        serve(&mut class, 2 * FIRST, 0.2, 0.3);
        assert_eq!(class.preferred, Method::Copy);
        let copied = serve(&mut class, 100 * PERIOD, 0.2, 0.3);
        assert_eq!(copied, 100 * PERIOD - 50, "one of 128 is by the other method");
    }

    #[test]
    fn follows_a_change() {
        let mut class = Class::INITIAL[3];
        serve(&mut class, 1000, 0.2, 0.3);
        serve(&mut class, 40 * PERIOD, 0.4, 0.3);
        assert_eq!(class.preferred, Method::Sendfile);
    }

    #[test]
    fn keeps_its_preference_where_both_cost_about_the_same() {
        let mut class = Class::INITIAL[0];
        for round in 0..50 {
            let copy = if round % 2 == 0 { 0.30 } else { 0.31 };
            serve(&mut class, PERIOD, copy, 0.30);
            assert_eq!(class.preferred, Method::Copy);
        }
    }

    #[test]
    fn one_outlier_changes_nothing() {
        let mut class = Class::INITIAL[3];
        serve(&mut class, 1000, 0.2, 0.25);
        class.add(Method::Copy, 50.0);
        assert_eq!(class.preferred, Method::Copy);
    }

    #[test]
    fn sizes_have_their_classes() {
        assert_eq!(class_of(ALWAYS_COPY), None);
        assert_eq!(class_of(ALWAYS_COPY + 1), Some(0));
        assert_eq!(class_of(128 << 10), Some(3));
        assert_eq!(class_of(ALWAYS_SENDFILE - 1), Some(CLASSES - 1));
        assert_eq!(class_of(ALWAYS_SENDFILE), None);
        assert_eq!((choose(100).0, choose(4 << 20).0), (Via::Copy, Via::Sendfile));
        assert!(choose(100).1.is_none());
    }
}
