//! Output formats of the claims.

use serde_json::{Value, json};
use std::fmt;

use super::{Claims, Finding, Verdict};
use crate::language::{msg, text, tr, tr_word};
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
            Self::Confirmed => msg!("confirmed"),
            Self::Refuted => msg!("refuted"),
            Self::DependsOn(_) => msg!("depends on"),
            Self::NotMeasurable(_) => msg!("not measurable here"),
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
            Self::Confirmed | Self::Refuted => f.write_str(&tr(self.name())),
            Self::DependsOn(what) => f.write_str(&text!("depends on {what}", what = tr_word(what))),
            Self::NotMeasurable(why) => {
                f.write_str(&text!("not measurable here: {why}", why = tr_word(why)))
            }
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
        let command = Part::Command("karez lab claims".to_owned());
        let parts = vec![Part::Paragraph(words), command, Part::Entries(entries)];
        Section { anchor: "claims".to_owned(), title: text!("Claims about Linux I/O"), parts }
    }
}

impl Claims {
    fn table(&self) -> Table {
        let heading = vec![
            msg!("#"),
            msg!("claim"),
            msg!("verdict"),
            msg!("measured"),
            msg!("reason"),
            msg!("command"),
        ];
        let rows = self.findings.iter().map(|finding| {
            vec![
                finding.claim.number.to_string(),
                tr(finding.claim.statement),
                finding.verdict.to_string(),
                finding.evidence.to_string(),
                tr(finding.claim.reason),
                finding.command(),
            ]
        });
        Table { heading, rows: rows.collect(), ..Table::default() }
    }

    /// Summarises the verdicts.
    fn verdicts(&self) -> String {
        let names = ["confirmed", "refuted", "depends on", "not measurable here"];
        names.map(|name| format!("{} {}", tr(name), self.count(name))).join(", ")
    }

    fn count(&self, name: &str) -> usize {
        self.findings.iter().filter(|finding| finding.verdict.name() == name).count()
    }
}

impl Finding {
    fn entry(&self) -> ReportEntry {
        let details = self.verdict.details().map(|details| match self.verdict {
            Verdict::DependsOn(_) => text!("It depends on {what}.", what = tr_word(details)),
            _ => tr_word(details),
        });
        let lines = [
            (msg!("measured"), self.evidence.to_string()),
            (msg!("reason"), tr(self.claim.reason)),
            (msg!("command"), self.command()),
        ];
        ReportEntry {
            anchor: format!("claim-{}", self.claim.name),
            title: format!("{}. {}", self.claim.number, tr(self.claim.statement)),
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
            writeln!(f, "{:>2}. {}", claim.number, tr(claim.statement))?;
            writeln!(f, "    {verdict}")?;
            if *evidence != super::Evidence::default() {
                writeln!(f, "    {} {evidence}", text!("measured:"))?;
            }
            writeln!(f, "    {} {}", text!("reason:  "), tr(claim.reason))?;
            writeln!(f, "    {} {}\n", text!("command: "), finding.command())?;
        }
        let heading = vec![msg!("claim"), msg!("verdict")];
        let rows = self.findings.iter().map(|finding| {
            let Finding { claim, verdict, .. } = finding;
            vec![format!("{:>2}. {}", claim.number, tr(claim.statement)), tr(verdict.name())]
        });
        writeln!(f, "{}", Table { heading, rows: rows.collect(), ..Table::default() }.to_text())?;
        writeln!(f, "{}", self.verdicts())
    }
}
