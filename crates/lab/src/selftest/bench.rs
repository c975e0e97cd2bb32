//! Fixture of the checks: counters, a file, and test beds that are set up once.

use serde_json::Value;
use std::collections::BTreeMap;
use std::result::Result as StdResult;

use super::check::{CheckedFigure, ExperimentError};
use super::plan::SelfTestPlan;
use crate::error::Result;
use crate::probe::{Counters, Counts, Scope, Unavailable};
use crate::test_bed::TestBed;
use crate::test_file::{CacheState, TestFile};
use crate::transfer_outcome::TransferOutcome;
use crate::transfer_spec::TransferSpec;
use crate::transport::{ReceiveMode, Transport};
use crate::workers::Worker;

pub(crate) struct SelfTestBench<'a> {
    pub(crate) plan: &'a SelfTestPlan,
    pub(crate) test_file: TestFile,
    pub(crate) counters: StdResult<Counters, Unavailable>,
    beds: Vec<(Transport, TestBed)>,
}

impl<'a> SelfTestBench<'a> {
    pub(crate) fn new(plan: &'a SelfTestPlan) -> Result<Self> {
        let test_file = TestFile::new(&plan.directory, plan.bytes)?;
        Ok(Self { plan, test_file, counters: plan.attach()?, beds: Vec::new() })
    }

    /// Returns the counters, or the reason to skip.
    pub(crate) fn counters(&mut self) -> StdResult<&mut Counters, ExperimentError> {
        self.counters.as_mut().map_err(|reason| ExperimentError::Skipped(reason.to_string()))
    }

    /// Returns the index of the test bed for a transport, or the reason to skip.
    fn bed_index(&mut self, transport: Transport) -> StdResult<usize, ExperimentError> {
        if let Some(place) = self.beds.iter().position(|(of, _)| *of == transport) {
            return Ok(place);
        }
        let bed = TestBed::set_up(&self.plan.workers, transport);
        let bed = bed.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
        self.beds.push((transport, bed));
        Ok(self.beds.len() - 1)
    }

    /// Evicts the file, or returns the reason to skip.
    pub(crate) fn evict(&mut self) -> StdResult<(), ExperimentError> {
        let place = self.bed_index(Transport::Loopback)?;
        let cold = self.beds[place].1.prepare(&self.test_file, CacheState::Cold);
        cold.map_err(|error| ExperimentError::Skipped(error.to_string()))
    }

    /// Starts a fresh worker.
    pub(crate) fn worker(&self) -> Result<Worker> {
        self.plan.workers.start(0)
    }

    /// Sends a command to the sender of a transport.
    pub(crate) fn request_sender(
        &mut self,
        transport: Transport,
        command: &Value,
    ) -> StdResult<Value, ExperimentError> {
        let place = self.bed_index(transport)?;
        Ok(self.beds[place].1.sender.request(command)?)
    }

    /// Executes a command on a connected sender without counters; the receiver discards everything.
    pub(crate) fn timed_sender_command(
        &mut self,
        command: &Value,
    ) -> StdResult<Value, ExperimentError> {
        let place = self.bed_index(Transport::Loopback)?;
        let bed = &mut self.beds[place].1;
        bed.connect(ReceiveMode::Discard)?;
        let answer = bed.sender.request(command)?;
        bed.receiver.receive()?;
        Ok(answer)
    }

    /// Transfers the cached file once and counts.
    pub(crate) fn counted(
        &mut self,
        spec: &TransferSpec,
        transport: Transport,
    ) -> StdResult<(TransferOutcome, Counts), ExperimentError> {
        self.counted_from(CacheState::Warm, spec, transport)
    }

    /// Transfers the file in this cache state once and counts.
    pub(crate) fn counted_from(
        &mut self,
        cache: CacheState,
        spec: &TransferSpec,
        transport: Transport,
    ) -> StdResult<(TransferOutcome, Counts), ExperimentError> {
        self.counters()?;
        let place = self.bed_index(transport)?;
        let bed = &mut self.beds[place].1;
        let state = bed.prepare(&self.test_file, cache);
        state.map_err(|error| ExperimentError::Skipped(error.to_string()))?;
        let outcome = bed.run(spec, &self.test_file, self.counters.as_mut().ok())?;
        if cache == CacheState::Cold && outcome.tries > 1 {
            let reason = "the counters missed a packet, and the repeated run had a warm file";
            return Err(ExperimentError::Failed(reason.to_owned()));
        }
        let counts = outcome.counts.clone().unwrap_or_default();
        Ok((outcome, counts))
    }

    /// Transfers the cached file once without counters.
    pub(crate) fn uncounted(
        &mut self,
        spec: &TransferSpec,
        transport: Transport,
    ) -> StdResult<TransferOutcome, ExperimentError> {
        self.test_file.prepare(CacheState::Warm)?;
        let place = self.bed_index(transport)?;
        Ok(self.beds[place].1.run(spec, &self.test_file, None)?)
    }

    /// Transfers the cached file once under ptrace.
    pub(crate) fn traced(
        &mut self,
        spec: &TransferSpec,
        transport: Transport,
    ) -> StdResult<(TransferOutcome, BTreeMap<String, u64>), ExperimentError> {
        self.test_file.prepare(CacheState::Warm)?;
        let place = self.bed_index(transport)?;
        let traced = self.beds[place].1.trace(spec, &self.test_file);
        traced.map_err(|error| ExperimentError::Skipped(error.to_string()))
    }

    /// Executes a command on the sender over loopback and counts.
    pub(crate) fn sender_command(
        &mut self,
        command: &Value,
    ) -> StdResult<(Value, Counts), ExperimentError> {
        self.counters()?;
        let place = self.bed_index(Transport::Loopback)?;
        let bed = &mut self.beds[place].1;
        let counters = self.counters.as_mut();
        let counters = counters.map_err(|reason| ExperimentError::Skipped(reason.to_string()))?;
        bed.connect_counted(ReceiveMode::Read, &self.test_file, counters)?;
        let answer = bed.sender.request(command)?;
        bed.receiver.receive()?;
        Ok((answer, counters.take()?))
    }

    /// Executes a command on a worker and counts.
    pub(crate) fn worker_command(
        &mut self,
        worker: &mut Worker,
        scope: &Scope,
        command: &Value,
    ) -> StdResult<(Value, Counts), ExperimentError> {
        let counters = self.counters()?;
        counters.aim(scope)?;
        let answer = worker.request(command)?;
        Ok((answer, counters.take()?))
    }
}

/// Adds a figure.
pub(crate) fn expect(
    figures: &mut Vec<CheckedFigure>,
    subject: impl Into<String>,
    expected: u64,
    counted: u64,
) {
    figures.push(CheckedFigure { subject: subject.into(), expected, counted });
}
