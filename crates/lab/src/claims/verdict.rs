//! The verdict on a claim.

/// What the evidence statement of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Confirmed,
    /// It does not.
    Refuted,
    /// It holds at times: on what that depends.
    DependsOn(String),
    /// It cannot be measured here: why.
    NotMeasurable(String),
}
