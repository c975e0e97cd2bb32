//! Fixture of the claims: that of the self-test, and measurements of the models that several claims
//! share.

use karez_reactor::Model;
use karez_transfer::Via;

use super::plan::ClaimsPlan;
use super::verdict::Verdict;
use crate::copies::Copies;
use crate::models::{Models, ModelsPlan};
use crate::probe::Counts;
use crate::selftest::bench::SelfTestBench;
use crate::selftest::{ExperimentError, SelfTest};
use crate::test_file::CacheState;
use crate::transfer_outcome::TransferOutcome;
use crate::transfer_spec::TransferSpec;
use crate::transport::Transport;

/// Numbers of connections at which requests are measured; the lower one is also that of the requests in
/// flight.
pub(super) const SOME: u32 = 64;
pub(super) const MANY: u32 = 1000;

/// Attempts of a transfer from disk if packets were missed.
const ATTEMPTS: u32 = 3;

pub(super) struct ClaimsBench<'a> {
    pub(super) plan: &'a ClaimsPlan,
    pub(super) test: SelfTest,
    pub(super) base: SelfTestBench<'a>,
    pub(super) sweep_result: Option<Models>,
    pub(super) requests_result: Option<Models>,
}

/// A counted transfer.
pub(super) struct CountedTransfer {
    pub(super) outcome: TransferOutcome,
    pub(super) counts: Counts,
    pub(super) copies: Copies,
}

impl CountedTransfer {
    /// Returns the number of a system call of the sender.
    pub(super) fn calls(&self, name: &str) -> u64 {
        self.outcome.sender_counts().map_or(0, |own| own.call(name).calls)
    }
}

impl ClaimsBench<'_> {
    /// Measures select, poll, epoll and busy polling by number of descriptors, once.
    pub(super) fn sweep(&mut self) -> Result<&Models, ExperimentError> {
        let models = vec![
            Model::Nonblocking,
            Model::Select,
            Model::Poll,
            Model::EpollLevel,
            Model::EpollEdge,
        ];
        let whole = ModelsPlan::new(self.plan.workers.clone());
        let plan = ModelsPlan { models, active: vec![1], microseconds: 5000, ..whole };
        let plan = if self.plan.quick { ModelsPlan { runs: 9, ..plan.quick() } } else { plan };
        let sweep_result = match self.sweep_result.take() {
            Some(sweep_result) => sweep_result,
            None => Models::run(&plan, |_| {})?,
        };
        Ok(self.sweep_result.insert(sweep_result))
    }

    /// Measures requests to servers by epoll, by io_uring and with one thread per connection, once.
    pub(super) fn requests(&mut self) -> Result<&Models, ExperimentError> {
        let plan = ModelsPlan {
            models: vec![Model::EpollEdge, Model::Uring, Model::Blocking],
            descriptors: vec![SOME, MANY],
            active: vec![1, SOME],
            runs: self.pairs(),
            microseconds: if self.plan.quick { 5000 } else { 20_000 },
            ..ModelsPlan::new(self.plan.workers.clone())
        };
        let measured = match self.requests_result.take() {
            Some(measured) => measured,
            None => Models::run(&plan, |_| {})?,
        };
        Ok(self.requests_result.insert(measured))
    }

    /// Returns the number of timed pairs of a comparison.
    pub(super) fn pairs(&self) -> usize {
        if self.plan.quick { 9 } else { 20 }
    }

    /// Returns the number of chunks.
    pub(super) fn chunks(&self) -> u64 {
        self.plan.bytes.div_ceil(u64::from(self.plan.chunk))
    }

    /// Returns the specification of a transfer of the whole file.
    pub(super) fn spec(&self, via: Via) -> TransferSpec {
        TransferSpec::of(&self.base.test_file, via, Some(self.plan.chunk))
    }

    /// Transfers the file in this cache state by `via` and counts; an unsupported via is skipped.
    pub(super) fn counted(
        &mut self,
        via: Via,
        transport: Transport,
        cache: CacheState,
    ) -> Result<CountedTransfer, ExperimentError> {
        let spec = self.spec(via);
        let mut tried = 1;
        let (outcome, counts) = loop {
            match self.base.counted_from(cache, &spec, transport) {
                Err(ExperimentError::Failed(_)) if tried < ATTEMPTS => tried += 1,
                other => break other?,
            }
        };
        if outcome.effective != via {
            return Err(ExperimentError::Skipped(format!(
                "{via} is unsupported here: {} ran instead",
                outcome.effective
            )));
        }
        let copies = Copies::of(&outcome, transport);
        Ok(CountedTransfer { outcome, counts, copies })
    }
}

/// Returns `Refuted` if the condition holds, otherwise `Confirmed`.
pub(super) fn refuted_if(so: bool) -> Verdict {
    if so { Verdict::Refuted } else { Verdict::Confirmed }
}

/// Returns `Confirmed` if the condition holds, otherwise `Refuted`.
pub(super) fn confirmed_if(so: bool) -> Verdict {
    refuted_if(!so)
}
