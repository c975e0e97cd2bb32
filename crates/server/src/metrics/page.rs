//! The live page: HTML with the state of now in it, which a script replaces each second and a browser without scripts
//! loads again.

use serde_json::Value;

/// The page, with `{{NAME}}` where the state belongs.
const TEMPLATE: &str = include_str!("page.html");

/// Renders the page.
pub(super) fn render(state: &Value) -> String {
    let mut page = String::with_capacity(2 * TEMPLATE.len());
    let mut rest = TEMPLATE;
    while let Some((before, behind)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = behind.split_once("}}") else { break };
        match state["rows"][name].as_array() {
            Some(rows) => rows.iter().for_each(|row| push_row(&mut page, row)),
            None if name == "curve" => push_escaped(&mut page, &state["curve"]),
            None => push_escaped(&mut page, &state["text"][name]),
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

fn push_row(page: &mut String, row: &Value) {
    page.push_str("<tr>");
    for cell in row.as_array().into_iter().flatten() {
        page.push_str("<td>");
        push_escaped(page, cell);
        page.push_str("</td>");
    }
    page.push_str("</tr>");
}

fn push_escaped(page: &mut String, value: &Value) {
    for character in value.as_str().unwrap_or_default().chars() {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            other => page.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::metrics::rates::Rates;
    use std::time::Instant;

    #[test]
    fn every_place_of_the_page_is_filled_and_none_is_missing() {
        let mut state = Rates::new(Metrics::new()).tick(Instant::now());
        let page = render(&state);
        assert!(!page.contains("{{") && !page.contains("}}"));
        let texts = state["text"].as_object().unwrap();
        assert!(!texts.is_empty());
        for (name, value) in texts {
            assert!(TEMPLATE.contains(&format!("{{{{{name}}}}}")), "{name} has no place");
            assert!(page.contains(value.as_str().unwrap()), "{name}");
        }
        for name in state["rows"].as_object().unwrap().keys() {
            assert!(TEMPLATE.contains(&format!("{{{{{name}}}}}")), "{name} has no place");
        }
        let places = TEMPLATE.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap());
        for place in places {
            let known = place == "curve"
                || state["text"].get(place).is_some()
                || state["rows"].get(place).is_some();
            assert!(known, "{place} has no value");
        }
        state["rows"]["files"] = serde_json::json!([["/<script>\"&", "1 %"]]);
        assert!(
            render(&state).contains("<tr><td>/&lt;script&gt;&quot;&amp;</td><td>1 %</td></tr>")
        );
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for word in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!TEMPLATE.contains(word), "{word}");
        }
        assert!(TEMPLATE.contains("prefers-color-scheme: dark"));
    }
}
