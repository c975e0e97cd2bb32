//! `karez doctor`: prints the findings, one per line.

use karez_doctor::{Examination, Finding, Verdict, examine};
use std::fmt::Write as _;
use std::io;

use crate::cli::DoctorArgs;
use crate::stdout::print;
use crate::style;

/// Examines the machine and prints the findings.
pub(crate) fn run(args: &DoctorArgs) -> io::Result<()> {
    if !args.dir.is_dir() {
        let error = args.dir.metadata().err().unwrap_or(io::ErrorKind::NotADirectory.into());
        return Err(io::Error::new(error.kind(), format!("{:?}: {error}", args.dir)));
    }
    let examination = examine(&args.dir);
    let mut text = if args.json {
        serde_json::to_string_pretty(&examination)?
    } else {
        in_lines(&examination)
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    print(text.as_bytes())
}

fn in_lines(examination: &Examination) -> String {
    let mut text = String::new();
    let Examination { kernel, machine, directory, sections, .. } = examination;
    // Writing to a String does not fail.
    let _ = writeln!(text, "Linux {kernel} on {machine}; files tried in {directory}");
    for section in sections {
        let _ = writeln!(text, "\n{}", style::on_stdout("1;32", section.title));
        let names = section.findings.iter().map(|finding| finding.name.chars().count());
        let width = names.max().unwrap_or(0);
        for finding in &section.findings {
            let _ = writeln!(text, "  {}", line(finding, width));
        }
    }
    text
}

fn line(finding: &Finding, width: usize) -> String {
    let Finding { name, verdict, detail, .. } = finding;
    let (colour, word) = match verdict {
        Verdict::Available => ("32", "available"),
        Verdict::Refused => ("31", "refused  "),
        Verdict::Unknown => ("33", "unknown  "),
        _ => ("36", "         "), // a fact without a verdict
    };
    format!("{name:width$}  {}  {detail}", style::on_stdout(colour, word))
}
