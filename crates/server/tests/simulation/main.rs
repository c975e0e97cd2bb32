//! Deterministic simulation: the connections of a server on an event loop that a seeded schedule drives.
//!
//! `KAREZ_SIMULATION_SEEDS=A..B` runs other seeds than the first 1,000, and of a single one prints each step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod client;
mod draws;
mod excuse;
mod http1;
mod http2;
mod requests;
mod run;
mod steps;
mod tls;
mod tree;

use karez_reactor::simulation::SimulatedModel;
use run::{Outcome, Simulation};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The descriptors of the process are counted.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn seeds() -> Range<u64> {
    let Ok(seeds) = std::env::var("KAREZ_SIMULATION_SEEDS") else { return 0..1000 };
    let (from, to) = seeds.split_once("..").expect("KAREZ_SIMULATION_SEEDS=A..B");
    from.parse().unwrap()..to.parse().unwrap()
}

/// Failures after which no more seeds are run.
const MOST_FAILURES: usize = 10;

#[test]
fn every_response_is_right_or_visibly_ends_early() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (simulation, seeds) = (Simulation::new(), seeds());
    let (start, verbose) = (Instant::now(), seeds.end - seeds.start == 1);
    let mut sum = Outcome::default();
    let mut failures = 0;
    for seed in seeds.clone() {
        match simulation.run(seed, verbose) {
            Ok(outcome) => sum.add(&outcome),
            Err(failure) => {
                failures += 1;
                println!("{failure}\nto repeat it: KAREZ_SIMULATION_SEEDS={seed}..{}", seed + 1);
            }
        }
        if failures == MOST_FAILURES {
            break;
        }
        if (seed - seeds.start + 1).is_multiple_of(100_000) {
            println!("{} seeds in {:?}: {sum:?}", seed - seeds.start + 1, start.elapsed());
        }
    }
    println!("seeds {seeds:?} in {:?}: {sum:?}", start.elapsed());
    assert_eq!(failures, 0);
    // The schedules are varied.
    if seeds.end - seeds.start >= 1000 {
        let Outcome { right, errors, cut, offloads, turns, happened } = sum;
        assert!(right > 0 && errors > 0 && cut > 0 && offloads > 0 && turns > 0, "{sum:?}");
        assert!(happened.iter().all(|count| *count > 0), "{sum:?}");
    }
}

#[test]
fn a_request_whose_record_has_begun_is_answered_during_a_shutdown() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let simulation = Simulation::new();
    for model in SimulatedModel::ALL {
        for seed in 0..20 {
            assert_eq!(simulation.run_shutdown(model, seed), Ok(1), "{model:?}, seed {seed}");
        }
    }
}

#[test]
fn a_seed_repeats_its_run() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let simulation = Simulation::new();
    for seed in 0..50 {
        let [first, again] = [0; 2].map(|_| simulation.trace(seed).unwrap());
        assert_eq!(first, again, "seed {seed}");
    }
}
