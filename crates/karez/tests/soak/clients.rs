//! Clients that keep to the protocol: an end of their connections that was not announced is a failure.

use rustls::ClientConfig;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::ask::Ask;
use crate::check::Route;
use crate::hostile;
use crate::http1::{Http1, Pace};
use crate::http2::{Http2, Over};
use crate::options::Fault;
use crate::rng::Rng;
use crate::run::Run;
use crate::socket::{End, Socket};

/// How a client uses one connection.
struct Style {
    requests: u64,
    /// Requests that are sent at once.
    depth: u64,
    /// The longest pause before a request, in milliseconds.
    pause: u64,
    pace: Option<Pace>,
    is_download: bool,
    /// The last request asks for the end of the connection.
    closes: bool,
}

const STYLE: Style =
    Style { requests: 30, depth: 1, pause: 0, pace: None, is_download: false, closes: false };

/// Runs one connection after the other until the run ends.
pub fn run(run: &Run, mut rng: Rng) {
    while let Some(active) = run.enter() {
        session(run, &mut rng);
        drop(active);
    }
}

fn session(run: &Run, rng: &mut Rng) {
    let is_hostile = run.options.has(Fault::Hostile) && rng.one_in(6);
    if is_hostile {
        return hostile::session(run, rng);
    }
    let requests = 1 + rng.below(60);
    let plain = Route { name: "HTTP/1.1", by_reference: run.by_reference };
    match rng.below(20) {
        0..=6 => {
            let closes = rng.one_in(2);
            http1(run, rng, plain, &Style { requests, closes, ..STYLE });
        }
        7..=8 => {
            let depth = 2 + rng.below(8);
            http1(run, rng, plain, &Style { requests: requests.max(depth), depth, ..STYLE });
        }
        9 => http1(run, rng, plain, &Style { requests: 1, closes: true, ..STYLE }),
        10 => http1(run, rng, plain, &Style { requests: requests / 4 + 1, pause: 200, ..STYLE }),
        11..=12 => download(run, rng, plain),
        13..=14 => {
            let route = Route { name: "HTTP/1.1 over TLS", by_reference: false };
            let depth = if rng.one_in(3) { 4 } else { 1 };
            http1(run, rng, route, &Style { requests, depth, ..STYLE });
        }
        15..=17 => http2(run, rng, Route { name: "HTTP/2", by_reference: false }, requests),
        _ => http2(run, rng, Route { name: "HTTP/2 over TLS", by_reference: false }, requests),
    }
}

/// Downloads that take longer than an upgrade.
fn download(run: &Run, rng: &mut Rng, route: Route) {
    let pause = Duration::from_millis(1 + rng.below(100));
    let pace = Some(Pace { part: 512 << 10, pause });
    http1(run, rng, route, &Style { requests: 2, pace, is_download: true, ..STYLE });
}

/// Connects to the listener of this route.
pub fn connect(run: &Run, name: &str) -> Result<Socket, End> {
    let secure =
        |config: &Arc<ClientConfig>| Socket::connect_secure(run.secure, Arc::clone(config));
    match name {
        "HTTP/1.1 over TLS" => secure(&run.tls[0]),
        "HTTP/2 over TLS" => secure(&run.tls[1]),
        _ => Socket::connect(run.plain),
    }
}

fn http1(run: &Run, rng: &mut Rng, route: Route, style: &Style) {
    // The connection was there after that: when the last request that has a response was sent.
    let mut since = Instant::now();
    let mut client = match connect(run, route.name) {
        Ok(socket) => Http1::over(socket),
        Err(end) => return run.take_end(route, &end, since, false),
    };
    if style.pace.is_some() {
        client.socket.limit_receive_buffer();
    }
    let mut left = style.requests;
    while left > 0 && run.is_open() {
        if style.pause > 0 {
            thread::sleep(Duration::from_millis(rng.below(style.pause)));
        }
        let count = style.depth.min(left);
        left -= count;
        let closes = |place| style.closes && left == 0 && place + 1 == count;
        let mut asks = Vec::new();
        let mut text = String::new();
        for place in 0..count {
            run.wait_for_slot();
            let ask = match style.is_download {
                true => Ask::download(&run.tree, rng),
                false => Ask::draw(&run.tree, rng),
            };
            text.push_str(&ask.text(&run.tree, closes(place)));
            asks.push(ask);
        }
        let sent = Instant::now();
        asks.iter_mut().for_each(|ask| ask.sent = sent);
        let mut unsent = client.socket.send(text.as_bytes()).err();
        for (place, ask) in asks.iter().enumerate() {
            let response = match unsent.take() {
                Some(end) => Err(Box::new((None, end))),
                None => client.response(ask.is_head, style.pace),
            };
            match response {
                Ok(response) => {
                    run.take(ask, route, &response);
                    if response.head.closes() {
                        run.add("not served, as announced", (asks.len() - place - 1) as u64);
                        return run.take_end(route, &client.end(), since, true);
                    }
                }
                Err(cut) => {
                    let (response, end) = *cut;
                    let behind = &asks[place + 1..];
                    if is_reset_behind(run, behind, since) {
                        if let Some(response) = &response {
                            run.take_part(ask, route, response);
                        }
                        run.count("lost in front of a torn response");
                    } else {
                        run.take_cut(ask, route, response.as_ref(), &end.to_string(), since);
                    }
                    return run.add("lost behind a reset", behind.len() as u64);
                }
            }
            since = sent;
        }
    }
}

/// Returns whether one of the next pipelined responses may have been torn: the reset drops what the kernel has still to
/// send of the responses in front of it.
fn is_reset_behind(run: &Run, behind: &[Ask], since: Instant) -> bool {
    behind.iter().any(|ask| run.excuse(Some(ask), since, Instant::now()).is_some())
}

fn http2(run: &Run, rng: &mut Rng, route: Route, mut left: u64) {
    let mut since = Instant::now();
    let window = *rng.pick(&[65_535, 1 << 20]);
    let client = connect(run, route.name).and_then(|socket| Http2::start(socket, window));
    let mut client = match client {
        Ok(client) => client,
        Err(end) => return run.take_end(route, &end, since, false),
    };
    while left > 0 && run.is_open() && client.goaway.is_none() {
        let count = (1 + rng.below(12)).min(left);
        left -= count;
        let mut asks = Vec::new();
        for _ in 0..count {
            run.wait_for_slot();
            asks.push(Ask::draw(&run.tree, rng));
        }
        let mut end = client.request(asks, &run.tree).err();
        if end.is_none() && run.options.has(Fault::Hostile) && rng.one_in(30) {
            let first = client.streams.keys().next().copied();
            end = first.and_then(|first| client.cancel(first).err());
        }
        while end.is_none() && is_waiting(&client) {
            match client.read() {
                Ok(Some(Over::Complete(stream))) => {
                    since = since.max(stream.ask.sent);
                    let response = stream.response.as_ref();
                    run.take(&stream.ask, route, response.expect("a stream that ends has a head"));
                }
                Ok(Some(Over::Reset(stream, code))) => {
                    let text = format!("RST_STREAM, error {}", code.0);
                    run.take_cut(
                        &stream.ask,
                        route,
                        stream.response.as_ref(),
                        &text,
                        stream.ask.sent,
                    );
                }
                Ok(None) => {}
                Err(error) => end = Some(error),
            }
        }
        if let Some(end) = end {
            return cut_http2(run, route, &client, &end, since);
        }
    }
    if client.goaway.is_some() {
        run.add("not served, as announced", client.streams.len() as u64);
        let end = loop {
            match client.read() {
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        run.take_end(route, &end, since, true);
    }
}

/// Returns whether a stream will be served. A stream above the last one of GOAWAY is not.
fn is_waiting(client: &Http2) -> bool {
    let last = client.goaway.unwrap_or(u32::MAX);
    client.streams.keys().next().is_some_and(|first| *first <= last)
}

/// Checks the streams that a connection had when it ended.
fn cut_http2(run: &Run, route: Route, client: &Http2, end: &End, since: Instant) {
    if client.streams.is_empty() {
        return run.take_end(route, end, since, false);
    }
    for (number, stream) in &client.streams {
        if client.goaway.is_some_and(|last| *number > last) {
            run.count("not served, as announced");
        } else {
            run.take_cut(&stream.ask, route, stream.response.as_ref(), &end.to_string(), since);
        }
    }
}
