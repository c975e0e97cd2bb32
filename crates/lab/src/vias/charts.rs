//! Charts of the vias: copies and CPU time for the largest size, and all tables.

use super::tables::{caption, share};
use super::{ViaRow, Vias};
use crate::chart::{bars, stacked};
use crate::language::{msg, text, tr};
use crate::report::{Part, Section, skipped_lines};

/// Copies of a transfer in chronological order.
const COPIES: [&str; 4] =
    [msg!("file to user"), msg!("user to socket"), msg!("late"), msg!("by the receiver")];

pub(super) fn section(vias: &Vias) -> Section {
    let mut parts =
        vec![Part::Paragraph(vias.tiers.to_string()), Part::Command("karez lab vias".to_owned())];
    let largest = vias.rows.iter().map(|row| row.bytes).max();
    for rows in vias.groups().filter(|rows| rows.first().map(|row| row.bytes) == largest) {
        parts.push(Part::Heading(anchor(rows), caption(rows)));
        if vias.are_copies_known(rows) {
            parts.push(copies(rows));
        }
        if rows.iter().any(|row| !row.timed.is_empty()) {
            parts.push(cpu(rows));
        }
        parts.push(Part::Table(text!("Counted and timed"), vias.table_of(rows)));
    }
    let other_sizes: Vec<_> =
        vias.groups().filter(|rows| rows.first().map(|row| row.bytes) != largest).collect();
    if !other_sizes.is_empty() {
        parts.push(Part::Heading("vias-other-sizes".to_owned(), text!("Other sizes")));
    }
    for rows in other_sizes {
        parts.push(Part::Table(caption(rows), vias.table_of(rows)));
    }
    let mut notes = vias.notes();
    notes.extend(skipped_lines(&vias.skipped));
    parts.push(Part::Notes(notes));
    let title = text!("Vias: transfer methods from a file to a socket");
    Section { anchor: "vias".to_owned(), title, parts }
}

/// Returns the link target of a group.
fn anchor(rows: &[ViaRow]) -> String {
    let first = rows.first();
    first.map_or_else(String::new, |row| format!("vias-{}-{}", row.transport, row.cache))
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
    let caption = if inferred {
        text!(
            "How often the CPU copies each byte, inferred from the effective via. 1 × is the whole \
             file once."
        )
    } else {
        text!("How often the CPU copies each byte, counted. 1 × is the whole file once.")
    };
    let svg = stacked(&caption, &COPIES.map(tr), &bars_by_via);
    Part::Figure(caption, svg)
}

fn cpu(rows: &[ViaRow]) -> Part {
    let bars_by_via: Vec<_> = rows.iter().map(|row| (row.via.to_string(), row.cpu())).collect();
    let caption = text!("CPU of the sender, ms for 10⁹ bytes: median and range.");
    let svg = bars(&caption, &bars_by_via);
    Part::Figure(caption, svg)
}
