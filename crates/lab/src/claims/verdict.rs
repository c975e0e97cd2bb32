//! The verdict on a claim.

/// Verdict that follows from the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The claim holds.
    Confirmed,
    /// The claim does not hold.
    Refuted,
    /// The claim holds under this condition.
    DependsOn(String),
    /// The claim cannot be tested here, for this reason.
    NotMeasurable(String),
}
