//! The drawings of a book, made from reports by the charts of the laboratory.

use karez_reactor::Model;
use karez_transfer::Via;
use serde_json::Value;

use super::reports::{Reports, range};
use super::tables::{is_largest_on_loopback, share_of};
use super::waits;
use crate::all::textbook;
use crate::chart::{Line, bars, lines, stacked};
use crate::language::text;
use crate::stats::MedianRange;

/// Returns the caption and the SVG of a drawing; `None` if the reports lack it.
pub(super) fn draw(reports: &Reports<'_>, name: &str) -> Option<(String, String)> {
    match name {
        "wake-ups" => wake_ups(reports),
        "requests" => requests(reports),
        "copies" => copies(reports),
        "cpu" => cpu(reports),
        "rates" => rates(reports),
        _ => match name.strip_prefix("waits-") {
            Some(topology) => waits::draw(reports, topology),
            None => diagram(name.strip_prefix("textbook-")?),
        },
    }
}

/// Draws how a textbook shows a method.
fn diagram(via: &str) -> Option<(String, String)> {
    let via: Via = via.parse().ok()?;
    let caption = text!("{via}, as textbooks draw it", via = via);
    let svg = textbook::draw(via, &caption)?;
    Some((caption, svg))
}

fn wake_ups(reports: &Reports<'_>) -> Option<(String, String)> {
    let rows = reports.rows("models", "rows").filter(|row| row["active"] == 1);
    let lines_by_model = by_model(rows, "descriptors", "cpu_us_per_wake_up")?;
    let caption = text!(
        "CPU per wake-up, µs, by the number of descriptors ({active} active): median and range. \
         Both scales are logarithmic.",
        active = 1
    );
    let (across, up) = (text!("descriptors"), text!("CPU µs per wake-up"));
    let svg = lines(&caption, &across, &up, &lines_by_model);
    Some((caption, svg))
}

fn requests(reports: &Reports<'_>) -> Option<(String, String)> {
    let rows = reports.rows("models", "requests").filter(|row| row["active"] == 1);
    let lines_by_model = by_model(rows, "connections", "cpu_us_per_request")?;
    let caption =
        text!("CPU per request, µs, by the number of connections ({active} active).", active = 1);
    let (across, up) = (text!("connections"), text!("CPU µs per request"));
    let svg = lines(&caption, &across, &up, &lines_by_model);
    Some((caption, svg))
}

/// Returns one line per model that was measured with several numbers.
fn by_model<'a>(
    rows: impl Iterator<Item = &'a Value>,
    across: &str,
    up: &str,
) -> Option<Vec<Line>> {
    let rows: Vec<_> = rows.collect();
    let line = |model: &Model| {
        let of_it = rows.iter().filter(|row| row["model"] == model.name());
        let points = of_it.filter_map(|row| Some((row[across].as_f64()?, range(&row[up])?)));
        Line { name: model.name().to_owned(), points: points.collect() }
    };
    let all = Model::ALL.iter().map(line).filter(|line| line.points.len() > 1);
    Some(all.collect::<Vec<_>>()).filter(|all| !all.is_empty())
}

fn copies(reports: &Reports<'_>) -> Option<(String, String)> {
    let parts = [
        ("file_to_user", text!("file to user")),
        ("to_socket", text!("user to socket")),
        ("late", text!("late")),
        ("receiver", text!("by the receiver")),
    ];
    let rows = warm_vias(reports).map(|row| {
        let shares = parts.iter().map(|(field, _)| share_of(&row["copies"][field], row));
        Some((via_of(row)?, shares.collect::<Option<Vec<_>>>()?))
    });
    let rows = rows.collect::<Option<Vec<_>>>().filter(|rows| !rows.is_empty())?;
    let caption = text!("How often the CPU copies each byte, counted. 1 × is the whole file once.");
    let svg = stacked(&caption, &parts.map(|(_, name)| name), &rows);
    Some((caption, svg))
}

fn cpu(reports: &Reports<'_>) -> Option<(String, String)> {
    let rows = warm_vias(reports).map(|row| Some((via_of(row)?, range(&row["cpu_ms_per_gb"])?)));
    let caption = text!("CPU of the sender, ms for 10⁹ bytes: median and range.");
    bar_chart(caption, rows.collect())
}

/// Returns the rows of the vias for the largest cached file over loopback.
fn warm_vias<'a>(reports: &Reports<'a>) -> impl Iterator<Item = &'a Value> {
    let rows: Vec<_> = reports.rows("vias", "rows").collect();
    let wanted = rows.clone();
    rows.into_iter().filter(move |row| is_largest_on_loopback(row, "warm", &wanted))
}

fn via_of(row: &Value) -> Option<String> {
    row["via"].as_str().map(str::to_owned)
}

/// Draws the rate of the fast clients beside slow and blocking ones.
fn rates(reports: &Reports<'_>) -> Option<(String, String)> {
    let rows = reports.rows("topologies", "rows");
    let rows = rows.filter(|row| row["clients"]["blocking"].as_u64().is_some_and(|some| some > 0));
    let rows = rows.map(|row| {
        let name = |field: &str| row[field].as_str();
        let layout = format!("{} × {}", name("model")?, name("topology")?);
        Some((layout, range(&row["fast_per_second"])?))
    });
    let caption = text!("Fast requests per second: median and range.");
    bar_chart(caption, rows.collect())
}

fn bar_chart(
    caption: String,
    rows: Option<Vec<(String, MedianRange)>>,
) -> Option<(String, String)> {
    let svg = bars(&caption, &rows.filter(|rows| !rows.is_empty())?);
    Some((caption, svg))
}
