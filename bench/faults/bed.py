"""The servers and clients of bench/faults.py: karez and nginx with the same timeouts, one thread each, as user nobody.

Both get the same files, limits and clients. nginx has a master and one worker, as distributions start it;
figures of a process are those of both. Directives that differ from its defaults are in NGINX; open_file_cache,
which makes nginx serve names and sizes of up to a minute ago, is off unless a fault says so.
"""
import ctypes, os, re, shutil, signal, socket, ssl, struct, subprocess, tempfile, time
from pathlib import Path

import servers as peers

NGINX = """user nobody nogroup; daemon off; worker_processes 1; pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections {connections}; }}
http {{ access_log off; sendfile on; tcp_nopush on; autoindex on; default_type application/octet-stream;
keepalive_requests 1000000000; keepalive_timeout {idle}; client_header_timeout {header};
client_body_timeout {header}; send_timeout {send}; reset_timedout_connection on;
client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;
uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t; {more}
server {{ listen {host}:{port} backlog=4096; listen {host}:{h2} http2; {tls} root {root}; {site} }} }}
"""
TLS = "listen {host}:{https} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};"


def died_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Bed:
    """What a fault is made with: a kind of server, a directory, and the size of the run."""

    def __init__(self, kind, variant, program, place, quick):
        self.kind, self.variant, self.program, self.quick = kind, variant, program, quick
        self.place = Path(place)
        self.root = self.place / "root"
        self.root.mkdir()
        for path in [self.place, self.root]:
            os.chmod(path, 0o777)

    def scale(self, full, quick):
        return quick if self.quick else full

    def file(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1.7e9, 1.7e9))
        return path

    def certificate(self):
        cert, key = self.place / "cert.pem", self.place / "key.pem"
        if not cert.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
                            "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
            key.chmod(0o644)
        return cert, key

    def start(self, **options):
        return Server(self, **options)


class Server:
    """A running server. `karez` are flags, `nginx` directives of http and `site` of the server block."""

    def __init__(self, bed, karez=(), nginx="", site="", root=None, timeouts=(10, 60, 30), tls=False,
                 prefix=(), stdout=None, host="127.0.0.1", connections=16384):
        self.bed, self.host, self.is_karez = bed, host, bed.kind == "karez"
        self.port, self.h2, self.https = (peers.free_port() for _ in range(3))
        header, idle, send = timeouts
        root = root or bed.root
        if self.is_karez:
            self.h2 = self.port
            argv = [bed.program, "serve", root, "--threads", "1", "--user", "nobody:nogroup", "--quiet",
                    "--listen", f"http:{host}:{self.port}", "--header-timeout", f"{header}s",
                    "--idle-timeout", f"{idle}s", "--send-timeout", f"{send}s"]
            if tls:
                cert, key = bed.certificate()
                argv += ["--listen", f"https:{host}:{self.https}", "--tls-cert", cert, "--tls-key", key]
            argv += ["--log", "off"] * ("--log" not in karez) + list(karez) + bed.variant.split()
        else:
            cert, key = bed.certificate() if tls else ("", "")
            text = NGINX.format(dir=bed.place, host=host, port=self.port, h2=self.h2, header=f"{header}s",
                                idle=f"{idle}s", send=f"{send}s", root=root, connections=connections, more=f"{nginx} {bed.variant}", site=site,
                                tls=TLS.format(host=host, https=self.https, cert=cert, key=key) if tls else "")
            config = bed.place / "nginx.conf"
            config.write_text(text)
            argv = [bed.program, "-c", config]
        self.errors = bed.place / ("stderr" if self.is_karez else "error.log")
        with open(bed.place / "stderr", "wb") as stderr:
            self.process = subprocess.Popen([*map(str, prefix), *map(str, argv)], stdout=stdout or stderr,
                                            stderr=stderr, preexec_fn=died_with_parent)

    def __enter__(self):
        try:
            for _ in range(500):
                if self.process.poll() is not None:
                    raise RuntimeError("ended at once: " + (self.bed.place / "stderr").read_text()[:500])
                if f" {self.address_in_proc()} 00000000:0000 0A" in Path("/proc/net/tcp").read_text():
                    if self.is_karez or self.worker() != self.process.pid:
                        return self
                time.sleep(0.02)
            raise RuntimeError("does not listen")
        except BaseException:
            self.__exit__()
            raise

    def address_in_proc(self):
        number = struct.unpack("<I", socket.inet_aton(self.host))[0]
        return f"{number:08X}:{self.port:04X}"

    def __exit__(self, *_):
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGCONT)
            except OSError:
                pass
        self.process.send_signal(signal.SIGTERM if not self.is_karez else signal.SIGINT)
        try:
            self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            self.process.wait(timeout=10)

    def pids(self):
        """The serving process, and the workers of nginx."""
        first = self.process.pid
        try:
            more = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        except OSError:
            return []
        return [first, *map(int, more)]

    def worker(self):
        """The process that serves: nginx's worker, or karez, whose child is the launcher of upgrades; with --supervise its
        child, too."""
        pids = self.pids()
        has_child = len(pids) > 1 and (not self.is_karez or "--supervise" in self.process.args)
        return pids[-1] if has_child else self.process.pid

    def alive(self):
        try:
            return "Z" not in Path(f"/proc/{self.worker()}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.worker()}/fd"))

    def sockets(self):
        """Descriptors of sockets: those of connections, and a constant number of others."""
        count, folder = 0, f"/proc/{self.worker()}/fd"
        for one in os.listdir(folder):
            try:
                count += os.readlink(f"{folder}/{one}").startswith("socket:")
            except OSError:
                pass
        return count

    def memory(self, field="RssAnon"):
        text = Path(f"/proc/{self.worker()}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+)", text)[1]) << 10

    def private(self):
        text = Path(f"/proc/{self.worker()}/smaps_rollup").read_text()
        return sum(int(kib) << 10 for kib in re.findall(r"Private_(?:Clean|Dirty):\s+(\d+)", text))

    def cpu(self):
        fields = Path(f"/proc/{self.worker()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / peers.TICK

    def busy(self, seconds=2):
        """The part of a core that the server uses."""
        before = self.cpu()
        time.sleep(seconds)
        return (self.cpu() - before) / seconds

    def log_lines(self):
        return len(self.errors.read_bytes().splitlines()) if self.errors.exists() else 0

    def connect(self, port=None, timeout=15, receive_buffer=None, source=None):
        client = socket.socket()
        client.settimeout(timeout)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            client.bind((source, 0))
        client.connect((self.host, port or self.port))
        return client

    def ask(self, path, timeout=15, **options):
        client = self.connect(timeout=timeout, **options)
        client.sendall(request(path))
        return client

    def get(self, path, *fields, timeout=15):
        """Returns an `Answer` by a connection of its own."""
        with self.connect(timeout=timeout) as client:
            client.sendall(request(path, "Connection: close", *fields))
            return read_answer(client)


def request(path, *fields, method="GET"):
    path = path if isinstance(path, bytes) else path.encode()
    return b"\r\n".join([method.encode() + b" " + path + b" HTTP/1.1", b"Host: localhost",
                         *(one.encode() for one in fields), b"", b""])


class Answer:
    def __init__(self, status, fields, body, length, end):
        self.status, self.fields, self.body, self.length, self.end = status, fields, body, length, end

    @property
    def whole(self):
        return self.end == "whole"


def read_answer(client, buffer=b""):
    """Reads one response. `end` is whole, eof, reset or timeout; without status nothing was received."""
    end = None
    def more():
        nonlocal buffer, end
        try:
            part = client.recv(1 << 20)
        except (TimeoutError, socket.timeout):
            end = "timeout"
        except OSError:
            end = "reset"
        else:
            end = None if part else "eof"
            buffer += part
        return end is None
    while b"\r\n\r\n" not in buffer:
        if not more():
            return Answer(None, {}, buffer, None, end)
    head, _, body = buffer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    status = int(lines[0].split()[1])
    if "content-length" in fields:
        length, parts, count = int(fields["content-length"]), [body], len(body)
        while count < length:
            buffer = b""
            if not more():
                return Answer(status, fields, b"".join(parts), length, end)
            parts.append(buffer)
            count += len(buffer)
        return Answer(status, fields, b"".join(parts)[:length], length, "whole")
    parts = [body]
    chunked = fields.get("transfer-encoding") == "chunked"
    while not (chunked and b"".join(parts[-2:]).endswith(b"0\r\n\r\n")):
        buffer = b""
        if not more():
            break
        parts.append(buffer)
    body = b"".join(parts)
    if chunked:
        whole, body = body.endswith(b"0\r\n\r\n"), unchunked(body)
    else:
        whole = end == "eof"
    return Answer(status, fields, body, None, "whole" if whole else end)


def unchunked(text):
    body = []
    while text:
        size, _, text = text.partition(b"\r\n")
        count = int(size or b"0", 16)
        if not count:
            break
        body.append(text[:count])
        text = text[count + 2:]
    return b"".join(body)


def ended(client, timeout):
    """Reads until the server ends the connection. Returns (how, seconds, bytes received)."""
    begin, received = time.monotonic(), b""
    while True:
        left = begin + timeout - time.monotonic()
        if left <= 0:
            return "open", timeout, received
        client.settimeout(left)
        try:
            part = client.recv(1 << 20)
        except (TimeoutError, socket.timeout):
            continue
        except OSError:
            return "reset", time.monotonic() - begin, received
        if not part:
            return "closed", time.monotonic() - begin, received
        received += part


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def until(condition, timeout, step=0.01):
    """Seconds until the condition holds, or None."""
    begin = time.monotonic()
    while time.monotonic() - begin < timeout:
        if condition():
            return time.monotonic() - begin
        time.sleep(step)
    return None


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def latencies(server, path, count, timeout=5):
    """Milliseconds of requests, one after the other, on a connection that is made anew where it ended."""
    took, client = [], None
    for _ in range(count):
        begin = time.perf_counter()
        try:
            client = client or server.connect(timeout=timeout)
            client.sendall(request(path))
            answer = read_answer(client)
            if not answer.whole:
                client = None
        except OSError:
            client = None
        took.append((time.perf_counter() - begin) * 1e3)
    return took


def tls_context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Fault:
    """A row of the table. `run(bed)` returns a dict with `figure` (a text), `met` (or None) and raw figures, within `seconds`."""

    every = []

    def __init__(self, row, name, title, promise, karez=("",), nginx=("",), needs=(), seconds=600):
        self.row, self.name, self.title, self.promise, self.seconds = row, name, title, promise, seconds
        self.kinds, self.needs = [("karez", one) for one in karez] + [("nginx", one) for one in nginx], needs

    def __call__(self, run):
        self.run = run
        Fault.every.append(self)
        return run

    def missing(self):
        """Why this machine cannot make the fault, or None."""
        for one in self.needs:
            if one.startswith("/"):
                if not os.path.exists(one):
                    return f"{one} does not exist"
            elif not (shutil.which(one) or shutil.which(one, path="/usr/sbin:/sbin")):
                return f"{one} is not installed"
        return None
