//! The live page and its events.

use std::io::BufRead as _;

use super::{get, root, start};
use crate::client::Client;
use crate::layouts;

/// Reads the data of the next event.
fn next_event(client: &mut Client) -> serde_json::Value {
    loop {
        let mut line = String::new();
        assert!(client.stream.read_line(&mut line).unwrap() > 0, "the events have ended");
        // Lines between are sizes of chunks.
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

#[test]
fn the_page_is_complete_without_scripts() {
    let root = root();
    let (_server, address) = start(layouts::sample().next().unwrap(), &root);
    let page = get(address, "/");
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains(r#"<b id="requests">0</b>"#), "{text}");
}

#[test]
fn events_follow_the_requests() {
    let root = root();
    for layout in layouts::sample().take(2) {
        let (server, address) = start(layout, &root);
        let mut events = Client::connect(address);
        let head = events.start_get("/events");
        assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
        assert_eq!(next_event(&mut events)["text"]["total-requests"], "0");
        let mut client = server.connect();
        for _ in 0..20 {
            assert_eq!(client.get("/small?query").status, 200);
        }
        let state = loop {
            let state = next_event(&mut events);
            let text = &state["text"];
            if text["total-requests"] == "20" && text["in-flight"] == "0" {
                break state;
            }
        };
        assert_eq!(state["text"]["open"], "1", "{layout}");
        assert_eq!(state["text"]["idle"], "1", "{layout}");
        assert_eq!(state["text"]["total-bytes"], "200 B", "{layout}");
        assert_eq!(state["rows"]["files"][0][0], "/small", "{layout}: {state}");
        assert_eq!(state["rows"]["classes"][0][0], "2xx", "{layout}: {state}");
        // The page of now has the same.
        let page = String::from_utf8(get(address, "/").body).unwrap();
        assert!(page.contains(r#"<dd id="total-requests">20</dd>"#), "{layout}: {page}");
        assert!(page.contains("<tr><td>/small</td>"), "{layout}: {page}");
    }
}
