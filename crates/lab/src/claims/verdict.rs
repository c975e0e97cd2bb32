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

impl Verdict {
    /// Reads the verdict of a report; an unknown one as not measurable.
    pub(crate) fn of_report(name: &str, details: Option<&str>) -> Self {
        let details = details.unwrap_or_default().to_owned();
        match name {
            "confirmed" => Self::Confirmed,
            "refuted" => Self::Refuted,
            "depends on" => Self::DependsOn(details),
            _ => Self::NotMeasurable(details),
        }
    }
}
