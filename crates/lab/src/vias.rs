//! `karez lab vias`: the cost of every via by size, cache state and transport, measured with the
//! server's own transfers.
//!
//! Counting and timing are separate passes: each combination runs once with counters, then several
//! times without them in random order; the first run of each is discarded.
//!
//! # Limitations
//! Sender, receiver and all other processes share the cores, so times vary. Small sizes mostly
//! measure the connection.

mod charts;
mod render;
mod tables;

use karez_transfer::{Direction, Via};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::copies::{Copies, contradictions};
use crate::error::Result;
use crate::mutation::{CopyVerdict, mutation_probe};
use crate::probe::{Counters, Disk};
use crate::rng::Rng;
use crate::selftest::{Counter, SelfTest, SelfTestPlan};
use crate::stats::MedianRange;
use crate::test_bed::TestBed;
use crate::test_file::{CacheState, TestFile};
use crate::tier::Tiers;
use crate::transfer_outcome::TransferOutcome;
use crate::transfer_spec::TransferSpec;
use crate::transport::{ReceiveMode, Transport};
use crate::workers::WorkerCommand;

/// File size of the preceding self-test.
const SELF_TEST_BYTES: u64 = 4 << 20;

/// Parameters of the experiment.
#[derive(Clone, Debug)]
pub struct ViasPlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// Directory of the test files, on a disk.
    pub directory: PathBuf,
    /// The vias.
    pub vias: Vec<Via>,
    /// The sizes in bytes.
    pub sizes: Vec<u64>,
    /// Maximum size of one system call; `None` for the via's default.
    pub chunk: Option<u32>,
    /// The cache states.
    pub caches: Vec<CacheState>,
    /// The transports.
    pub transports: Vec<Transport>,
    /// How the receiver reads.
    pub receive_mode: ReceiveMode,
    /// Timed runs per combination.
    pub runs: usize,
}

impl ViasPlan {
    /// Creates parameters for every via, 64 KiB and 16 MiB in chunks of 64 KiB, warm and cold,
    /// every transport, nine runs.
    #[must_use]
    pub fn new(workers: WorkerCommand, directory: &Path) -> Self {
        let vias = Direction::FileToSocket.vias().iter().copied();
        Self {
            workers,
            directory: directory.to_owned(),
            vias: vias.filter(|&via| via != Via::Auto).collect(),
            sizes: vec![64 << 10, 16 << 20],
            chunk: Some(64 << 10),
            caches: CacheState::ALL.to_vec(),
            transports: Transport::ALL.to_vec(),
            receive_mode: ReceiveMode::Read,
            runs: 9,
        }
    }

    /// Reduces the parameters to 1 MiB and three runs.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { sizes: vec![1 << 20], runs: 3, ..self }
    }
}

/// One combination and its cost.
#[derive(Clone, Debug)]
pub struct ViaRow {
    /// The requested via.
    pub via: Via,
    /// The transport.
    pub transport: Transport,
    /// Number of bytes.
    pub bytes: u64,
    /// The cache state.
    pub cache: CacheState,
    /// The counted run.
    pub counted: TransferOutcome,
    /// Its copies.
    pub copies: Copies,
    /// Contradictions between the counters and the reported via.
    pub contradictions: Vec<String>,
    /// Result of the mutation probe; `None` for transports without one.
    pub verdict: Option<CopyVerdict>,
    /// The timed runs.
    pub timed: Vec<ViaSample>,
}

/// One timed run.
#[derive(Clone, Copy, Debug)]
pub struct ViaSample {
    /// Seconds from the sender's first call to the last byte at the receiver.
    pub seconds: f64,
    /// Seconds of CPU time of the sender.
    pub sender: f64,
    /// Seconds of CPU time of the receiver.
    pub receiver: f64,
}

impl ViaRow {
    /// Returns the throughput in 10⁹ bytes per second.
    #[must_use]
    pub fn speed(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| self.gigabytes() / run.seconds.max(1e-9)))
    }

    /// Returns the sender's CPU time in milliseconds per 10⁹ bytes.
    #[must_use]
    pub fn cpu(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.sender * 1e3 / self.gigabytes()))
    }

    /// Returns the disk I/O, if it was counted.
    #[must_use]
    pub fn disk(&self) -> Option<Disk> {
        self.counted.counts.as_ref().map(|counts| counts.disk)
    }

    #[allow(clippy::cast_precision_loss, reason = "a size of a file, for people to read")]
    fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

/// The report.
#[derive(Clone, Debug)]
pub struct Vias {
    /// Available counters.
    pub tiers: Tiers,
    /// Measured combinations.
    pub rows: Vec<ViaRow>,
    /// Skipped combinations with the reason.
    pub skipped: Vec<(String, String)>,
    /// Whether each counter passed the preceding self-test.
    pub usable: BTreeMap<&'static str, bool>,
    /// Duration of the counted run relative to the median of the timed runs.
    pub overhead: MedianRange,
    /// Maximum size of one system call.
    pub chunk: Option<u32>,
    /// How the receiver read.
    pub receive_mode: ReceiveMode,
    /// Seed of the random order.
    pub seed: u64,
}

impl Vias {
    /// Runs the experiment and calls `on_step` before each step.
    ///
    /// # Errors
    /// If no file can be created.
    pub fn run(plan: &ViasPlan, mut on_step: impl FnMut(&str)) -> Result<Self> {
        on_step("self-test");
        let tried = SelfTestPlan {
            bytes: SELF_TEST_BYTES,
            ..SelfTestPlan::new(plan.workers.clone(), &plan.directory)
        };
        let test = SelfTest::run(&tried, |_, _| {})?;
        let usable = Counter::ALL.iter().map(|&one| (one.name(), test.usable(one))).collect();
        let mut counters = tried.attach()?.ok();
        let mut bench = ViasBench::set_up(plan)?;
        let mut rows = Vec::new();
        for combination in bench.combinations(plan) {
            on_step(&format!("counting {}", bench.name(&combination)));
            match bench.count(plan, &combination, counters.as_mut()) {
                Ok(row) => rows.push((combination, row)),
                Err(error) => {
                    bench.skipped.push((bench.name(&combination), error.to_string()));
                }
            }
        }
        drop(counters);
        let seed = bench.time(plan, &mut rows, &mut on_step);
        let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
        let slower = rows.iter().filter(|row| !row.timed.is_empty()).map(|row| {
            let bare = MedianRange::of(row.timed.iter().map(|run| run.seconds)).median;
            row.counted.time.as_secs_f64() / bare.max(1e-9)
        });
        let overhead = MedianRange::of(slower);
        let tiers = test.tiers;
        let (skipped, chunk, receive_mode) = (bench.skipped, plan.chunk, plan.receive_mode);
        Ok(Self { tiers, rows, skipped, usable, overhead, chunk, receive_mode, seed })
    }
}

/// One combination, as indices.
#[derive(Clone, Copy, Debug)]
struct Combination {
    bed: usize,
    test_file: usize,
    cache: CacheState,
    via: Via,
}

struct ViasBench {
    beds: Vec<(Transport, TestBed)>,
    test_files: Vec<TestFile>,
    verdicts: Vec<(Via, Transport, Option<CopyVerdict>)>,
    skipped: Vec<(String, String)>,
}

impl ViasBench {
    fn set_up(plan: &ViasPlan) -> Result<Self> {
        let (mut beds, mut skipped) = (Vec::new(), Vec::new());
        for &transport in &plan.transports {
            match TestBed::set_up(&plan.workers, transport) {
                Ok(bed) => beds.push((transport, bed)),
                Err(error) => skipped.push((transport.name().to_owned(), error.to_string())),
            }
        }
        let test_files = plan.sizes.iter().map(|&bytes| TestFile::new(&plan.directory, bytes));
        Ok(Self {
            beds,
            test_files: test_files.collect::<Result<_>>()?,
            verdicts: Vec::new(),
            skipped,
        })
    }

    fn combinations(&self, plan: &ViasPlan) -> Vec<Combination> {
        let mut all = Vec::new();
        for test_file in 0..self.test_files.len() {
            for &cache in &plan.caches {
                for bed in 0..self.beds.len() {
                    all.extend(plan.vias.iter().map(|&via| Combination {
                        bed,
                        test_file,
                        cache,
                        via,
                    }));
                }
            }
        }
        all
    }

    fn name(&self, of: &Combination) -> String {
        let bytes = crate::table::size(self.test_files[of.test_file].bytes());
        format!("{} over {}, {bytes}, {}", of.via, self.beds[of.bed].0, of.cache)
    }

    fn run(
        &mut self,
        plan: &ViasPlan,
        of: &Combination,
        counters: Option<&mut Counters>,
    ) -> Result<TransferOutcome> {
        let test_file = &self.test_files[of.test_file];
        let receive_mode = plan.receive_mode;
        let spec = TransferSpec { receive_mode, ..TransferSpec::of(test_file, of.via, plan.chunk) };
        let bed = &mut self.beds[of.bed].1;
        bed.prepare(test_file, of.cache)?;
        bed.run(&spec, test_file, counters)
    }

    fn count(
        &mut self,
        plan: &ViasPlan,
        of: &Combination,
        counters: Option<&mut Counters>,
    ) -> Result<ViaRow> {
        let transport = self.beds[of.bed].0;
        let counted = self.run(plan, of, counters)?;
        Ok(ViaRow {
            via: of.via,
            transport,
            bytes: self.test_files[of.test_file].bytes(),
            cache: of.cache,
            copies: Copies::of(&counted, transport),
            contradictions: contradictions(&counted, transport),
            counted,
            verdict: self.mutation_probe(plan, of.via, transport),
            timed: Vec::new(),
        })
    }

    /// Returns the result of the mutation probe, cached per transport.
    fn mutation_probe(
        &mut self,
        plan: &ViasPlan,
        via: Via,
        transport: Transport,
    ) -> Option<CopyVerdict> {
        if !matches!(transport, Transport::Unix | Transport::Loopback) {
            return None;
        }
        let known = self.verdicts.iter().find(|(of, over, _)| (*of, *over) == (via, transport));
        if let Some((.., known)) = known {
            return known.clone();
        }
        let found = mutation_probe(via, transport, &plan.directory).ok();
        self.verdicts.push((via, transport, found.clone()));
        found
    }

    /// Times each row in random order and returns the seed.
    fn time(
        &mut self,
        plan: &ViasPlan,
        rows: &mut [(Combination, ViaRow)],
        on_step: &mut impl FnMut(&str),
    ) -> u64 {
        let (seed, mut rng) = Rng::from_clock();
        // The first round warms up and is discarded.
        for round in 0..=plan.runs {
            on_step(&format!("timing, {round} of {}", plan.runs));
            let mut order: Vec<_> = (0..rows.len()).collect();
            rng.shuffle(&mut order);
            for place in order {
                let (combination, row) = &mut rows[place];
                match self.run(plan, combination, None) {
                    Ok(outcome) if round > 0 => row.timed.push(ViaSample {
                        seconds: outcome.time.as_secs_f64(),
                        sender: outcome.sender.cpu.as_secs_f64(),
                        receiver: outcome.receiver.cpu.as_secs_f64(),
                    }),
                    Ok(_) => {}
                    Err(error) => {
                        self.skipped.push((self.name(combination), error.to_string()));
                    }
                }
            }
        }
        seed
    }
}
