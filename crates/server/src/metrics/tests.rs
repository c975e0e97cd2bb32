//! The counters of several threads, in a scrape.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use karez_http::{Status, Version};
use karez_transfer::Via;

use super::*;
use crate::closing::CloseReason;

fn finished(status: Status, via: Option<Via>, bytes: u64) -> FinishedExchange<'static> {
    let started = Instant::now();
    FinishedExchange { version: Version::Http11, status, via, bytes, started, target: b"/a?b" }
}

/// Returns the value of a sample by its name and labels.
fn value(scrape: &str, sample: &str) -> f64 {
    let line =
        scrape.lines().find(|line| line.rsplit_once(' ').is_some_and(|(it, _)| it == sample));
    line.unwrap_or_else(|| panic!("{sample} is not in\n{scrape}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn counts_of_all_threads_are_added_also_of_those_that_have_ended() {
    const THREADS: usize = 4;
    const EACH: u64 = 1000;
    let metrics = Metrics::new();
    let site = metrics.site("a.example");
    for _ in 0..2 {
        let together = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    together.wait();
                    (0..EACH)
                        .for_each(|_| site.finished(&finished(Status::Ok, Some(Via::Sendfile), 7)));
                });
            }
        });
    }
    let scrape = metrics.scrape().unwrap();
    let kind = r#"site="a.example",protocol="HTTP/1.1",via="sendfile""#;
    let count = 2.0 * EACH as f64 * THREADS as f64;
    let requests = format!(r#"karez_requests_total{{{kind},code="200",class="2xx"}}"#);
    assert_eq!(value(&scrape, &requests), count);
    assert_eq!(value(&scrape, &format!("karez_response_body_bytes_total{{{kind}}}")), 7.0 * count);
    let whole = r#"karez_request_duration_seconds_count{protocol="HTTP/1.1"}"#;
    assert_eq!(value(&scrape, whole), count);
    assert!(scrape.ends_with("# EOF\n"));
    // Threads that have ended gave their shards to later ones.
    assert!(lock(&metrics.0.shards).all.len() <= THREADS);
}

#[test]
fn connections_and_requests_are_gauges() {
    let metrics = Metrics::new();
    let states = || {
        let scrape = metrics.scrape().unwrap();
        let state = |name| value(&scrape, &format!(r#"karez_connections{{state="{name}"}}"#));
        [state("active"), state("idle"), value(&scrape, "karez_requests_in_flight")]
    };
    let mut first = CountedConnection::new(Some(&metrics));
    let second = CountedConnection::new(Some(&metrics));
    assert_eq!(states(), [0.0, 2.0, 0.0]);
    let request = InFlight::begin(true);
    assert_eq!(states(), [1.0, 1.0, 1.0]);
    let mut streams = ActiveConnection::default();
    streams.set(true);
    streams.set(true);
    let requests = [InFlight::begin(false), InFlight::begin(false)];
    assert_eq!(states(), [2.0, 0.0, 3.0]);
    drop((request, requests, streams));
    first.set_if_unknown(CloseReason::Finished);
    first.set_if_unknown(CloseReason::Client);
    drop(first);
    assert_eq!(states(), [0.0, 1.0, 0.0]);
    drop(second);
    let scrape = metrics.scrape().unwrap();
    for (reason, count) in [("finished", 1.0), ("other", 1.0), ("client", 0.0)] {
        let sample = format!(r#"karez_connections_closed_total{{reason="{reason}"}}"#);
        assert_eq!(value(&scrape, &sample), count, "{reason}");
    }
    assert_eq!(value(&scrape, "karez_connections_accepted_total"), 2.0);
}

#[test]
fn a_job_is_queued_then_runs_also_on_another_thread_or_panicking() {
    let metrics = Metrics::new();
    let jobs = || {
        let totals = metrics.totals();
        (totals.jobs, totals.jobs_queued, totals.jobs_running)
    };
    // A thread without a connection is not counted.
    drop(Queued::begin());
    assert_eq!(jobs(), (0, 0, 0));
    let _connection = CountedConnection::new(Some(&metrics));
    let (run, dropped, panics) = (Queued::begin(), Queued::begin(), Queued::begin());
    assert_eq!(jobs(), (3, 3, 0));
    thread::scope(|scope| {
        let during = scope.spawn(|| run.run(jobs)).join().unwrap();
        assert_eq!(during, (3, 2, 1));
        let panicked =
            scope.spawn(|| panics.run(|| std::panic::resume_unwind(Box::new(())))).join();
        assert!(panicked.is_err());
    });
    drop(dropped);
    assert_eq!(jobs(), (3, 0, 0));
}

#[test]
fn targets_are_sampled_and_weighted() {
    let metrics = Metrics::new();
    metrics.0.samples.store(true, Ordering::Relaxed);
    let site = metrics.site("default");
    let begun = Instant::now();
    let mut requests = 0;
    while begun.elapsed() < Duration::from_millis(20) {
        site.finished(&finished(Status::Ok, None, 1));
        site.finished(&finished(Status::NotFound, None, 1));
        requests += 1;
    }
    let (counts, total) = metrics.top_files();
    // The last ones wait for the next sample.
    assert!(total <= requests && total > 0, "{total} of {requests}");
    assert_eq!(counts, [(b"/a".to_vec(), total)]);
}

#[test]
fn sites_beyond_the_most_are_counted_together() {
    let metrics = Metrics::new();
    for number in 0..2 * SITES {
        metrics.site(&format!("{number}.example")).finished(&finished(Status::Ok, None, 0));
        metrics.site("0.example").finished(&finished(Status::Ok, None, 0));
    }
    let requests = metrics.totals().responses;
    let of = |label: &str| {
        requests.iter().filter(|(((site, ..), _), _)| site == label).map(|(_, it)| it).sum::<u64>()
    };
    assert_eq!(
        (of("0.example"), of("62.example"), of("other")),
        (1 + 2 * SITES as u64, 1, 1 + SITES as u64)
    );
}
