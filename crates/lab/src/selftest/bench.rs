//! What the checks have at hand: counters, a file, stages that are set once.

use serde_json::Value;
use std::collections::BTreeMap;
use std::result::Result as Either;

use super::check::{Figure, Stop};
use super::plan::Plan;
use crate::crew::Worker;
use crate::error::Result;
use crate::ground::{Cache, Ground};
use crate::movement::Movement;
use crate::outcome::Outcome;
use crate::probe::{Counters, Counts, Scope, Unavailable};
use crate::stage::Stage;
use crate::transport::{Taking, Transport};

pub(crate) struct Bench<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) ground: Ground,
    pub(crate) counters: Either<Counters, Unavailable>,
    stages: Vec<(Transport, Stage)>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Result<Self> {
        let ground = Ground::new(&plan.directory, plan.bytes)?;
        Ok(Self { plan, ground, counters: plan.attach()?, stages: Vec::new() })
    }

    /// The counters, or a reason to skip.
    pub(crate) fn counters(&mut self) -> Either<&mut Counters, Stop> {
        self.counters.as_mut().map_err(|why| Stop::Skipped(why.to_string()))
    }

    /// Where the stage with this transport is, or a reason to skip.
    fn place_of(&mut self, transport: Transport) -> Either<usize, Stop> {
        if let Some(place) = self.stages.iter().position(|(of, _)| *of == transport) {
            return Ok(place);
        }
        let stage = Stage::set(&self.plan.workers, transport);
        let stage = stage.map_err(|error| Stop::Skipped(error.to_string()))?;
        self.stages.push((transport, stage));
        Ok(self.stages.len() - 1)
    }

    /// None of the file in memory, or a reason to skip.
    pub(crate) fn chill(&mut self) -> Either<(), Stop> {
        let place = self.place_of(Transport::Loopback)?;
        let cold = self.stages[place].1.prepare(&self.ground, Cache::Cold);
        cold.map_err(|error| Stop::Skipped(error.to_string()))
    }

    /// A worker that nothing has been done to.
    pub(crate) fn worker(&self) -> Result<Worker> {
        self.plan.workers.start(0)
    }

    /// The file, warm, moved once and counted.
    pub(crate) fn counted(
        &mut self,
        movement: &Movement,
        transport: Transport,
    ) -> Either<(Outcome, Counts), Stop> {
        self.counted_from(Cache::Warm, movement, transport)
    }

    /// The file in this state, moved once and counted.
    pub(crate) fn counted_from(
        &mut self,
        cache: Cache,
        movement: &Movement,
        transport: Transport,
    ) -> Either<(Outcome, Counts), Stop> {
        self.counters()?;
        let place = self.place_of(transport)?;
        let stage = &mut self.stages[place].1;
        let state = stage.prepare(&self.ground, cache);
        state.map_err(|error| Stop::Skipped(error.to_string()))?;
        let outcome = stage.run(movement, &self.ground, self.counters.as_mut().ok())?;
        if cache == Cache::Cold && outcome.tries > 1 {
            let why = "a packet went unseen, and when the file was sent again it was warm";
            return Err(Stop::Failed(why.to_owned()));
        }
        let counts = outcome.counts.clone().unwrap_or_default();
        Ok((outcome, counts))
    }

    /// The file, warm, moved once and not counted.
    pub(crate) fn moved(
        &mut self,
        movement: &Movement,
        transport: Transport,
    ) -> Either<Outcome, Stop> {
        self.ground.prepare(Cache::Warm)?;
        let place = self.place_of(transport)?;
        Ok(self.stages[place].1.run(movement, &self.ground, None)?)
    }

    /// The file, warm, moved once under ptrace.
    pub(crate) fn traced(
        &mut self,
        movement: &Movement,
        transport: Transport,
    ) -> Either<(Outcome, BTreeMap<String, u64>), Stop> {
        self.ground.prepare(Cache::Warm)?;
        let place = self.place_of(transport)?;
        let traced = self.stages[place].1.trace(movement, &self.ground);
        traced.map_err(|error| Stop::Skipped(error.to_string()))
    }

    /// What the sender on loopback does by one order, counted.
    pub(crate) fn told(&mut self, order: &Value) -> Either<(Value, Counts), Stop> {
        self.counters()?;
        let place = self.place_of(Transport::Loopback)?;
        let stage = &mut self.stages[place].1;
        let counters = self.counters.as_mut();
        let counters = counters.map_err(|why| Stop::Skipped(why.to_string()))?;
        stage.connect_counted(Taking::Read, &self.ground, counters)?;
        let answer = stage.sender.ask(order)?;
        stage.receiver.hear()?;
        Ok((answer, counters.take()?))
    }

    /// What a worker does by one order, counted.
    pub(crate) fn work(
        &mut self,
        worker: &mut Worker,
        scope: &Scope,
        order: &Value,
    ) -> Either<(Value, Counts), Stop> {
        let counters = self.counters()?;
        counters.aim(scope)?;
        let answer = worker.ask(order)?;
        Ok((answer, counters.take()?))
    }
}

/// Adds a figure.
pub(crate) fn is(figures: &mut Vec<Figure>, what: impl Into<String>, expected: u64, counted: u64) {
    figures.push(Figure { what: what.into(), expected, counted });
}
