//! Clients that reset, close half, stop within a request or send other bytes. Complete responses are checked, and so
//! is the part of a download that a client gives up.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::ask::Ask;
use crate::check::Route;
use crate::clients::connect;
use crate::http1::{Http1, Pace};
use crate::rng::Rng;
use crate::run::Run;
use crate::socket::{End, Socket};

const ROUTES: [&str; 2] = ["HTTP/1.1", "HTTP/1.1 over TLS"];

pub fn session(run: &Run, rng: &mut Rng) {
    let name = ROUTES[usize::from(rng.one_in(3))];
    let route = Route { name, by_reference: run.by_reference && name == ROUTES[0] };
    let begun = Instant::now();
    let result = match rng.below(9) {
        0 => abandoned(run, rng, route),
        1 => half_closed(run, rng, route),
        2 => split_head(run, rng, route),
        3 => cut_head(run, rng, route),
        4 => garbage(run, rng, route),
        5 => storm(run, rng, route),
        6 => stalled(run, rng, route),
        7 => cut_handshake(run, rng),
        _ => destroyed(run, rng),
    };
    if let Err(end) = result {
        run.take_end(route, &end, begun, false);
    }
}

/// Ends a connection in one of several ways.
fn end(socket: Socket, rng: &mut Rng) {
    match rng.below(3) {
        0 => socket.reset(),
        1 => drop(socket),
        _ => {
            socket.close_half();
            drop(socket);
        }
    }
}

/// A download that is given up after a part.
fn abandoned(run: &Run, rng: &mut Rng, route: Route) -> Result<(), End> {
    let mut client = Http1::over(connect(run, route.name)?);
    client.socket.limit_receive_buffer();
    run.wait_for_slot();
    let ask = Ask { sent: Instant::now(), ..Ask::download(&run.tree, rng) };
    client.socket.send(ask.text(&run.tree, false).as_bytes())?;
    let most = rng.below(2 << 20) as usize;
    if let Some(part) = client.part(most) {
        run.take_part(&ask, route, &part);
    }
    run.count("abandoned downloads");
    end(client.socket, rng);
    Ok(())
}

/// Requests, then a FIN: all of them are answered, then the connection ends.
fn half_closed(run: &Run, rng: &mut Rng, route: Route) -> Result<(), End> {
    let since = Instant::now();
    let mut client = Http1::over(connect(run, route.name)?);
    let asks: Vec<_> = (0..1 + rng.below(3)).map(|_| Ask::draw(&run.tree, rng)).collect();
    let text: String = asks.iter().map(|ask| ask.text(&run.tree, false)).collect();
    run.wait_for_slot();
    let sent = Instant::now();
    client.socket.send(text.as_bytes())?;
    client.socket.close_half();
    for ask in asks {
        let ask = Ask { sent, ..ask };
        match client.response(ask.is_head, None) {
            Ok(response) => {
                run.take(&ask, route, &response);
                if response.head.closes() {
                    break;
                }
            }
            Err(cut) => {
                let (response, end) = *cut;
                run.take_cut(&ask, route, response.as_ref(), &end.to_string(), since);
                return Ok(());
            }
        }
    }
    run.count("half-closed connections");
    match client.end() {
        // The client has sent no close_notify either.
        End::Cut if route.name != ROUTES[0] => {}
        end => run.take_end(route, &end, since, true),
    }
    Ok(())
}

/// A head that arrives in parts.
fn split_head(run: &Run, rng: &mut Rng, route: Route) -> Result<(), End> {
    let since = Instant::now();
    let mut client = Http1::over(connect(run, route.name)?);
    run.wait_for_slot();
    let ask = Ask { sent: Instant::now(), ..Ask::draw(&run.tree, rng) };
    let text = ask.text(&run.tree, false);
    let place = 1 + rng.index(text.len() - 1);
    client.socket.send(&text.as_bytes()[..place])?;
    thread::sleep(Duration::from_millis(rng.below(300)));
    client.socket.send(&text.as_bytes()[place..])?;
    match client.response(ask.is_head, None) {
        Ok(response) => run.take(&ask, route, &response),
        Err(cut) => run.take_cut(&ask, route, cut.0.as_ref(), &cut.1.to_string(), since),
    }
    run.count("split heads");
    Ok(())
}

/// A head without its end.
fn cut_head(run: &Run, rng: &mut Rng, route: Route) -> Result<(), End> {
    let mut socket = connect(run, route.name)?;
    let text = Ask::draw(&run.tree, rng).text(&run.tree, false);
    socket.send(&text.as_bytes()[..rng.index(text.len() - 1)])?;
    thread::sleep(Duration::from_millis(rng.below(100)));
    run.count("cut heads");
    end(socket, rng);
    Ok(())
}

/// Bytes that are no request: 400, then the end.
fn garbage(run: &Run, rng: &mut Rng, route: Route) -> Result<(), End> {
    let since = Instant::now();
    let mut client = Http1::over(connect(run, route.name)?);
    let mut bytes: Vec<u8> = (0..1 + rng.below(200)).map(|_| rng.draw() as u8).collect();
    // No first byte of a method, nor of the preface of HTTP/2.
    bytes[0] = 0;
    bytes.extend(b"\r\n\r\n");
    client.socket.send(&bytes)?;
    match client.head() {
        Ok(head) if head.status == 400 && head.closes() => run.count("rejected bytes"),
        Ok(head) => run.fail(format!("{}: {:?} to {}", route.name, head, bytes.escape_ascii())),
        Err(end) => run.take_end(route, &end, since, false),
    }
    Ok(())
}

/// Many connections that are reset at once, some with a request.
fn storm(run: &Run, rng: &mut Rng, route: Route) -> Result<(), End> {
    for _ in 0..20 + rng.below(40) {
        let mut socket = Socket::connect(run.plain)?;
        if rng.one_in(2) {
            let text = Ask::draw(&run.tree, rng).text(&run.tree, false);
            socket.send(text.as_bytes())?;
        }
        run.count("reset connections");
        socket.reset();
    }
    // One more is served.
    let mut client = Http1::over(connect(run, route.name)?);
    let ask = Ask::draw(&run.tree, rng);
    let since = Instant::now();
    let ask = Ask { sent: since, ..ask };
    client.socket.send(ask.text(&run.tree, true).as_bytes())?;
    match client.response(ask.is_head, None) {
        Ok(response) => run.take(&ask, route, &response),
        Err(cut) => run.take_cut(&ask, route, cut.0.as_ref(), &cut.1.to_string(), since),
    }
    Ok(())
}

/// A download that is not read for a while, then read to its end.
fn stalled(run: &Run, rng: &mut Rng, route: Route) -> Result<(), End> {
    let since = Instant::now();
    let mut client = Http1::over(connect(run, route.name)?);
    client.socket.limit_receive_buffer();
    run.wait_for_slot();
    let ask = Ask { sent: Instant::now(), ..Ask::download(&run.tree, rng) };
    client.socket.send(ask.text(&run.tree, false).as_bytes())?;
    thread::sleep(Duration::from_millis(rng.below(4000)));
    let pace = Pace { part: 3 << 20, pause: Duration::from_millis(100) };
    match client.response(ask.is_head, Some(pace)) {
        Ok(response) => run.take(&ask, route, &response),
        Err(cut) => run.take_cut(&ask, route, cut.0.as_ref(), &cut.1.to_string(), since),
    }
    run.count("stalled downloads");
    Ok(())
}

/// A handshake of TLS that ends within its first message, or never was one.
fn cut_handshake(run: &Run, rng: &mut Rng) -> Result<(), End> {
    let mut socket = Socket::connect(run.secure)?;
    // The header of a record with a handshake, and the beginning of a ClientHello.
    let mut bytes = vec![22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    bytes.extend((0..rng.below(200)).map(|_| rng.draw() as u8));
    if rng.one_in(3) {
        bytes = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    }
    socket.send(&bytes)?;
    thread::sleep(Duration::from_millis(rng.below(50)));
    run.count("cut handshakes");
    end(socket, rng);
    Ok(())
}

/// The kernel destroys the socket of the server (`ss -K`, SOCK_DESTROY) during a download.
fn destroyed(run: &Run, rng: &mut Rng) -> Result<(), End> {
    let route = Route { name: ROUTES[0], by_reference: run.by_reference };
    let mut client = Http1::over(Socket::connect(run.plain)?);
    client.socket.limit_receive_buffer();
    run.wait_for_slot();
    let ask = Ask { sent: Instant::now(), ..Ask::download(&run.tree, rng) };
    client.socket.send(ask.text(&run.tree, false).as_bytes())?;
    let port = client.socket.stream().local_addr()?.port();
    let filter = format!("( sport = :{} and dport = :{port} )", run.plain.port());
    let mut command = Command::new("ss");
    command.args(["-K", "-H", "-t", "-n", &filter]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let named = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&port.to_string());
    run.count(match output {
        Ok(output) if named(&output.stdout) => "destroyed sockets",
        _ => "sockets that ss could not destroy",
    });
    // With or without: as far as it arrives, it is right.
    match client.response(false, None) {
        Ok(response) => run.take(&ask, route, &response),
        Err(cut) => {
            if let Some(part) = &cut.0 {
                run.take_part(&ask, route, part);
            }
        }
    }
    Ok(())
}
