//! A report as a self-contained HTML page: tables, drawings and the machine, for any screen width
//! and dark mode, without scripts, fonts or images.
//!
//! # Limitations
//! It is for reading only; the JSON is for processing.

mod style;

use serde_json::Value;
use std::fmt::Write as _;

use crate::machine::machine;
use crate::report::{Part, ReportEntry, Section};
use crate::table::Table;
use style::STYLE;

/// Labels of the fields of the machine description.
const MACHINE: [(&str, &str); 13] = [
    ("karez", "karez"),
    ("kernel", "kernel"),
    ("architecture", "architecture"),
    ("processor", "processor"),
    ("flags", "of its flags"),
    ("mitigations", "mitigations"),
    ("cores", "cores"),
    ("page_size", "page size, bytes"),
    ("pipe_size", "pipe size, bytes"),
    ("tcp_wmem", "tcp_wmem"),
    ("tcp_rmem", "tcp_rmem"),
    ("tcp_congestion_control", "TCP congestion control"),
    ("optimised", "built with optimisation"),
];

/// Renders a page with these sections.
#[must_use]
pub fn html_page(sections: &[Section]) -> String {
    let machine = machine();
    let kernel = machine["kernel"].as_str().unwrap_or("Linux");
    let title = match sections {
        [one] => format!("{}, Linux {kernel}", one.title),
        _ => format!("The cost of Linux I/O, Linux {kernel}"),
    };
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n\
         <p>Measured by karez on one machine; other machines have other figures.</p>\n",
        title = escape(&title)
    );
    if sections.len() > 1 {
        contents(&mut html, sections);
    }
    html += "</header>\n<main>\n";
    for section in sections {
        write_section(&mut html, section, sections.len() > 1);
    }
    html += "</main>\n<footer>\n<h2>The machine</h2>\n";
    write_machine(&mut html, &machine);
    html += "</footer>\n</body>\n</html>\n";
    html
}

/// Escapes text for HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(character),
            // XML 1.0 allows no other control characters, not even escaped.
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
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
        let _ = writeln!(html, "<h2>{}</h2>", escape(&section.title));
    }
    for part in &section.parts {
        write_part(html, part);
    }
    *html += "</section>\n";
}

fn write_part(html: &mut String, part: &Part) {
    let _ = match part {
        Part::Paragraph(words) => {
            let lines: Vec<_> = words.lines().map(escape).collect();
            writeln!(html, "<p>{}</p>", lines.join("<br>"))
        }
        Part::Heading(words) => writeln!(html, "<h3>{}</h3>", escape(words)),
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
            entries.iter().for_each(|entry| write_entry(html, entry));
            Ok(())
        }
    };
}

/// Writes a table. A table wider than the screen scrolls under its first column.
fn write_table(html: &mut String, caption: &str, table: &Table) {
    let _ = writeln!(html, "<div class=\"wide\">\n<table>\n<caption>{}</caption>", escape(caption));
    let heading: Vec<_> = table
        .heading
        .iter()
        .map(|cell| format!("<th scope=\"col\">{}</th>", escape(cell)))
        .collect();
    let _ = writeln!(html, "<thead><tr>{}</tr></thead>\n<tbody>", heading.concat());
    for row in &table.rows {
        *html += "<tr>";
        for (place, cell) in row.iter().enumerate() {
            let cell = escape(cell);
            let _ = if place == 0 {
                write!(html, "<th scope=\"row\">{cell}</th>")
            } else if cell
                .starts_with(|first: char| first.is_ascii_digit() || "~&n-".contains(first))
            {
                write!(html, "<td class=\"figure\">{cell}</td>")
            } else {
                write!(html, "<td>{cell}</td>")
            };
        }
        *html += "</tr>\n";
    }
    *html += "</tbody>\n</table>\n</div>\n";
}

fn write_entry(html: &mut String, entry: &ReportEntry) {
    let ReportEntry { title, badge, details, lines } = entry;
    let _ = writeln!(
        html,
        "<article>\n<h3>{}</h3>\n<p class=\"badge {}\">{}</p>",
        escape(title),
        badge.replace(' ', "-"),
        escape(badge),
    );
    if let Some(details) = details {
        let _ = writeln!(html, "<p class=\"details\">{}</p>", escape(details));
    }
    *html += "<dl>\n";
    for (name, text) in lines {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(text));
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
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&text));
    }
    *html += "</dl>\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let evil = "<script>alert('&')</script>";
        let table = Table { heading: vec!["a"], rows: vec![vec![evil.to_owned()]] };
        let entry = ReportEntry {
            title: evil.to_owned(),
            badge: "refuted",
            details: Some(evil.to_owned()),
            lines: vec![("because", evil.to_owned())],
        };
        let parts = vec![
            Part::Paragraph(evil.to_owned()),
            Part::Heading(evil.to_owned()),
            Part::Table(evil.to_owned(), table),
            Part::Figure(evil.to_owned(), "<svg></svg>".to_owned()),
            Part::Preformatted(evil.to_owned()),
            Part::Notes(vec![evil.to_owned()]),
            Part::Entries(vec![entry]),
        ];
        let html = html_page(&[Section { anchor: "x".to_owned(), title: evil.to_owned(), parts }]);
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("&lt;script&gt;").count(), 12, "{html}");
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
