//! Output formats of the claims.

use serde_json::{Value, json};
use std::fmt;

use super::{Claims, Finding, Verdict};
use crate::machine::machine;
use crate::report::{Part, Report, ReportEntry, Section};
use crate::table::Table;

/// Schema of the JSON; the version rises when a field changes its meaning or is removed.
const SCHEMA: &str = "karez.lab.claims/2";

impl Verdict {
    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::DependsOn(_) => "depends on",
            Self::NotMeasurable(_) => "not measurable here",
        }
    }

    /// Returns the condition or the reason, if the verdict has one.
    #[must_use]
    pub fn details(&self) -> Option<&str> {
        match self {
            Self::Confirmed | Self::Refuted => None,
            Self::DependsOn(what) | Self::NotMeasurable(what) => Some(what),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confirmed | Self::Refuted => f.write_str(self.name()),
            Self::DependsOn(what) => write!(f, "depends on {what}"),
            Self::NotMeasurable(why) => write!(f, "not measurable here: {why}"),
        }
    }
}

impl Report for Claims {
    fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "tiers": self.tiers.to_json(),
            "claims": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }

    fn to_markdown(&self) -> String {
        self.table().to_markdown()
    }

    fn to_csv(&self) -> String {
        self.table().to_csv()
    }

    fn section(&self) -> Section {
        let entries = self.findings.iter().map(Finding::entry).collect();
        let words = format!("{}\n{}", self.tiers, self.verdicts());
        let parts = vec![Part::Paragraph(words), Part::Entries(entries)];
        Section { anchor: "claims".to_owned(), title: "Claims about Linux I/O".to_owned(), parts }
    }
}

impl Claims {
    fn table(&self) -> Table {
        let heading = vec!["#", "claim", "verdict", "measured", "reason", "command"];
        let rows = self.findings.iter().map(|finding| {
            vec![
                finding.claim.number.to_string(),
                finding.claim.statement.to_owned(),
                finding.verdict.to_string(),
                finding.evidence.to_string(),
                finding.claim.reason.to_owned(),
                finding.command(),
            ]
        });
        Table { heading, rows: rows.collect() }
    }

    /// Summarises the verdicts.
    fn verdicts(&self) -> String {
        let names = ["confirmed", "refuted", "depends on", "not measurable here"];
        names.map(|name| format!("{name} {}", self.count(name))).join(", ")
    }

    fn count(&self, name: &str) -> usize {
        self.findings.iter().filter(|finding| finding.verdict.name() == name).count()
    }
}

impl Finding {
    fn entry(&self) -> ReportEntry {
        let details = self.verdict.details().map(|details| match self.verdict {
            Verdict::DependsOn(_) => format!("It depends on {details}."),
            _ => details.to_owned(),
        });
        let measured = ("measured", self.evidence.to_string());
        let lines =
            [measured, ("reason", self.claim.reason.to_owned()), ("command", self.command())];
        ReportEntry {
            title: format!("{}. {}", self.claim.number, self.claim.statement),
            badge: self.verdict.name(),
            details,
            lines: lines.into_iter().filter(|(_, text)| !text.is_empty()).collect(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "number": self.claim.number,
            "claim": self.claim.statement,
            "verdict": self.verdict.name(),
            "details": self.verdict.details(),
            "evidence": self.evidence.to_json(),
            "reason": self.claim.reason,
            "command": self.command(),
        })
    }
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.tiers)?;
        for finding in &self.findings {
            let Finding { claim, verdict, evidence } = finding;
            writeln!(f, "{:>2}. {}", claim.number, claim.statement)?;
            writeln!(f, "    {verdict}")?;
            if *evidence != super::Evidence::default() {
                writeln!(f, "    measured: {evidence}")?;
            }
            writeln!(f, "    reason:   {}", claim.reason)?;
            writeln!(f, "    command:  {}\n", finding.command())?;
        }
        let heading = vec!["claim", "verdict"];
        let rows = self.findings.iter().map(|finding| {
            let Finding { claim, verdict, .. } = finding;
            vec![format!("{:>2}. {}", claim.number, claim.statement), verdict.name().to_owned()]
        });
        writeln!(f, "{}", Table { heading, rows: rows.collect() }.to_text())?;
        writeln!(f, "{}", self.verdicts())
    }
}
