//! What stands in the JSON of each report: JSON Schema, draft 2020-12, one for each form. A test
//! holds what the experiments write against it.
//!
//! What it does badly: a schema says what a field is, and nothing of when its figure is to be
//! believed; that is said by `usable`, `tiers` and the notes of the report itself.

/// The name of each report, and its schema.
pub const SCHEMAS: &[(&str, &str)] = &[
    ("all", include_str!("../schema/all.json")),
    ("claims", include_str!("../schema/claims.json")),
    ("compare", include_str!("../schema/compare.json")),
    ("models", include_str!("../schema/models.json")),
    ("selftest", include_str!("../schema/selftest.json")),
    ("topologies", include_str!("../schema/topologies.json")),
    ("trace", include_str!("../schema/trace.json")),
    ("vias", include_str!("../schema/vias.json")),
];
