//! Structure of each report for comparisons: its rows, their identity, and the counted and timed
//! figures. Figures that are noise by nature, such as the number of waits, are excluded.

use serde_json::Value;

use crate::table::Table;

/// Structure of a report.
pub(super) struct ReportFormat {
    /// Its schema with the version.
    pub(super) schema: &'static str,
    /// Name of the experiment.
    pub(super) experiment: &'static str,
    /// Field with the rows; `None` if the report is a single row.
    rows: Option<&'static str>,
    /// Fields, or JSON pointers (RFC 6901), that identify a row.
    identity: &'static [&'static str],
    /// Deterministic figures: name and JSON pointer (RFC 6901).
    pub(super) counted: &'static [(&'static str, &'static str)],
    /// Figures with ranges.
    pub(super) timed: &'static [(&'static str, &'static str)],
}

/// All formats.
pub(super) const FORMATS: &[ReportFormat] = &[
    ReportFormat {
        schema: "karez.lab.selftest/2",
        experiment: "selftest",
        rows: Some("checks"),
        identity: &["check"],
        counted: &[("verdict", "/verdict")],
        timed: &[],
    },
    ReportFormat {
        schema: "karez.lab.claims/2",
        experiment: "claims",
        rows: Some("claims"),
        identity: &["number", "claim"],
        counted: &[("verdict", "/verdict")],
        timed: &[],
    },
    ReportFormat {
        schema: "karez.lab.vias/2",
        experiment: "vias",
        rows: Some("rows"),
        identity: &["via", "transport", "bytes", "cache"],
        counted: &[
            ("effective via", "/effective_via"),
            ("system calls", "/transfer_calls"),
            ("bytes copied from the file to the user", "/copies/file_to_user"),
            ("bytes copied to the socket", "/copies/to_socket"),
            ("bytes copied late", "/copies/late"),
            ("bytes copied by the receiver", "/copies/receiver"),
            ("bytes of the disk", "/disk/bytes"),
        ],
        timed: &[("CPU ms/GB", "/cpu_ms_per_gb"), ("GB/s", "/gb_per_s")],
    },
    ReportFormat {
        schema: "karez.lab.models/2",
        experiment: "models",
        rows: Some("rows"),
        identity: &["model", "descriptors", "active"],
        counted: &[("system calls", "/calls")],
        timed: &[("us/wake-up", "/us_per_wake_up"), ("CPU us/wake-up", "/cpu_us_per_wake_up")],
    },
    // The number of wake-ups depends on timing, and with it the calls of a request.
    ReportFormat {
        schema: "karez.lab.models/2",
        experiment: "requests",
        rows: Some("requests"),
        identity: &["model", "connections", "active"],
        counted: &[],
        timed: &[("us/request", "/us_per_request"), ("CPU us/request", "/cpu_us_per_request")],
    },
    ReportFormat {
        schema: "karez.lab.topologies/2",
        experiment: "blocked-jobs",
        rows: Some("blocked_jobs"),
        identity: &["model", "topology"],
        counted: &[("responses while a job is blocked", "/responses_while_blocked")],
        timed: &[],
    },
    ReportFormat {
        schema: "karez.lab.topologies/2",
        experiment: "topologies",
        rows: Some("rows"),
        identity: &["model", "topology", "clients"],
        counted: &[],
        timed: &[
            ("fast/s", "/fast_per_second"),
            ("p99 us of fast", "/fast/p99_us"),
            ("blocking/s", "/blocking_per_second"),
            ("CPU us/response", "/cpu_us_per_response"),
        ],
    },
    // The number of calls of a request depends on how soon the receiver reads.
    ReportFormat {
        schema: "karez.lab.trace/2",
        experiment: "trace",
        rows: None,
        identity: &[
            "/request/via",
            "/request/model",
            "/request/topology",
            "/request/transport",
            "/request/pages_in_memory",
        ],
        counted: &[
            ("effective via", "/request/effective_via"),
            ("bytes copied from the file to the user", "/totals/copies/file_to_user"),
            ("bytes copied late", "/totals/copies/late"),
            ("bytes sent in pages of the file", "/totals/sent/page_cache"),
        ],
        timed: &[],
    },
];

/// Returns one row per figure of these reports.
pub(crate) fn long_table(reports: &[Value]) -> Table {
    let mut rows = Vec::new();
    for report in reports {
        for format in FORMATS {
            for row in format.rows_of(report) {
                rows.extend(format.figures_of(row));
            }
        }
    }
    let heading = vec!["experiment", "row", "figure", "value", "low", "high"];
    Table { heading, rows, ..Table::default() }
}

impl ReportFormat {
    fn figures_of(&self, row: &Value) -> Vec<Vec<String>> {
        let begin =
            |figure: &str| vec![self.experiment.to_owned(), self.name_of(row), figure.to_owned()];
        let words = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let there = |&(figure, path): &(&'static str, &'static str)| {
            let value = row.pointer(path).filter(|value| !value.is_null())?;
            Some((begin(figure), value))
        };
        let counted = self.counted.iter().filter_map(there);
        let counted = counted.map(|(begin, value)| {
            [begin, vec![words(value), String::new(), String::new()]].concat()
        });
        let timed = self.timed.iter().filter_map(there);
        let timed = timed.map(|(begin, value)| {
            let ends = ["median", "low", "high"].map(|name| words(&value[name]));
            [begin, ends.to_vec()].concat()
        });
        counted.chain(timed).collect()
    }

    /// Returns the rows of a report; none if it has another schema.
    pub(super) fn rows_of<'a>(&self, report: &'a Value) -> impl Iterator<Item = &'a Value> {
        let rows = match self.rows {
            Some(field) => report[field].as_array().map_or(&[][..], Vec::as_slice),
            None => std::slice::from_ref(report),
        };
        rows.iter().filter(|_| report["schema"] == self.schema)
    }

    /// Returns the identity of a row as text.
    pub(super) fn name_of(&self, row: &Value) -> String {
        let value = |field: &str| {
            if field.starts_with('/') { row.pointer(field) } else { row.get(field) }
        };
        let words = self.identity.iter().filter_map(|&field| match value(field)? {
            Value::String(word) => Some(word.clone()),
            Value::Number(number) if field == "number" => Some(format!("{number}.")),
            Value::Number(number) => {
                let name = field.rsplit('/').next().unwrap_or(field);
                Some(format!("{number} {}", name.replace('_', " ")))
            }
            Value::Object(each) => {
                let each: Vec<_> =
                    each.iter().map(|(name, count)| format!("{count} {name}")).collect();
                Some(each.join(" "))
            }
            _ => None,
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Returns the number of runs behind the ranges of a row.
    pub(super) fn runs_of(&self, row: &Value) -> usize {
        row["samples"].as_array().map_or(0, Vec::len)
    }
}
