//! Compares a response with the history of the requested file.

use std::time::Instant;

use crate::ask::{Ask, Condition, Target};
use crate::content::{Content, joins};
use crate::directories;
use crate::response::Response;
use crate::run::{Phase, Run};
use crate::socket::End;
use crate::tree::{Kind, Node, State};

/// The largest file that is sent from a buffer, not by reference.
const COPIED: u64 = 16 << 10;

/// How a response has arrived.
#[derive(Clone, Copy)]
pub struct Route {
    pub name: &'static str,
    /// The body may be sent by reference to pages of the file.
    pub by_reference: bool,
}

impl Run {
    /// Checks a complete response.
    pub fn take(&self, ask: &Ask, route: Route, response: &Response) {
        self.count(route.name);
        let verdict = if response.head.status == 503 {
            match self.excuse(Some(ask), ask.sent, Instant::now()) {
                Some(excuse) => return self.count(excuse),
                None => Err("status 503".to_owned()),
            }
        } else {
            match ask.target {
                Target::File(number) => {
                    self.check_file(&self.tree.nodes[number], ask, route, response, true)
                }
                Target::Listing(number) => {
                    directories::check_listing(&self.tree, number, ask, response)
                }
                Target::Archive(number) => {
                    directories::check_archive(&self.tree, number, ask, response)
                }
                Target::Missing => match response.head.status {
                    404 => Ok(()),
                    status => Err(format!("status {status}")),
                },
            }
        };
        match verdict {
            Ok(()) => self.served(),
            Err(error) => self.report(ask, route, &error),
        }
    }

    /// Checks a response that was not complete when its connection or stream ended. `since` is the last moment at which
    /// the connection was known to work.
    pub fn take_cut(
        &self,
        ask: &Ask,
        route: Route,
        response: Option<&Response>,
        end: &str,
        since: Instant,
    ) {
        if let Some(response) = response {
            self.take_part(ask, route, response);
        }
        match self.excuse(Some(ask), since, Instant::now()) {
            Some(excuse) => self.count(excuse),
            None => {
                let got = response.map_or("no head".to_owned(), |response| {
                    let Response { head, body, .. } = response;
                    format!(
                        "status {} {:?}, {} bytes of the body",
                        head.status,
                        head.fields,
                        body.len()
                    )
                });
                let waited = ask.sent.elapsed().as_secs_f64();
                self.report(
                    ask,
                    route,
                    &format!(
                        "the end was not announced: {end} {waited:.3} s after the request; {got}"
                    ),
                );
            }
        }
    }

    /// Checks the part of a file that arrived before the client gave up.
    pub fn take_part(&self, ask: &Ask, route: Route, response: &Response) {
        if let (Target::File(number), 200 | 206) = (ask.target, response.head.status)
            && let Err(error) =
                self.check_file(&self.tree.nodes[number], ask, route, response, false)
        {
            self.report(ask, route, &format!("in the part that arrived: {error}"));
        }
    }

    /// Checks the end of a connection without a request.
    pub fn take_end(&self, route: Route, end: &End, since: Instant, expected: bool) {
        match end {
            End::Closed if expected => {}
            end => match self.excuse(None, since, Instant::now()) {
                Some(excuse) => self.count(excuse),
                None => self.fail(format!("{}: the connection ended: {end}", route.name)),
            },
        }
    }

    fn report(&self, ask: &Ask, route: Route, error: &str) {
        let path = ask.path(&self.tree);
        let (range, condition) = (ask.range, &ask.condition);
        self.fail(format!(
            "{}: {} {path} {range:?} {condition:?}: {error}",
            route.name,
            ask.method()
        ));
    }

    /// Returns the fault that permits a failure between these times.
    pub fn excuse(&self, ask: Option<&Ask>, from: Instant, to: Instant) -> Option<&'static str> {
        if self.meets(Phase::Descriptors, from, to) {
            return Some("failed for want of descriptors");
        }
        let ask = ask?;
        let tree = &self.tree;
        let hangs = |kind| kind == Kind::Hanging && self.meets(Phase::Hang, ask.sent, to);
        match ask.target {
            Target::File(number) => {
                let node = &tree.nodes[number];
                if hangs(node.kind) {
                    return Some("failed on the file system that hangs");
                }
                node.is_written(ask.sent, to).then_some("reset because the file was written")
            }
            Target::Archive(number) | Target::Listing(number) => {
                if tree.files(number).any(|node| hangs(node.kind)) {
                    return Some("failed on the file system that hangs");
                }
                let is_archive = matches!(ask.target, Target::Archive(_));
                let changed =
                    is_archive && tree.files(number).any(|node| node.changes(ask.sent, to));
                changed.then_some("reset because the archive changed")
            }
            Target::Missing => None,
        }
    }

    fn check_file(
        &self,
        node: &Node,
        ask: &Ask,
        route: Route,
        response: &Response,
        is_complete: bool,
    ) -> Result<(), String> {
        let states = node.between(ask.sent, response.headed);
        let status = response.head.status;
        match status {
            404 if states.contains(&State::Absent) => return Ok(()),
            403 if states.contains(&State::Unreadable) => return Ok(()),
            _ => {}
        }
        for state in &states {
            if let State::File(content) = state
                && fits(ask, *content, response, is_complete)
            {
                // Otherwise another content may have the same bytes, or will have the same time.
                let is_certain = is_complete && response.body.len() >= 8;
                let is_stable = !node.is_written(ask.sent, response.headed);
                return if is_certain && is_stable {
                    note_tag(node, *content, response)
                } else {
                    Ok(())
                };
            }
        }
        // A response that was aborted may join contents.
        let now = Instant::now();
        let contents = node.contents_between(ask.sent, now);
        if !is_complete
            && node.is_written(ask.sent, now)
            && joins(&contents, true, response.head.offset(), &response.body)
        {
            return Ok(());
        }
        self.check_window(node, ask, route, response).then_some(()).ok_or_else(|| {
            let body = &response.body;
            let first = body[..body.len().min(16)].escape_ascii();
            let all = joins(
                &node.contents_between(ask.sent, Instant::now()),
                true,
                response.head.offset(),
                body,
            );
            format!(
                "status {status} {:?}, {} bytes from {first}{}, where it may have {states:?}",
                response.head.fields,
                body.len(),
                if all { " that join contents" } else { "" },
            )
        })
    }

    /// Returns whether a response is one of those that may join two contents (docs/RELIABILITY.md, "Torn files"), and
    /// counts it.
    fn check_window(&self, node: &Node, ask: &Ask, route: Route, response: &Response) -> bool {
        let now = Instant::now();
        let body = &response.body;
        let window = if node.is_written(ask.sent, response.headed) {
            "joined contents: a write was copying when the head was made"
        } else if route.by_reference
            && body.len() as u64 > COPIED
            && node.is_written(response.headed, now)
        {
            "joined contents: pages of the socket buffers were written"
        } else {
            return false;
        };
        let contents = node.contents_between(ask.sent, now);
        let joins = joins(&contents, node.kind == Kind::Cut, response.head.offset(), body);
        let joins = joins && matches!(response.head.status, 200 | 206 | 416);
        if joins {
            self.count(window);
        }
        joins
    }
}

/// Returns whether a response is the one to this request for a file with this content.
fn fits(ask: &Ask, content: Content, response: &Response, is_complete: bool) -> bool {
    let head = &response.head;
    let has = |(offset, length): (u64, u64)| {
        let came = response.body.len() as u64;
        let right = if ask.is_head {
            came == 0
        } else if is_complete {
            came == length
        } else {
            came <= length
        };
        right && head.length() == Some(length) && content.holds(offset, &response.body)
    };
    let (if_range, none_match) = match &ask.condition {
        Some(Condition::Range(_, known)) => (Some(*known), None),
        Some(Condition::NoneMatch(_, known)) => (None, Some(*known)),
        None => (None, None),
    };
    match head.status {
        200 => {
            (ask.range.is_none() || if_range.is_some() || content.length == 0)
                && has((0, content.length))
        }
        206 => {
            let part = ask.range.and_then(|range| range.within(content.length));
            part.is_some_and(|(offset, length)| {
                let last = offset + length - 1;
                let range = format!("bytes {offset}-{last}/{}", content.length);
                head.field("content-range") == Some(&*range)
                    && if_range.is_none_or(|known| known == content)
                    && has((offset, length))
            })
        }
        304 => none_match == Some(content) && response.body.is_empty(),
        416 => ask.range.is_some_and(|range| range.within(content.length).is_none()),
        _ => false,
    }
}

/// Checks that a strong tag belongs to one content.
fn note_tag(node: &Node, content: Content, response: &Response) -> Result<(), String> {
    let Some(tag) = response.head.field("etag").filter(|tag| tag.starts_with('"')) else {
        return Ok(());
    };
    match node.note_tag(tag, content) {
        Some(other) => Err(format!("{tag} is the tag of {content:?} and of {other:?}")),
        None => Ok(()),
    }
}
