//! A client of HTTP/1.1 that pipelines.

use karez_sys::simulation::{below, chance};

use crate::client::{Answers, Protocol};
use crate::excuse::Excuse;
use crate::requests::{self, Asked};

pub(crate) struct Http1 {
    asked: Vec<Line>,
    /// Requests that have been written.
    said: usize,
    /// Responses that have come to their end.
    answered: usize,
    received: Vec<u8>,
    /// The response that has come last is the last one.
    closes: bool,
    answers: Answers,
}

/// A request on a connection.
struct Line {
    asked: Asked,
    old: bool,
    closes: bool,
    chunked: bool,
}

/// A response whose end is known.
struct Response {
    status: u16,
    body: Vec<u8>,
    closes: bool,
    length: usize,
}

impl Http1 {
    pub(crate) fn new() -> Self {
        let count = 1 + below(5);
        let line = |_| {
            let (old, closes) = (chance(5), chance(5));
            Line { asked: requests::draw(), old, closes, chunked: chance(50) }
        };
        let asked = (0..count).map(line).collect();
        let (said, answered, received, closes) = (0, 0, Vec::new(), false);
        Self { asked, said, answered, received, closes, answers: Answers::default() }
    }

    fn answer(&mut self, response: &Response, excuse: Excuse) -> Result<(), String> {
        let Some(line) = self.asked.get(self.answered).filter(|_| !self.closes) else {
            return Err(format!("a response of status {} to nothing", response.status));
        };
        let right = line.asked.check(response.status, &response.body, excuse.is_all())?;
        self.answers.count(right);
        self.closes = response.closes;
        if right && !excuse.is_all() && (line.closes || line.old) != response.closes {
            return Err(format!("the wrong announcement of an end for {}", line.asked.line()));
        }
        self.answered += 1;
        Ok(())
    }
}

impl Protocol for Http1 {
    fn speak(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(line) = self.asked.get(self.said) else { return false };
        self.said += 1;
        line.write(out);
        true
    }

    fn receive(&mut self, bytes: &[u8], excuse: Excuse) -> Result<(), String> {
        self.received.extend_from_slice(bytes);
        loop {
            let head = self.asked.get(self.answered).is_some_and(|line| line.asked.is_head());
            let Some(response) = parse(&self.received, head, false)? else { return Ok(()) };
            self.received.drain(..response.length);
            if response.status >= 200 {
                self.answer(&response, excuse)?;
            }
        }
    }

    fn end(&mut self, regular: bool, excuse: Excuse) -> Result<(), String> {
        let head = self.asked.get(self.answered).is_some_and(|line| line.asked.is_head());
        // A UNIX socket shows a reset as an end, so after a deadline a body without a length may be a part.
        if regular
            && !excuse.is_all()
            && let Some(response) = parse(&self.received, head, true)?
        {
            self.received.clear();
            self.answer(&response, excuse)?;
        }
        let excused = match excuse {
            Excuse::None => self.is_done(),
            Excuse::Eviction { .. } => self.received.is_empty(),
            Excuse::All => true,
        };
        if !excused {
            let line = self.asked.get(self.answered).map(|line| line.asked.line());
            return Err(format!("an end in place of a response to {line:?}"));
        }
        self.answers.cut += u32::from(!self.is_done());
        Ok(())
    }

    fn settle(&mut self, out: &mut Vec<u8>) {
        while self.speak(out) {}
    }

    fn is_done(&self) -> bool {
        let all = self.said == self.asked.len() && self.answered == self.said;
        self.received.is_empty() && (self.closes || all)
    }

    fn may_half_close(&self) -> bool {
        self.said == self.asked.len()
    }

    fn has_to_end(&self) -> bool {
        self.closes
    }

    fn answers(&self) -> Answers {
        self.answers
    }

    fn describe(&self) -> String {
        let waits = self.asked.get(self.answered).map(|line| line.asked.line());
        let (said, all) = (self.said, self.asked.len());
        format!("HTTP/1.1, {} of {said} of {all} answered, next {waits:?}", self.answered)
    }
}

impl Line {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { asked, old, closes, chunked } = self;
        let version = if *old { "1.0" } else { "1.1" };
        let mut head = format!("{} {} HTTP/{version}\r\nHost: x\r\n", asked.method, asked.path);
        for (name, value) in &asked.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if *closes {
            head += "Connection: close\r\n";
        }
        let chunked = *chunked && !old && !asked.body.is_empty();
        if chunked {
            head += "Transfer-Encoding: chunked\r\n";
        } else if !asked.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", asked.body.len());
        }
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n");
        if chunked {
            for piece in asked.body.chunks(1 + asked.body.len() / 3) {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        } else {
            out.extend_from_slice(&asked.body);
        }
    }
}

/// Parses the response at the front; `None` if its end has not come. `ended`: nothing comes behind the bytes.
fn parse(bytes: &[u8], to_head: bool, ended: bool) -> Result<Option<Response>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is not text")?;
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.ok_or_else(|| format!("a malformed status line: {first:?}"))?;
    let (mut length, mut chunked, mut closes) = (None, false, false);
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("a field: {line:?}"))?;
        match &name.to_ascii_lowercase()[..] {
            "content-length" => length = value.parse::<usize>().ok(),
            "transfer-encoding" => chunked = value == "chunked",
            "connection" => closes = value == "close",
            _ => {}
        }
    }
    let rest = &bytes[end + 4..];
    let without = to_head || status < 200 || status == 204 || status == 304;
    let (body, used) = if without {
        (Vec::new(), 0)
    } else if chunked {
        match dechunk(rest)? {
            Some(found) => found,
            None => return Ok(None),
        }
    } else if let Some(length) = length {
        match rest.get(..length) {
            Some(body) => (body.to_vec(), length),
            None => return Ok(None),
        }
    } else if ended {
        (rest.to_vec(), rest.len())
    } else {
        return Ok(None);
    };
    // A response without a length is the last one.
    let closes = closes || !(without || chunked || length.is_some());
    Ok(Some(Response { status, body, closes, length: end + 4 + used }))
}

/// Returns the body of chunks and their length; `None` if the last has not come.
fn dechunk(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&rest[..line]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or("a malformed size of a chunk")?;
        let Some(chunk) = rest.get(line + 2..line + 4 + size) else { return Ok(None) };
        if &chunk[size..] != b"\r\n" {
            return Err("a chunk without its line end".to_owned());
        }
        body.extend_from_slice(&chunk[..size]);
        at += line + 4 + size;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}
