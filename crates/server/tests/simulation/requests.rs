//! Requests, and the responses that are right for them.

use karez_sys::simulation::{below, chance};

use crate::draws::one_of;
use crate::tree::{FILES, MANY, content};

/// A request, in the terms of both protocols.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    expected: Expected,
}

/// The response without a fault.
#[derive(Clone, Debug)]
struct Expected {
    status: u16,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Exactly(Vec<u8>),
    /// A listing with these names.
    Listing,
    /// A tar archive of the directory.
    Archive,
    /// Any text.
    Any,
}

/// Draws a request.
pub(crate) fn draw() -> Asked {
    let (name, _) = one_of(&FILES);
    let whole = content(name);
    let (mut method, mut fields, mut body) = ("GET", Vec::new(), Vec::new());
    let mut path = format!("/{name}");
    let (mut status, mut expected) = (200, Body::Exactly(whole.clone()));
    match below(16) {
        0 => (method, expected) = ("HEAD", Body::None),
        1 | 2 if !whole.is_empty() => {
            let from = below(whole.len());
            let to = from + below(whole.len() - from);
            fields.push(("range", format!("bytes={from}-{to}")));
            (status, expected) = (206, Body::Exactly(whole[from..=to].to_vec()));
        }
        3 => {
            path = "/missing".to_owned();
            (status, expected) = (404, Body::Any);
        }
        4 => (path, expected) = ("/many/".to_owned(), Body::Listing),
        5 => (path, expected) = ("/index/".to_owned(), Body::Exactly(content("small"))),
        6 => (path, status, expected) = ("/many".to_owned(), 308, Body::Any),
        7 => (path, expected) = ("/archive/?format=tar".to_owned(), Body::Archive),
        8 => {
            (method, status, expected) = ("POST", 405, Body::Any);
            body = vec![b'p'; below(3000)];
        }
        9 => {
            fields.push(("if-none-match", "*".to_owned()));
            (status, expected) = (304, Body::None);
        }
        10 => body = vec![b'b'; below(500)],
        _ => {}
    }
    if chance(10) {
        fields.push(("x-long", "l".repeat(below(3000))));
    }
    Asked { method, path, fields, body, expected: Expected { status, body: expected } }
}

impl Asked {
    /// Returns whether the response has no body, whatever its fields say.
    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Checks a response that has come to its end. `excused`: something has happened after which an error is right, too.
    /// Returns whether it is the one without a fault.
    pub(crate) fn check(&self, status: u16, body: &[u8], excused: bool) -> Result<bool, String> {
        let Expected { status: right, body: expected } = &self.expected;
        if status != *right {
            let is_error = matches!(status, 408 | 500 | 503);
            return match excused && is_error {
                true => Ok(false),
                false => Err(format!("status {status} in place of {right} for {}", self.line())),
            };
        }
        let is_right = match expected {
            Body::None => body.is_empty(),
            _ if self.is_head() => body.is_empty(),
            Body::Exactly(bytes) => body == bytes,
            Body::Listing => is_listing(body),
            Body::Archive => is_archive(body),
            Body::Any => true,
        };
        match is_right {
            true => Ok(true),
            false => Err(format!("a wrong body of {} bytes for {}", body.len(), self.line())),
        }
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {} {:?}", self.method, self.path, self.fields)
    }
}

fn is_listing(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let has = |number| text.matches(&format!("\">name-{number:03}</a>")).count() == 1;
    (0..MANY).all(has) && text.trim_end().ends_with("</html>")
}

fn is_archive(body: &[u8]) -> bool {
    let mut rest = body;
    let mut members = 0;
    while rest.len() >= 512 && rest[0] != 0 {
        let name = String::from_utf8_lossy(&rest[..100]);
        let name = name.trim_end_matches('\0');
        let size = String::from_utf8_lossy(&rest[124..135]).into_owned();
        let Ok(size) = usize::from_str_radix(size.trim(), 8) else { return false };
        if rest.len() < 512 + size.next_multiple_of(512) {
            return false;
        }
        if let Some(file) = name.rsplit('/').next().filter(|file| !file.is_empty()) {
            members += 1;
            if rest[512..512 + size] != content(file) {
                return false;
            }
        }
        rest = &rest[512 + size.next_multiple_of(512)..];
    }
    members == 3 && rest.len() >= 1024 && rest.iter().all(|byte| *byte == 0)
}
