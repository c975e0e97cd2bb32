//! Output formats of a trace.

use serde_json::{Value, json};
use std::fmt;

use super::event::{Event, EventKind, Lane, microseconds, time};
use super::steps::{Step, StepPart, shown};
use super::{Trace, svg, syscalls, text_timeline};
use crate::language::{msg, text, tr};
use crate::machine::machine;
use crate::report::{Part, Report, Section};
use crate::table::{Table, grouped, size};

/// Schema of the JSON; the version rises when a field changes its meaning or is removed.
const SCHEMA: &str = "karez.lab.trace/2";

/// Caption of the drawing.
const FIGURE: &str = msg!(
    "The lanes are to scale; the sequence below shows each system call and the boundaries that data \
     crosses in it, not to scale."
);

impl Trace {
    /// Describes the request in one line.
    #[must_use]
    pub fn title(&self) -> String {
        let via = if self.effective_via == self.via {
            self.via.to_string()
        } else {
            text!("{via} (as {effective})", via = self.via, effective = self.effective_via)
        };
        text!(
            "GET of {size} over {transport}: model {model}, via {via}, topology {topology}",
            size = size(self.body),
            transport = self.transport,
            model = self.model,
            via = via,
            topology = self.topology
        )
    }

    /// Draws the trace as a standalone `<svg>` element.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }

    /// Formats the trace for a terminal.
    fn to_text(&self) -> String {
        let notes: Vec<_> = self.notes().iter().map(|note| format!("{note}\n")).collect();
        format!(
            "{}\n{}\n\n{}\n{}\n{}\n\n{}",
            self.title(),
            self.seen(),
            text_timeline::draw(self, self.width),
            self.table().aligned(|column| column == 1 || column == 2),
            self.summary().join("\n"),
            notes.concat()
        )
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        let (steps, left_out) = shown(self);
        for (place, step) in steps.iter().enumerate() {
            if let Some((_, count)) = left_out.filter(|(after, _)| *after == place) {
                let words = text!("... {count} more: --csv has all", count = count);
                rows.push(vec![
                    String::new(),
                    String::new(),
                    words,
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
            }
            rows.push(self.row(step));
            rows.extend(step.parts.iter().map(part_row));
        }
        Table {
            heading: vec![
                msg!("start us"),
                msg!("lane"),
                msg!("event"),
                msg!("bytes"),
                msg!("duration us"),
                msg!("user us before"),
            ],
            rows,
            ..Table::default()
        }
    }

    fn row(&self, step: &Step) -> Vec<String> {
        let thread = &self.threads[step.thread];
        let lane = if thread.receives { Lane::Receiver } else { Lane::Call };
        let who = if self.servers() > 1 && !thread.receives {
            format!("{}: ", thread.name)
        } else {
            String::new()
        };
        vec![
            if step.begun < self.asked { text!("before") } else { time(step.begun) },
            tr(lane.name()),
            format!("{who}{}{}", name(step), fold_mark(step)),
            step.bytes.map_or_else(String::new, grouped),
            step.took.map_or_else(String::new, time),
            if step.ran > 0 { time(step.ran) } else { String::new() },
        ]
    }

    /// Returns the number of server threads involved.
    pub(super) fn servers(&self) -> usize {
        self.threads.iter().filter(|thread| !thread.receives).count()
    }

    fn event_to_json(&self, event: &Event) -> Value {
        let mut json = json!({
            "start_us": microseconds(event.begun),
            "duration_us": microseconds(event.took()),
            "lane": event.lane.name(),
            "thread": event.thread.map(|place| self.threads[place].id),
            "within": event.within,
            "event": event.word(),
            "bytes": event.bytes(),
        });
        if let (Value::Object(json), Value::Object(more)) = (&mut json, event.fields()) {
            json.extend(more);
        }
        json
    }

    fn totals_to_json(&self) -> Value {
        let totals = &self.totals;
        let calls = totals.calls.iter().map(|(name, counted)| {
            let totals_of_call = json!({
                "calls": counted.calls, "bytes": counted.bytes, "us": microseconds(counted.took),
            });
            (name.clone(), totals_of_call)
        });
        let copies = &totals.copies;
        json!({
            "system_calls": totals.total_calls(),
            "by_name": calls.collect::<serde_json::Map<_, _>>(),
            "mode_switches": totals.mode_switches,
            "faults_user": totals.faults_user,
            "faults_kernel": totals.faults_kernel,
            "copies": {
                "inferred": copies.inferred, "file_to_user": copies.file_to_user,
                "to_socket": copies.to_socket, "late": copies.late, "receiver": copies.received,
            },
            "sent": totals.sent.map(|sent| json!({
                "packets": sent.packets, "payload": sent.payload(), "headers": sent.headers,
                "page_cache": sent.ours, "other_cache": sent.cache, "user_pages": sent.anonymous,
                "copied": sent.copied(), "unsorted": sent.unsorted,
            })),
            "retransmitted": totals.retransmitted,
            "disk": totals.disk.map(|disk| json!({
                "bytes": disk.read_bytes, "requests": disk.reads, "written": disk.write_bytes,
            })),
            "sleeps": totals.sleeps,
            "slept_us": microseconds(totals.slept),
            "preempted": totals.preempted,
            "queued_us": microseconds(totals.queued),
            "wake_ups": totals.woken.iter().map(|(thread, waker)| json!({
                "thread": self.threads[*thread].id, "by": waker.to_string(),
            })).collect::<Vec<_>>(),
            "contradictions": totals.contradictions,
        })
    }
}

impl Report for Trace {
    fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "tier": self.tier.name(),
            "without_t1": self.without_t1,
            "missing_tracepoints": self.missing,
            "lost_events": self.lost,
            "request": {
                "model": self.model.name(), "via": self.via.name(), "effective_via": self.effective_via.name(),
                "topology": self.topology.name(), "transport": self.transport.name(),
                "head": self.head, "body": self.body,
                "pages_in_memory": self.pages.0, "pages": self.pages.1,
            },
            "tries": self.tries,
            "duration_us": microseconds(self.took),
            "request_start_us": microseconds(self.asked),
            "threads": self.threads.iter().map(|thread| json!({
                "id": thread.id, "name": thread.name, "receives": thread.receives,
            })).collect::<Vec<_>>(),
            "totals": self.totals_to_json(),
            "notes": self.notes(),
            "events": self.events.iter().map(|event| self.event_to_json(event)).collect::<Vec<_>>(),
        })
    }

    /// Lists every event, without folding.
    fn to_csv(&self) -> String {
        let rows = self.events.iter().map(|event| {
            let thread = event.thread.map(|place| self.threads[place].id.to_string());
            vec![
                format!("{:.3}", microseconds(event.begun)),
                format!("{:.3}", microseconds(event.took())),
                event.lane.name().to_owned(),
                thread.unwrap_or_default(),
                event.word().to_owned(),
                detail(event),
                event.bytes().map_or_else(String::new, |bytes| bytes.to_string()),
            ]
        });
        let heading = vec!["start_us", "duration_us", "lane", "thread", "event", "detail", "bytes"];
        Table { heading, rows: rows.collect(), ..Table::default() }.to_csv()
    }

    fn to_markdown(&self) -> String {
        let list = |lines: Vec<String>| {
            lines.iter().map(|line| format!("- {line}\n")).collect::<Vec<_>>().concat()
        };
        format!(
            "{}\n\n{}\n\n{}\n{}\n{}",
            self.title(),
            self.seen(),
            self.table().to_markdown(),
            list(self.summary()),
            list(self.notes())
        )
    }

    fn section(&self) -> Section {
        Section {
            anchor: self.anchor(),
            title: self.heading(),
            parts: vec![Part::Paragraph(self.seen())].into_iter().chain(self.parts()).collect(),
        }
    }
}

impl Trace {
    /// Returns the drawing, the command that repeats it, and the details.
    pub(crate) fn parts(&self) -> Vec<Part> {
        vec![
            Part::Figure(tr(FIGURE), self.to_svg()),
            Part::Command(self.command()),
            Part::Folded(
                text!("Each call and its events"),
                vec![Part::Table(String::new(), self.table()), Part::Notes(self.notes())],
            ),
        ]
    }

    /// Returns the command that repeats the trace.
    fn command(&self) -> String {
        let cold = if self.is_warm() { "" } else { " --cold" };
        format!(
            "karez lab trace --model {} --topology {} --via {}{cold} --svg trace.svg",
            self.model, self.topology, self.via
        )
    }

    /// Returns the link target on a page.
    fn anchor(&self) -> String {
        let warmth = if self.is_warm() { "" } else { "-cold" };
        format!("trace-{}-{}-{}{warmth}", self.model, self.topology, self.via)
    }

    pub(super) fn heading(&self) -> String {
        let Self { model, topology, via, .. } = self;
        let heading = text!(
            "{size} by {via} on {model} × {topology}",
            size = size(self.body),
            via = via,
            model = model,
            topology = topology
        );
        if self.is_warm() { heading } else { text!("{heading}, cold", heading = heading) }
    }

    fn is_warm(&self) -> bool {
        self.pages.0 == self.pages.1
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// Returns the title of a step with its result.
pub(super) fn name(step: &Step) -> String {
    if step.answer.is_empty() {
        step.title.clone()
    } else {
        format!("{} {}", step.title, step.answer)
    }
}

/// Returns the repetition count, and the position within a repeated sequence.
fn fold_mark(step: &Step) -> String {
    match step.of {
        Some((many, place)) => text!(
            " x {times} ({place} of {many} in turn)",
            times = step.times,
            place = place + 1,
            many = many
        ),
        None if step.times > 1 => format!(" x {}", step.times),
        None => String::new(),
    }
}

fn part_row(part: &StepPart) -> Vec<String> {
    let times = if part.times > 1 { format!(" x {}", part.times) } else { String::new() };
    vec![
        String::new(),
        tr(part.lane.name()),
        format!("  {}{times}", part.text),
        part.bytes.map_or_else(String::new, grouped),
        if part.took > 0 { time(part.took) } else { String::new() },
        String::new(),
    ]
}

fn detail(event: &Event) -> String {
    match &event.kind {
        EventKind::Syscall(call) => {
            let error = call.result.and_then(syscalls::error);
            let words = [vec![&*call.name], syscalls::flags(call)].concat();
            words.into_iter().map(str::to_owned).chain(error).collect::<Vec<_>>().join(" ")
        }
        EventKind::Sleeps { woken: Some(waker) } => format!("woken by {waker}"),
        EventKind::Copies { from, to, .. } => format!("{} to {}", from.name(), to.name()),
        EventKind::Packet { device, .. } => device.clone(),
        EventKind::Operation { name, .. } | EventKind::IoWorker { name } => (*name).to_owned(),
        _ => String::new(),
    }
}
