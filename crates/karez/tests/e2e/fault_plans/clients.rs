//! Clients that expect the right bytes or a visible end: HTTP/1.1 on a kept connection, pipelined, cut off by the
//! client, over TLS, and HTTP/2.

use rustls::ClientConfig;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::files::pattern;
use crate::http2_client::{Http2Client, request};
use crate::https::Authority;
use crate::socket::Socket;

/// How long the server may be silent: a thousand times what a run takes.
const SILENCE: Duration = Duration::from_secs(30);

/// The number of entries of the directory.
const ENTRIES: usize = 200;

/// The files and their sizes.
const FILES: [(&str, usize); 3] = [("/small", 100), ("/medium", 60_001), ("/large", 1_500_003)];

/// What is served.
pub struct Site {
    pub root: tempfile::TempDir,
    contents: Vec<(&'static str, Vec<u8>)>,
}

impl Site {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        let contents = FILES.map(|(name, size)| (name, pattern(size)));
        for (name, content) in &contents {
            let path = root.path().join(&name[1..]);
            fs::write(&path, content).unwrap();
            File::open(&path).unwrap().set_modified(old).unwrap();
        }
        fs::create_dir(root.path().join("directory")).unwrap();
        for number in 0..ENTRIES {
            fs::write(root.path().join(format!("directory/entry-{number:03}")), "").unwrap();
        }
        Self { root, contents: contents.into() }
    }

    fn content(&self, target: &str) -> Option<&[u8]> {
        self.contents.iter().find(|(name, _)| *name == target).map(|(_, content)| &content[..])
    }
}

/// Whether responses may be refused or cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Strict,
    Lenient,
}

/// How many responses were right, refused by an error status, and cut.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub right: u64,
    pub refused: u64,
    pub aborted: u64,
}

/// A request.
#[derive(Clone, Copy, Debug)]
struct Ask {
    method: &'static str,
    target: &'static str,
    range: Option<(usize, usize)>,
}

const fn get(target: &'static str) -> Ask {
    Ask { method: "GET", target, range: None }
}

const fn range(target: &'static str, first: usize, last: usize) -> Ask {
    Ask { method: "GET", target, range: Some((first, last)) }
}

const KEPT: [Ask; 7] = [
    get("/small"),
    range("/medium", 4000, 50_000),
    Ask { method: "HEAD", target: "/large", range: None },
    get("/directory/"),
    get("/large"),
    get("/missing"),
    get("/medium"),
];

const PIPELINED: [Ask; 4] =
    [get("/small"), range("/large", 700_000, 900_000), get("/medium"), get("/small")];

const SECURE: [Ask; 3] = [get("/small"), get("/medium"), range("/large", 1, 300_000)];

const STREAMS: [Ask; 5] =
    [get("/medium"), get("/small"), get("/large"), range("/large", 9, 99_999), get("/directory/")];

/// How a response arrived.
struct Arrived {
    status: u16,
    length: Option<usize>,
    body: Vec<u8>,
    whole: bool,
    closes: bool,
}

impl Ask {
    fn text(&self) -> String {
        let Self { method, target, range } = self;
        let range =
            range.map_or(String::new(), |(first, last)| format!("Range: bytes={first}-{last}\r\n"));
        format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{range}\r\n")
    }

    /// Judges a response.
    fn judge(&self, site: &Site, arrived: &Arrived, tally: &mut Tally) -> Result<(), String> {
        let Arrived { status, length, body, whole, .. } = arrived;
        let fault = |why: &str| {
            let length = body.len();
            Err(format!("{self:?}: {why}: status {status}, {length} bytes, whole: {whole}"))
        };
        let expected = match (status, self.range, site.content(self.target)) {
            (500 | 503, ..) => {
                tally.refused += 1;
                return Ok(());
            }
            (404, _, None) if self.target == "/missing" => {
                tally.right += 1;
                return Ok(());
            }
            (200, _, None) => return self.judge_listing(arrived, tally),
            (206, Some((first, last)), Some(content)) => &content[first..=last],
            (200, None, Some(content)) => content,
            _ => return fault("an unexpected status"),
        };
        if length.is_some_and(|length| length != expected.len()) {
            return fault("another length");
        }
        if self.method != "HEAD" && !expected.starts_with(body.as_slice()) {
            return fault("wrong bytes");
        }
        if *whole && self.method != "HEAD" && body.len() < expected.len() {
            return fault("a truncated response is complete");
        }
        tally.count(*whole);
        Ok(())
    }

    fn judge_listing(&self, arrived: &Arrived, tally: &mut Tally) -> Result<(), String> {
        let text = String::from_utf8_lossy(&arrived.body);
        let missing = (0..ENTRIES).filter(|number| !text.contains(&format!("entry-{number:03}")));
        let missing = missing.count();
        if arrived.whole && missing > 0 {
            return Err(format!("{self:?}: a complete listing lacks {missing} entries"));
        }
        tally.count(arrived.whole);
        Ok(())
    }
}

impl Tally {
    fn count(&mut self, whole: bool) {
        match whole {
            true => self.right += 1,
            false => self.aborted += 1,
        }
    }
}

/// Clients of one server.
pub struct Clients<'a> {
    plain: SocketAddr,
    secure: SocketAddr,
    config: Arc<ClientConfig>,
    pub site: &'a Site,
}

impl<'a> Clients<'a> {
    pub fn new(
        site: &'a Site,
        authority: &Authority,
        plain: SocketAddr,
        secure: SocketAddr,
    ) -> Self {
        let config = authority.client(&[&rustls::version::TLS13], &["http/1.1"]);
        Self { plain, secure, config, site }
    }

    /// Runs all of them, one after the other. An error is a wrong response, or silence.
    pub fn run(&self, seed: u64, mode: Mode) -> Result<Tally, String> {
        let mut tally = Tally::default();
        self.keep(&mut tally)?;
        self.pipeline(&mut tally)?;
        self.multiplex(&mut tally)?;
        self.cut_off()?;
        if seed.is_multiple_of(2) {
            self.encrypt(&mut tally)?;
        }
        match (mode, tally) {
            (Mode::Strict, Tally { right, refused, aborted }) if refused + aborted > 0 => {
                Err(format!("{right} right, {refused} refused, {aborted} aborted"))
            }
            _ => Ok(tally),
        }
    }

    /// One connection, and another one behind a response that ends it.
    fn keep(&self, tally: &mut Tally) -> Result<(), String> {
        let mut connection = None;
        for ask in KEPT {
            let mut open = match connection.take() {
                Some(open) => open,
                None => self.connect()?,
            };
            open.send(&ask.text());
            match open.response(ask.method == "HEAD")? {
                Some(arrived) => {
                    ask.judge(self.site, &arrived, tally)?;
                    if arrived.whole && !arrived.closes {
                        connection = Some(open);
                    }
                }
                None => tally.aborted += 1,
            }
        }
        Ok(())
    }

    fn pipeline(&self, tally: &mut Tally) -> Result<(), String> {
        let mut connection = self.connect()?;
        connection.send(&PIPELINED.map(|ask| ask.text()).concat());
        connection.judge_all(self.site, &PIPELINED, tally)
    }

    fn encrypt(&self, tally: &mut Tally) -> Result<(), String> {
        match connect(self.secure)?.secure(self.config.clone()) {
            Ok(socket) => {
                let mut connection = Connection::new(socket);
                connection.send(&SECURE.map(|ask| ask.text()).concat());
                connection.judge_all(self.site, &SECURE, tally)
            }
            Err(error) if is_end(error.kind()) => {
                tally.aborted += SECURE.len() as u64;
                Ok(())
            }
            Err(error) => Err(format!("the handshake: {error}")),
        }
    }

    /// A client that goes away in the middle of a response.
    fn cut_off(&self) -> Result<(), String> {
        let mut connection = self.connect()?;
        connection.send(&get("/large").text());
        connection.0.fill_buf().map(drop).or_else(|error| ended(&error))
    }

    fn connect(&self) -> Result<Connection, String> {
        connect(self.plain).map(Connection::new)
    }

    fn multiplex(&self, tally: &mut Tally) -> Result<(), String> {
        let mut client = Http2Client::silent(connect(self.plain)?);
        client.may_be_cut = true;
        let mut bytes = karez_http::h2::PREFACE.to_vec();
        karez_http::h2::FrameEncoder::new(&mut bytes).settings(&[]);
        for (ask, stream) in STREAMS.iter().zip((1..).step_by(2)) {
            let range = ask.range.map(|(first, last)| format!("bytes={first}-{last}"));
            let fields: Vec<_> = range.iter().map(|range| ("range", range.as_str())).collect();
            bytes.extend(request(stream, ask.method, ask.target, &fields, true));
        }
        // It may have been closed already.
        let _closed = client.stream.write_all(&bytes);
        let over = |client: &Http2Client| {
            (0..STREAMS.len() as u32).all(|number| client.response(1 + 2 * number).is_over())
        };
        // It panics where the server is silent.
        let read = catch_unwind(AssertUnwindSafe(|| client.read_until(over)));
        read.map_err(|_| "HTTP/2: silence, or a frame that is wrong".to_owned())?;
        for (ask, stream) in STREAMS.iter().zip((1..).step_by(2)) {
            let response = client.response(stream);
            if response.status == 0 {
                tally.aborted += 1;
                continue;
            }
            let length = response.fields.iter().find(|(name, _)| name == "content-length");
            let length = length.map(|(_, value)| value.parse().unwrap());
            let (status, whole, closes) = (response.status, response.ended, false);
            ask.judge(
                self.site,
                &Arrived { status, length, body: response.body, whole, closes },
                tally,
            )?;
        }
        Ok(())
    }
}

fn connect(address: SocketAddr) -> Result<Socket, String> {
    let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream.set_write_timeout(Some(SILENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    Ok(Socket::Plain(stream))
}

/// A connection that may end at any byte.
struct Connection(BufReader<Socket>);

impl Connection {
    fn new(socket: Socket) -> Self {
        Self(BufReader::new(socket))
    }

    fn send(&mut self, text: &str) {
        // It may have been closed already; its response shows that.
        let _closed = self.0.get_mut().write_all(text.as_bytes());
    }

    fn judge_all(&mut self, site: &Site, asks: &[Ask], tally: &mut Tally) -> Result<(), String> {
        for (number, ask) in asks.iter().enumerate() {
            let arrived = self.response(ask.method == "HEAD")?;
            if let Some(arrived) = &arrived {
                ask.judge(site, arrived, tally)?;
            }
            if !arrived.is_some_and(|arrived| arrived.whole && !arrived.closes) {
                tally.aborted += (asks.len() - number - 1) as u64;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads a response, as far as it comes; `None` if not even the head does.
    fn response(&mut self, bodiless: bool) -> Result<Option<Arrived>, String> {
        let Some(status_line) = self.line()? else { return Ok(None) };
        let status =
            status_line.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| format!("no status line: {status_line:?}"))?;
        let (mut length, mut chunked, mut closes) = (None, false, false);
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if line.is_empty() {
                break;
            }
            let (name, value) =
                line.split_once(": ").ok_or_else(|| format!("no field: {line:?}"))?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok(),
                "transfer-encoding" => chunked = value == "chunked",
                "connection" => closes |= value == "close",
                _ => {}
            }
        }
        let mut body = Vec::new();
        let whole = match (bodiless, chunked, length) {
            (true, ..) => true,
            (_, true, _) => self.chunks(&mut body)?,
            (_, _, Some(length)) => self.bytes(length, &mut body)?,
            _ => return Err("a body without a length".to_owned()),
        };
        Ok(Some(Arrived { status, length, body, whole, closes }))
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<bool, String> {
        loop {
            let Some(line) = self.line()? else { return Ok(false) };
            let size =
                usize::from_str_radix(&line, 16).map_err(|_| format!("no size: {line:?}"))?;
            let whole = self.bytes(size, body)?;
            match self.line()? {
                Some(end) if end.is_empty() && whole => {}
                Some(end) if whole => return Err(format!("{end:?} behind a chunk")),
                _ => return Ok(false),
            }
            if size == 0 {
                return Ok(true);
            }
        }
    }

    /// Appends this number of bytes; false if the connection ends before.
    fn bytes(&mut self, count: usize, body: &mut Vec<u8>) -> Result<bool, String> {
        let mut limited = (&mut self.0).take(count as u64);
        match limited.read_to_end(body) {
            Ok(got) => Ok(got == count),
            Err(error) => ended(&error).map(|()| false),
        }
    }

    /// Reads a line; `None` if the connection ends before.
    fn line(&mut self) -> Result<Option<String>, String> {
        let mut line = Vec::new();
        if let Err(error) = self.0.read_until(b'\n', &mut line) {
            return ended(&error).map(|()| None);
        }
        let Some(line) = line.strip_suffix(b"\r\n") else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(line).into_owned()))
    }
}

/// Returns an error unless the connection has ended.
fn ended(error: &std::io::Error) -> Result<(), String> {
    match error.kind() {
        kind if is_end(kind) => Ok(()),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Err("silence".to_owned()),
        _ => Err(error.to_string()),
    }
}

fn is_end(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionAborted)
}
