//! JSON Schemas of the reports (draft 2020-12). A test validates the reports of all experiments.
//!
//! # Limitations
//! A schema defines the fields, not their validity; see `usable`, `tiers` and the notes of each
//! report.

/// Name and schema of each report.
pub const SCHEMAS: &[(&str, &str)] = &[
    ("all", include_str!("../schema/all.json")),
    ("claims", include_str!("../schema/claims.json")),
    ("compare", include_str!("../schema/compare.json")),
    ("exercise", include_str!("../schema/exercise.json")),
    ("models", include_str!("../schema/models.json")),
    ("selftest", include_str!("../schema/selftest.json")),
    ("topologies", include_str!("../schema/topologies.json")),
    ("trace", include_str!("../schema/trace.json")),
    ("vias", include_str!("../schema/vias.json")),
];
