//! What a comparison knows of each report: where its rows are, what tells one from another, which
//! figures were counted and which were timed. What is noise by nature (how often a thread waited)
//! is not among it.

use serde_json::Value;

use crate::table::Table;

/// The form of a report.
pub(super) struct ReportFormat {
    /// Its schema, with the version.
    pub(super) schema: &'static str,
    /// What it is called.
    pub(super) experiment: &'static str,
    /// The field that holds its rows; `None` where the report is one row.
    rows: Option<&'static str>,
    /// The fields that tell a row from others, or where they are in it (RFC 6901).
    identity: &'static [&'static str],
    /// Figures that are the same each time: a name, and where it is in a row (RFC 6901).
    pub(super) counted: &'static [(&'static str, &'static str)],
    /// Figures that are not, with their ranges.
    pub(super) timed: &'static [(&'static str, &'static str)],
}

/// Every form.
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
            ("the via that ran", "/effective_via"),
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
    // How often a thread is woken depends on time, and with it the calls of a request.
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
        counted: &[("answered while a job is held", "/responses_while_blocked")],
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
            ("CPU us/answer", "/cpu_us_per_response"),
        ],
    },
    // How many calls a request takes depends on how soon the receiver reads.
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
            ("the via that ran", "/request/effective_via"),
            ("bytes copied from the file to the user", "/totals/copies/file_to_user"),
            ("bytes copied late", "/totals/copies/late"),
            ("bytes sent in pages of the file", "/totals/sent/page_cache"),
        ],
        timed: &[],
    },
];

/// Every figure of these reports, a row each.
pub(crate) fn long_table(reports: &[Value]) -> Table {
    let mut rows = Vec::new();
    for report in reports {
        for format in FORMATS {
            for row in format.rows_of(report) {
                rows.extend(format.figures_of(row));
            }
        }
    }
    Table { heading: vec!["experiment", "row", "figure", "value", "low", "high"], rows }
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

    /// Its rows in a report; none in a report of another form.
    pub(super) fn rows_of<'a>(&self, report: &'a Value) -> impl Iterator<Item = &'a Value> {
        let rows = match self.rows {
            Some(field) => report[field].as_array().map_or(&[][..], Vec::as_slice),
            None => std::slice::from_ref(report),
        };
        rows.iter().filter(|_| report["schema"] == self.schema)
    }

    /// What tells a row from others, in words.
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

    /// How many runs the ranges of a row are of.
    pub(super) fn runs_of(&self, row: &Value) -> usize {
        row["samples"].as_array().map_or(0, Vec::len)
    }
}
