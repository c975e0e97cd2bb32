//! Compares listings and archives with the history of the files in a directory.

use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

use crate::ask::Ask;
use crate::response::Response;
use crate::tree::{Kind, Node, State, Tree};

/// Expects 200, or 404 for a directory that may have been away.
fn is_there(tree: &Tree, number: usize, ask: &Ask, response: &Response) -> Result<bool, String> {
    let is_away = |node: &Node| node.between(ask.sent, response.headed).contains(&State::Absent);
    let may_be_away = tree.files(number).all(|node| node.kind == Kind::Moved && is_away(node));
    match response.head.status {
        200 => Ok(true),
        404 if may_be_away => Ok(false),
        status => Err(format!("status {status}")),
    }
}

/// Checks that a file is there if it has to be, and not if it cannot be.
fn check_presence(
    node: &Node,
    states: &[State],
    is_there: bool,
    may_miss: bool,
) -> Result<(), String> {
    let can_be = states.iter().any(|state| *state != State::Absent);
    let can_miss = states.contains(&State::Absent) || may_miss;
    match is_there {
        true if !can_be => Err(format!("{} is there, but does not exist", node.name)),
        false if !can_miss => Err(format!("{} is missing", node.name)),
        _ => Ok(()),
    }
}

pub fn check_listing(
    tree: &Tree,
    number: usize,
    ask: &Ask,
    response: &Response,
) -> Result<(), String> {
    if !is_there(tree, number, ask, response)? {
        return Ok(());
    }
    let now = Instant::now();
    let page: Vec<Value> = serde_json::from_slice(&response.body)
        .map_err(|error| format!("{error}: {}", response.body.escape_ascii()))?;
    let mut sizes: BTreeMap<&str, Option<u64>> = BTreeMap::new();
    for entry in &page {
        let name = entry["name"].as_str().ok_or("an entry without a name")?;
        if sizes.insert(name, entry["size"].as_u64()).is_some() {
            return Err(format!("{name} is listed twice"));
        }
    }
    for node in tree.files(number) {
        let states = node.between(ask.sent, now);
        let size = sizes.remove(&*node.name);
        check_presence(node, &states, size.is_some(), false)?;
        let fits = |state: &State| match state {
            State::File(content) => size == Some(Some(content.length)),
            State::Unreadable => true,
            State::Absent => false,
        };
        // A write that makes a file longer sets the length page by page.
        let may_differ = size.is_none() || node.is_written(ask.sent, now);
        if !may_differ && !states.iter().any(fits) {
            return Err(format!("{} has {size:?} bytes, not one of {states:?}", node.name));
        }
    }
    sizes.is_empty().then_some(()).ok_or_else(|| format!("unknown names: {sizes:?}"))
}

pub fn check_archive(
    tree: &Tree,
    number: usize,
    ask: &Ask,
    response: &Response,
) -> Result<(), String> {
    if !is_there(tree, number, ask, response)? {
        return Ok(());
    }
    let now = Instant::now();
    if response.head.length() != Some(response.body.len() as u64) {
        return Err("another length".to_owned());
    }
    let mut members = members(&response.body)?;
    for node in tree.files(number) {
        let states = node.between(ask.sent, now);
        let body = members.remove(&*node.name);
        check_presence(node, &states, body.is_some(), states.contains(&State::Unreadable))?;
        let Some(body) = body else { continue };
        let fits = |state: &State| match state {
            State::File(content) => content.length == body.len() as u64 && content.holds(0, body),
            _ => false,
        };
        if !states.iter().any(fits) && !node.is_written(ask.sent, now) {
            return Err(format!(
                "{} has {} other bytes, not one of {states:?}",
                node.name,
                body.len()
            ));
        }
    }
    members.is_empty().then_some(()).ok_or_else(|| format!("unknown names: {:?}", members.keys()))
}

/// Returns the regular files of a tar archive by their last names.
fn members(mut bytes: &[u8]) -> Result<BTreeMap<String, &[u8]>, String> {
    let mut members = BTreeMap::new();
    loop {
        let (header, rest) = bytes.split_at_checked(512).ok_or("the archive has no end")?;
        if header.iter().all(|byte| *byte == 0) {
            let padded = rest.iter().all(|byte| *byte == 0);
            return padded.then_some(members).ok_or_else(|| "bytes behind the end".to_owned());
        }
        let text = |from: usize, to: usize| {
            let field = header[from..to].split(|byte| *byte == 0).next().unwrap_or(&[]);
            String::from_utf8_lossy(field).trim().to_owned()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).map_err(|error| error.to_string())?;
        let (body, behind) =
            rest.split_at_checked(size.next_multiple_of(512)).ok_or("a file without its end")?;
        if matches!(header[156], b'0' | 0) {
            let name = text(0, 100);
            let last = name.rsplit('/').next().unwrap_or_default().to_owned();
            if members.insert(last, &body[..size]).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
        bytes = behind;
    }
}
