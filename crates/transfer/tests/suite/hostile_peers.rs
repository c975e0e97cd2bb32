//! Peers as they are: slow, moody, gone.

use karez_transfer::{Progress, Via};
use rustix::net::sockopt;
use std::io;
use std::time::Duration;

use crate::case::{Case, Transport, assert_report};
use crate::random::{Random, pattern};
use crate::stage::{Plan, Stage};

fn to_socket() -> impl Iterator<Item = Case> {
    Case::all().into_iter().filter(|case| !case.to_file() && !case.blocking)
}

fn from_socket() -> impl Iterator<Item = Case> {
    Case::all().into_iter().filter(|case| !case.of_file() && !case.blocking)
}

#[test]
fn small_buffers_and_random_amounts_lose_nothing() {
    let mut chance = Random::fresh();
    for case in Case::all() {
        for size in [1, 5000, 150_000] {
            let buffers = Some(chance.one_of(&[4608, 10_000, 40_000]));
            let content = pattern(size, chance.next() >> 20);
            let plan = Plan { buffers, ..Plan::new(case, content.clone()) };
            let outcome = plan.stage().run(&mut chance);
            let what = format!("{case}, {size} bytes, {buffers:?}");
            assert_eq!(outcome.end.unwrap(), Progress::Done, "{what}");
            assert!(outcome.received == content, "{what}: {}", outcome.received.len());
            assert_report(case, &outcome.report, size as u64, &what);
        }
    }
}

/// Steps until the socket takes no more.
fn fill(stage: &mut Stage, case: Case) {
    loop {
        match stage.step().unwrap() {
            Progress::Moved(_) => {}
            Progress::NeedsReadable => stage.feed(&mut Random::of(5)),
            Progress::NeedsWritable => return,
            other => panic!("{case}: {other:?}"),
        }
    }
}

#[test]
fn a_receiver_that_stops_is_waited_for_and_one_that_resumes_gets_the_rest() {
    for case in to_socket() {
        let content = pattern(1_000_000, 8);
        let plan = Plan { buffers: Some(10_000), ..Plan::new(case, content.clone()) };
        let outcome = plan.stage().run_with(&mut Random::of(2), |stage, chance| {
            fill(stage, case);
            let stopped = stage.moving.report().bytes;
            for _ in 0..3 {
                if matches!(stage.step()?, Progress::NeedsWritable) {
                    assert_eq!(stage.moving.report().bytes, stopped, "{case}");
                    break;
                }
            }
            assert!(stage.moving.report().bytes < 1_000_000, "{case}");
            stage.drive(chance)
        });
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert!(outcome.received == content, "{case}");
        assert_report(case, &outcome.report, 1_000_000, &case.to_string());
    }
}

#[test]
fn a_receiver_that_is_gone_is_an_error_with_the_offset_reached() {
    for case in to_socket() {
        for reset in [false, true] {
            let mut stage =
                Plan { buffers: Some(10_000), ..Plan::new(case, pattern(1_000_000, 8)) }.stage();
            fill(&mut stage, case);
            let peer = stage.drainer.take().unwrap().peer;
            if reset && case.transport == Transport::Tcp {
                sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
            }
            drop(peer);
            let error = stage.drive(&mut Random::of(1)).unwrap_err();
            let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
            assert!(gone.contains(&error.kind()), "{case}: {error}");
            let report = stage.moving.report();
            assert!(report.bytes > 0 && report.bytes < 1_000_000, "{case}: {report:?}");
            let refused =
                usize::from(case.via == Via::Zerocopy && case.transport == Transport::Unix);
            assert!(
                report.fallbacks.iter().skip(refused).all(|fallback| fallback.from == Via::Direct),
                "{case}: {report:?}"
            );
        }
    }
}

#[test]
fn an_early_close_is_reported_with_the_missing_bytes() {
    for case in from_socket() {
        for there in [0, 1, 70_000] {
            let content = pattern(there, 8);
            let mut plan = Plan::new(case, content.clone());
            plan.promised = Some(100_000);
            let outcome = plan.stage().run(&mut Random::of(there as u64));
            let missing = 100_000 - there as u64;
            assert_eq!(outcome.end.unwrap(), Progress::Truncated { missing }, "{case}");
            assert!(outcome.received == content, "{case}, {there} bytes");
            assert_eq!(outcome.report.bytes, there as u64, "{case}");
        }
    }
}

#[test]
fn a_reset_is_an_error_and_earlier_bytes_are_kept() {
    for case in from_socket().filter(|case| case.transport == Transport::Tcp) {
        let content = pattern(1_000_000, 8);
        let outcome = Plan::new(case, content.clone()).stage().run_with(
            &mut Random::of(3),
            |stage, chance| {
                while stage.moving.report().bytes == 0 {
                    match stage.step()? {
                        Progress::NeedsReadable => stage.feed(chance),
                        Progress::Moved(_) => {}
                        other => panic!("{case}: {other:?}"),
                    }
                }
                let peer = stage.feeder.take().unwrap().peer;
                sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
                drop(peer);
                stage.drive(chance)
            },
        );
        let error = outcome.end.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{case}");
        let bytes = outcome.report.bytes as usize;
        assert!(outcome.received == content[..bytes], "{case}");
        assert_eq!(outcome.in_flight, 0, "{case}");
        assert!(outcome.report.fallbacks.is_empty(), "{case}");
    }
}
