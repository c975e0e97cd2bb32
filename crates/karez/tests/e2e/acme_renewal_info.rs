//! Renewal information of an ACME server (ARI, RFC 9773). Debian's Pebble has none, so a server in front of its
//! directory adds it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::acme::{certificate, line, line_with, root, serve};
use crate::https::text;
use crate::pebble::Pebble;
use crate::programs::run;

/// Serves the directory with `renewalInfo`, and windows that begin and end so many seconds from now, which it
/// reads from a line of standard input. Prints the identifiers for which it is asked, in hexadecimal.
const SERVER: &str = r#"
import base64, datetime, http.server, json, ssl, sys, urllib.request
address, certificate, key, authority, directory = sys.argv[1:]
window = []
def hexadecimal(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/dir":
            context = ssl.create_default_context(cafile=authority)
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
            answer = json.load(opener.open(directory))
            answer["renewalInfo"] = f"https://{address}:14001/renewal"
        else:
            identifier = self.path.rsplit("/", 1)[1].split(".")
            now = datetime.datetime.now(datetime.timezone.utc)
            start, end = [(now + datetime.timedelta(seconds=int(one))).isoformat()
                          for one in sys.stdin.readline().split()]
            print(*map(hexadecimal, identifier), flush=True)
            answer = {"suggestedWindow": {"start": start, "end": end}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "21600")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer((address, 14001), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"#;

/// The server in front of Pebble's directory.
struct Front {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Front {
    fn start(pebble: &Pebble) -> Self {
        let directory = pebble.directory();
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, &pebble.address.to_string()]);
        command.args([pebble.file("pebble.pem"), pebble.file("pebble.key"), pebble.ca()]);
        command.arg(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut front = Self { child, output };
        assert_eq!(front.line(), "ready");
        front
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Answers the next request with a window, in seconds from then on.
    fn answer(&mut self, start: i64, end: i64) {
        let mut input = self.child.stdin.as_ref().unwrap();
        writeln!(input, "{start} {end}").unwrap();
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Returns a field of a certificate that openssl prints, without colons, in lower case.
fn openssl(certificate: &std::path::Path, flags: &[&str]) -> String {
    let mut command = Command::new("openssl");
    let output = run(command.args(["x509", "-noout", "-in", text(certificate)]).args(flags), "");
    String::from_utf8(output.stdout).unwrap().replace(':', "").to_lowercase()
}

#[test]
fn renewal_information_decides_when_to_renew() {
    let Some(mut pebble) = Pebble::new() else { return };
    pebble.start();
    let (root, day) = (root(), 86_400);
    let front_directory = format!("https://{}:14001/dir", pebble.address);
    let mut flags = pebble.flags("f.example");
    let direct = pebble.directory();
    flags.iter_mut().filter(|flag| **flag == direct).for_each(|flag| {
        flag.clone_from(&front_directory);
    });
    let mut front = Front::start(&pebble);

    // It asks as soon as it has a certificate, by the identifier of RFC 9773, and keeps the answer.
    front.answer(2 * day, 3 * day);
    let mut server = serve(&pebble, root.path(), &["https"], &flags);
    let first = line_with(&mut server, "certificate in use");
    let asked = front.line();
    let state = fs::read_dir(pebble.state().join("acme")).unwrap().next().unwrap().unwrap().path();
    let state = state.join("certificates/f.example");
    let pair = state.join("pair.pem");
    let (key, serial) = asked.split_once(' ').unwrap();
    assert!(openssl(&pair, &["-ext", "authorityKeyIdentifier"]).contains(key), "{asked}");
    let printed = openssl(&pair, &["-serial"]);
    let (_, wanted) = printed.trim_end().split_once('=').unwrap();
    assert_eq!(serial.trim_start_matches('0'), wanted.trim_start_matches('0'));
    let kept = fs::read_to_string(state.join("renewal.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    let [start, end, renew] = ["start", "end", "renew"].map(|name| kept[name].as_u64().unwrap());
    assert!(end - start == day.unsigned_abs() && (start..=end).contains(&renew), "{kept}");
    drop(server);

    // A restart does not ask again. When it does, a window in the past renews the certificate at once.
    let before = certificate_of(&pair);
    let mut server = serve(&pebble, root.path(), &["https"], &flags);
    assert!(certificate(&pebble, "f.example").contains(&before));
    drop(server);
    fs::remove_file(state.join("renewal.json")).unwrap();
    front.answer(-2 * day, -day);
    front.answer(2 * day, 3 * day);
    server = serve(&pebble, root.path(), &["https"], &flags);
    let second = line(&mut server);
    assert!(second.contains("certificate in use"), "{second}");
    assert!(first <= second, "{first}{second}");
    assert_eq!(front.line(), asked);
    assert_ne!(front.line(), asked, "the new certificate");
    assert!(!certificate(&pebble, "f.example").contains(&before));
}

/// Returns the first certificate of a file, without its first and last line.
fn certificate_of(pair: &std::path::Path) -> String {
    let mut pem = String::new();
    fs::File::open(pair).unwrap().read_to_string(&mut pem).unwrap();
    let (_, rest) = pem.split_once("BEGIN CERTIFICATE-----\n").unwrap();
    rest.split("\n-----END").next().unwrap().to_owned()
}
