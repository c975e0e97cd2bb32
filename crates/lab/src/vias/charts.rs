//! Charts of the vias: copies and CPU time for the largest size, and all tables.

use super::tables::{caption, share};
use super::{ViaRow, Vias};
use crate::chart::{bars, stacked};
use crate::report::{Part, Section, skipped_lines};

/// Copies of a transfer in chronological order.
const COPIES: [&str; 4] = ["file to user", "user to socket", "late", "by the receiver"];

pub(super) fn section(vias: &Vias) -> Section {
    let mut parts = vec![Part::Paragraph(vias.tiers.to_string())];
    let largest = vias.rows.iter().map(|row| row.bytes).max();
    for rows in vias.groups().filter(|rows| rows.first().map(|row| row.bytes) == largest) {
        parts.push(Part::Heading(caption(rows)));
        if vias.are_copies_known(rows) {
            parts.push(copies(rows));
        }
        if rows.iter().any(|row| !row.timed.is_empty()) {
            parts.push(cpu(rows));
        }
        parts.push(Part::Table("Counted and timed".to_owned(), vias.table_of(rows)));
    }
    let other_sizes: Vec<_> =
        vias.groups().filter(|rows| rows.first().map(|row| row.bytes) != largest).collect();
    if !other_sizes.is_empty() {
        parts.push(Part::Heading("Other sizes".to_owned()));
    }
    for rows in other_sizes {
        parts.push(Part::Table(caption(rows), vias.table_of(rows)));
    }
    let mut notes = vias.notes();
    notes.extend(skipped_lines(&vias.skipped));
    parts.push(Part::Notes(notes));
    let title = "Vias: transfer methods from a file to a socket".to_owned();
    Section { anchor: "vias".to_owned(), title, parts }
}

fn copies(rows: &[ViaRow]) -> Part {
    let bars_by_via: Vec<_> = rows
        .iter()
        .map(|row| {
            let copies = row.copies;
            let each = [copies.file_to_user, copies.to_socket, copies.late, copies.received];
            (row.via.to_string(), each.map(|bytes| share(bytes, row.bytes)).to_vec())
        })
        .collect();
    let inferred = rows.iter().any(|row| row.copies.inferred);
    let how = if inferred { "inferred from the effective via" } else { "counted" };
    let caption = format!("How often the CPU copies each byte, {how}. 1 × is the whole file once.");
    let svg = stacked(&caption, &COPIES, &bars_by_via);
    Part::Figure(caption, svg)
}

fn cpu(rows: &[ViaRow]) -> Part {
    let bars_by_via: Vec<_> = rows.iter().map(|row| (row.via.to_string(), row.cpu())).collect();
    let caption = "CPU of the sender, ms for 10⁹ bytes: median and range.".to_owned();
    let svg = bars(&caption, &bars_by_via);
    Part::Figure(caption, svg)
}
