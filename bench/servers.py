"""Starts karez and its peers for a benchmark: one thread each, tuned, pinned to a core.

A missing peer is skipped with a message; another build is given by its path
(`--server nginx=/opt/nginx/sbin/nginx`). Every server runs without an access log.
"""
import os, re, shutil, signal, socket, subprocess, sys, time
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
KAREZ = REPOSITORY / "target/dist/karez"
BARE = REPOSITORY / "target/dist/examples/bare_loop"
TICK = os.sysconf("SC_CLK_TCK")

NGINX = """daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid;
worker_rlimit_nofile 100000;
error_log {dir}/nginx-error.log;
events {{ worker_connections 50000; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
open_file_cache max=10000 inactive=60s; default_type application/octet-stream;
client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;
uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t; {extra}
server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }} }}
"""
H2O = """num-threads: 1
max-connections: 50000
error-log: {dir}/h2o-error.log
pid-file: {dir}/h2o.pid
listen: {{ host: 127.0.0.1, port: {port} }}
hosts: {{ default: {{ paths: {{ "/": {{ file.dir: {root} }} }} }} }}
"""
LIGHTTPD = """server.document-root = "{root}"
server.port = {port}
server.bind = "127.0.0.1"
server.max-fds = 100000
server.max-connections = 50000
server.max-keep-alive-requests = 1000000
server.errorlog = "{dir}/lighttpd-error.log"
mimetype.assign = ( "" => "application/octet-stream" )
"""
CADDY = """{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    root * {root}
    file_server
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def karez(*flags):
    """karez serve with these flags; without flags the default configuration on one thread."""
    def command(program, directory, root, port):
        return [program, "serve", root, "--listen", f"127.0.0.1:{port}", "--quiet", "--log", "off",
                *flags]
    return command


def configured(name, template, *flags, **more):
    def command(program, directory, root, port):
        config = directory / f"{name}-{port}.conf"
        config.write_text(template.format(dir=directory, root=root, port=port, **more))
        return [program, *flags, config]
    return command


def bare(program, directory, root, port):
    return [program, f"127.0.0.1:{port}", root]


def static_web_server(program, directory, root, port):
    return [program, "--host", "127.0.0.1", "--port", str(port), "--root", root, "--threads-multiplier",
            "1", "--log-level", "error", "--security-headers", "false", "--compression", "false",
            "--cache-control-headers", "false"]


# name: (program, command line)
SERVERS = {
    "karez": ("karez", karez("--threads", "1")),
    "bare loop": ("bare", bare),
    "nginx, tuned": ("nginx", configured("nginx", NGINX, "-c", extra="")),
    "h2o": ("h2o", configured("h2o", H2O, "-c")),
    "lighttpd": ("lighttpd", configured("lighttpd", LIGHTTPD, "-D", "-f")),
    "Caddy": ("caddy", configured("caddy", CADDY, "run", "--adapter", "caddyfile", "--config")),
    "static-web-server": ("static-web-server", static_web_server),
}
# Other configurations of karez, on request (--karez 'NAME=FLAGS').
NGINX_AIO = ("nginx", configured("nginx-aio", NGINX, "-c", extra="aio threads;"))


def arguments(parser):
    """The options that all benchmarks of servers have."""
    parser.add_argument("--only", action="append", default=[], metavar="NAME",
                        help="measure these servers only (repeatable; karez is always measured)")
    parser.add_argument("--server", action="append", default=[], metavar="PROGRAM=PATH",
                        help="another build of nginx, h2o, lighttpd, caddy, static-web-server or karez")
    parser.add_argument("--karez", action="append", default=[], metavar="NAME=FLAGS",
                        help="another karez with other flags, e.g. 'uring=--model uring'")
    parser.add_argument("--congestion", default="cubic", metavar="NAME[,NAME]",
                        help="TCP congestion control, set in a network namespace of the run's own "
                             "(default: cubic, which most distributions have)")


def chosen(args, base=SERVERS):
    """Returns name → (path, command) of the servers that this run measures."""
    paths = dict(one.split("=", 1) for one in args.server)
    servers = {}
    ways = dict(base)
    for one in args.karez:
        name, _, flags = one.partition("=")
        ways[f"karez, {name}"] = ("karez", karez("--threads", "1", *flags.split()))
    for name, (program, command) in ways.items():
        if args.only and program not in ("karez",) and name not in args.only:
            continue
        path = paths.get(program) or {"karez": str(KAREZ), "bare": str(BARE)}.get(program)
        path = path or shutil.which(program) or shutil.which(program, path="/usr/sbin")
        if path and os.path.exists(path):
            servers[name] = (path, command)
        else:
            print(f"skipped: {name}: {program} is not installed", file=sys.stderr)
    return servers


class Server:
    """A server process on one core."""

    def __init__(self, name, program, command, directory, root, core, prefix=()):
        self.name, self.port = name, free_port()
        argv = ["taskset", "-c", str(core), *prefix,
                *map(str, command(program, directory, root, self.port))]
        self.log = open(directory / f"{self.port}.log", "wb")
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log)
        for _ in range(300):
            if self.process.poll() is not None:
                sys.exit(f"{name} ended at once: {Path(self.log.name).read_text()}")
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.02)
        sys.exit(f"{name} does not listen")

    def cpu(self):
        """CPU seconds of all threads so far, including ended ones (proc_pid_stat(5))."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def user_memory(self):
        """Private bytes of the process (proc_pid_smaps(5)): the user memory of its connections."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return sum(int(kib) << 10 for kib in re.findall(r"Private_(?:Clean|Dirty):\s+(\d+)", text))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def machine_cpu():
    """CPU seconds of all cores that were not idle (proc_stat(5)): user, nice, system, irq, softirq."""
    fields = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / TICK


def in_namespace(congestion):
    """Enters a new network namespace with this congestion control. Returns False where that is not
    permitted; the machine's then applies."""
    try:
        os.unshare(os.CLONE_NEWNET)
    except (AttributeError, OSError):
        try:
            import ctypes
            if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:
                return False
        except OSError:
            return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text(congestion)
    return True


@contextmanager
def allowed(names):
    """Allows these congestion controls in namespaces (ip-sysctl, tcp_allowed_congestion_control), and
    restores the list afterwards."""
    path = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
    try:
        before = path.read_text()
        path.write_text(" ".join(dict.fromkeys([*before.split(), *names])))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        path.write_text(before)


def congestion():
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def versions(servers):
    import platform
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    found = {"kernel": platform.release().split("-")[0], "cores": os.cpu_count(),
             "cpu": cpu[1] if cpu else platform.machine()}
    for path in {path for path, _ in servers.values()} | {"wrk"}:
        name = Path(path).name
        if name == "bare_loop":
            continue
        for flag in ["--version", "-v", "version"]:
            try:
                ran = subprocess.run([path, flag], capture_output=True, text=True, timeout=5)
            except (OSError, subprocess.TimeoutExpired):
                continue
            text = (ran.stdout + ran.stderr).strip()
            if ran.returncode == 0 or "wrk" in text:
                found[name] = text.splitlines()[0]
                break
    return found


def spread(values):
    import statistics
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def cores():
    """The core of the server and that of the load."""
    own = sorted(os.sched_getaffinity(0))
    if len(own) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    return own[0], own[-1]
