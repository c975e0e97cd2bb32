//! `karez lab exercise`: learning by predicting. An exercise asks for a number, takes a prediction,
//! measures the number on the running kernel, and shows the difference and the reason.
//!
//! The measurement is that of a [claim](crate::claims), whose evidence contains the number.
//!
//! # Limitations
//! An exercise asks for counts, which are exact, not for times, which depend on the machine.

mod list;
mod render;

pub use list::{EXERCISES, Exercise};

use std::path::Path;

use crate::claims::{Claims, ClaimsPlan, Verdict};
use crate::error::Result;
use crate::workers::WorkerCommand;

/// File size and chunk size of the transfers: 16 chunks.
const BYTES: u64 = 1 << 20;
const CHUNK: u32 = 64 << 10;

/// A prediction with its measurement.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The exercise.
    pub exercise: &'static Exercise,
    /// The predicted number.
    pub predicted: u64,
    /// The measured number, or the reason why it cannot be measured here.
    pub measured: std::result::Result<u64, String>,
}

impl Exercise {
    /// Returns the exercise with this number, from 1.
    #[must_use]
    pub fn find(number: usize) -> Option<&'static Self> {
        EXERCISES.get(number.checked_sub(1)?)
    }

    /// Returns its number.
    #[must_use]
    pub fn number(&self) -> usize {
        let place = EXERCISES.iter().position(|one| one.question == self.question);
        place.map_or(0, |place| place + 1)
    }

    /// Measures the number that the exercise asks for.
    ///
    /// # Errors
    /// If no file can be created in the directory.
    pub fn run(
        &'static self,
        workers: WorkerCommand,
        directory: &Path,
        predicted: u64,
    ) -> Result<Attempt> {
        let plan = ClaimsPlan {
            bytes: BYTES,
            chunk: CHUNK,
            only: vec![self.claim],
            ..ClaimsPlan::new(workers, directory).quick()
        };
        let claims = Claims::run(&plan, |_| {})?;
        let finding = claims.find(self.claim);
        let measured = match finding.map(|finding| (&finding.verdict, &finding.evidence)) {
            Some((Verdict::NotMeasurable(why), evidence)) => {
                evidence.count(self.figure).ok_or_else(|| why.clone())
            }
            Some((_, evidence)) => {
                evidence.count(self.figure).ok_or_else(|| "a figure is missing".to_owned())
            }
            None => Err("a figure is missing".to_owned()),
        };
        Ok(Attempt { exercise: self, predicted, measured })
    }
}

impl Attempt {
    /// Returns whether the prediction was right.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.measured.as_ref().is_ok_and(|measured| *measured == self.predicted)
    }
}
