//! The models: each probes its requirements, as the server does before it binds.

use karez_reactor::Model;

use crate::finding::{Finding, Section};

pub(crate) fn section() -> Section {
    let findings = Model::ALL.iter().map(|&model| match model.probe() {
        Ok(()) => Finding::available(model.name(), model.since()),
        Err(error) => Finding::refused(model.name(), format!("{error}, {}", model.since())),
    });
    Section { title: "models", findings: findings.collect() }
}
