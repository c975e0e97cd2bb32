//! A report as a self-contained HTML page: tables, drawings and the machine, for any screen width
//! and dark mode, without scripts, fonts or images.
//!
//! # Limitations
//! It is for reading only; the JSON is for processing.

mod hints;
mod style;

use serde_json::Value;
use std::fmt::Write as _;

use crate::escape::escape;
use crate::language::{Language, msg, text, tr};
use crate::machine::machine;
use crate::report::{Part, ReportEntry, Section};
use crate::table::Table;
use hints::how_counted;
use style::STYLE;

/// Labels of the fields of the machine description.
const MACHINE: [(&str, &str); 13] = [
    ("karez", msg!("karez")),
    ("kernel", msg!("kernel")),
    ("architecture", msg!("architecture")),
    ("processor", msg!("processor")),
    ("flags", msg!("of its flags")),
    ("mitigations", msg!("mitigations")),
    ("cores", msg!("cores")),
    ("page_size", msg!("page size, bytes")),
    ("pipe_size", msg!("pipe size, bytes")),
    ("tcp_wmem", msg!("tcp_wmem")),
    ("tcp_rmem", msg!("tcp_rmem")),
    ("tcp_congestion_control", msg!("TCP congestion control")),
    ("optimised", msg!("built with optimisation")),
];

/// Renders a page with these sections.
#[must_use]
pub fn html_page(sections: &[Section]) -> String {
    let machine = machine();
    let kernel = machine["kernel"].as_str().unwrap_or("Linux");
    let title = match sections {
        [one] => text!("{title}, Linux {kernel}", title = one.title, kernel = kernel),
        _ => text!("The cost of Linux I/O, Linux {kernel}", kernel = kernel),
    };
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n\
         <p>{notice}</p>\n",
        language = Language::current().tag(),
        title = escape(&title),
        notice =
            escape(&text!("Measured by karez on one machine; other machines have other figures."))
    );
    if sections.len() > 1 {
        contents(&mut html, sections);
    }
    html += "</header>\n<main>\n";
    for section in sections {
        write_section(&mut html, section, sections.len() > 1);
    }
    let heading = escape(&text!("The machine"));
    let _ = write!(html, "</main>\n<footer>\n<h2>{heading}</h2>\n");
    write_machine(&mut html, &machine);
    html += "</footer>\n</body>\n</html>\n";
    html
}

fn contents(html: &mut String, sections: &[Section]) {
    *html += "<nav>\n<ul>\n";
    for section in sections {
        let title = escape(&section.title);
        let _ = writeln!(html, "<li><a href=\"#{}\">{title}</a></li>", section.anchor);
    }
    *html += "</ul>\n</nav>\n";
}

/// Writes a section. A single section has its title in the page header.
fn write_section(html: &mut String, section: &Section, with_title: bool) {
    let _ = writeln!(html, "<section id=\"{}\">", section.anchor);
    if with_title {
        let title = escape(&section.title);
        let _ = writeln!(html, "<h2>{title}{}</h2>", link_to(&section.anchor));
    }
    for part in &section.parts {
        write_part(html, part);
    }
    *html += "</section>\n";
}

/// Returns a link of an element to itself, for copying.
fn link_to(anchor: &str) -> String {
    format!(" <a class=\"anchor\" href=\"#{anchor}\" aria-label=\"#\">#</a>")
}

fn write_part(html: &mut String, part: &Part) {
    let _ = match part {
        Part::Paragraph(words) => {
            let lines: Vec<_> = words.lines().map(escape).collect();
            writeln!(html, "<p>{}</p>", lines.join("<br>"))
        }
        Part::Heading(anchor, words) => {
            writeln!(html, "<h3 id=\"{anchor}\">{}{}</h3>", escape(words), link_to(anchor))
        }
        Part::Command(command) => writeln!(
            html,
            "<p class=\"command\">{} <code>{}</code></p>",
            escape(&text!("Repeat it:")),
            escape(command)
        ),
        Part::Folded(summary, parts) => {
            let _ = writeln!(html, "<details>\n<summary>{}</summary>", escape(summary));
            parts.iter().for_each(|part| write_part(html, part));
            writeln!(html, "</details>")
        }
        Part::Preformatted(text) => writeln!(html, "<pre>{}</pre>", escape(text)),
        Part::Figure(caption, svg) => {
            let caption = escape(caption);
            writeln!(html, "<figure>\n<figcaption>{caption}</figcaption>\n{svg}\n</figure>")
        }
        Part::Notes(notes) => {
            let notes: Vec<_> =
                notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
            writeln!(html, "<ul class=\"notes\">\n{}</ul>", notes.concat())
        }
        Part::Table(caption, table) => {
            write_table(html, caption, table);
            Ok(())
        }
        Part::Entries(entries) => {
            write_entries(html, entries);
            Ok(())
        }
    };
}

/// Writes a table. A table wider than the screen scrolls under its first column.
fn write_table(html: &mut String, caption: &str, table: &Table) {
    *html += "<div class=\"wide\">\n<table>\n";
    if !caption.is_empty() {
        let _ = writeln!(html, "<caption>{}</caption>", escape(caption));
    }
    let hints: Vec<_> = table.heading.iter().map(|name| hint(name)).collect();
    *html += "<thead><tr>";
    for (name, hint) in table.heading.iter().zip(&hints) {
        let _ = write!(html, "<th scope=\"col\"{hint}>{}</th>", escape(&tr(name)));
    }
    *html += "</tr></thead>\n<tbody>\n";
    for (number, row) in table.rows.iter().enumerate() {
        *html += "<tr>";
        for (place, cell) in row.iter().enumerate() {
            let hint = hints.get(place).map_or("", String::as_str);
            let is_figure =
                cell.starts_with(|first: char| first.is_ascii_digit() || "~>n-–".contains(first));
            let link =
                table.links.iter().find(|(row, column, _)| (*row, *column) == (number, place));
            let cell = match link {
                Some((.., anchor)) => format!("<a href=\"#{anchor}\">{}</a>", escape(cell)),
                None => escape(cell),
            };
            let _ = if place == 0 {
                write!(html, "<th scope=\"row\">{cell}</th>")
            } else if is_figure {
                write!(html, "<td class=\"figure\"{hint}>{cell}</td>")
            } else {
                write!(html, "<td{hint}>{cell}</td>")
            };
        }
        *html += "</tr>\n";
    }
    *html += "</tbody>\n</table>\n</div>\n";
}

/// Returns the tooltip of a column: how its figures were counted.
fn hint(heading: &str) -> String {
    let how = how_counted(heading).map(|how| format!(" title=\"{}\"", escape(&tr(how))));
    how.unwrap_or_default()
}

/// Writes results with a filter by verdict, which needs no script.
fn write_entries(html: &mut String, entries: &[ReportEntry]) {
    let mut badges: Vec<_> = entries.iter().map(|entry| entry.badge).collect();
    badges.sort_unstable();
    badges.dedup();
    *html += "<div class=\"filter\">\n";
    let all = (text!("all"), "all".to_owned(), entries.len());
    let each = badges.iter().map(|badge| {
        let count = entries.iter().filter(|entry| entry.badge == *badge).count();
        (tr(badge), badge.replace(' ', "-"), count)
    });
    for (name, value, count) in std::iter::once(all).chain(each) {
        let checked = if value == "all" { " checked" } else { "" };
        let _ = writeln!(
            html,
            "<input type=\"radio\" name=\"verdict\" id=\"verdict-{value}\" value=\"{value}\"{checked}>\
             <label for=\"verdict-{value}\">{} {count}</label>",
            escape(&name)
        );
    }
    *html += "<div class=\"entries\">\n";
    entries.iter().for_each(|entry| write_entry(html, entry));
    *html += "</div>\n</div>\n";
}

fn write_entry(html: &mut String, entry: &ReportEntry) {
    let ReportEntry { anchor, title, badge, details, lines } = entry;
    let _ = writeln!(
        html,
        "<article id=\"{anchor}\" class=\"{class}\">\n<h3>{}{}</h3>\n<p class=\"badge {class}\">{}</p>",
        escape(title),
        link_to(anchor),
        escape(&tr(badge)),
        class = badge.replace(' ', "-"),
    );
    if let Some(details) = details {
        let _ = writeln!(html, "<p class=\"details\">{}</p>", escape(details));
    }
    *html += "<dl>\n";
    for (name, text) in lines {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(&tr(name)), escape(text));
    }
    *html += "</dl>\n</article>\n";
}

fn write_machine(html: &mut String, machine: &Value) {
    *html += "<dl class=\"machine\">\n";
    for (field, name) in MACHINE {
        let value = &machine[field];
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Array(words) => {
                words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            }
            Value::Object(each) => {
                let each: Vec<_> = each
                    .iter()
                    .map(|(name, state)| format!("{name}: {}", state.as_str().unwrap_or_default()))
                    .collect();
                each.join("; ")
            }
            other => other.to_string(),
        };
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(&tr(name)), escape(&text));
    }
    *html += "</dl>\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let evil = "<script>alert('&')</script>";
        let table =
            Table { heading: vec!["a"], rows: vec![vec![evil.to_owned()]], ..Table::default() };
        let entry = ReportEntry {
            anchor: "claim-x".to_owned(),
            title: evil.to_owned(),
            badge: "refuted",
            details: Some(evil.to_owned()),
            lines: vec![("because", evil.to_owned())],
        };
        let parts = vec![
            Part::Paragraph(evil.to_owned()),
            Part::Heading("h".to_owned(), evil.to_owned()),
            Part::Command(evil.to_owned()),
            Part::Folded(evil.to_owned(), Vec::new()),
            Part::Table(evil.to_owned(), table),
            Part::Figure(evil.to_owned(), "<svg></svg>".to_owned()),
            Part::Preformatted(evil.to_owned()),
            Part::Notes(vec![evil.to_owned()]),
            Part::Entries(vec![entry]),
        ];
        let html = html_page(&[Section { anchor: "x".to_owned(), title: evil.to_owned(), parts }]);
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("&lt;script&gt;").count(), 14, "{html}");
    }

    #[test]
    fn page_has_no_external_resources() {
        let section = |anchor: &str| {
            let title = anchor.to_owned();
            Section { anchor: anchor.to_owned(), title, parts: Vec::new() }
        };
        let html = html_page(&[section("one"), section("two")]);
        assert!(html.contains("<a href=\"#one\">") && html.contains("<section id=\"two\">"));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
