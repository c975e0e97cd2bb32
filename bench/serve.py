#!/usr/bin/env python3
"""What a request costs: karez beside its peers, in one run, on pinned cores.

Each server runs alone on core 0, the load (wrk) on core 1. In every round every server serves
every file size for some seconds, one after the other, so that a machine whose speed drifts
drifts for all of them. Reported is CPU time of the server (user and system, /proc/PID/stat, to
10 ms) per request and per GB, as the median of the rounds with their range, and the ratio to
karez as the median of the ratios within each round. The time in which the kernel
works for a socket is billed to whoever runs at that moment; on loopback that is mostly the server.

Then `strace -c` counts system calls per request over a fixed number of requests, in a run of its
own, for counting is not timing.

Needs wrk and strace; peers that are not installed are left out by name.

    cargo build --release && bench/serve.py [--rounds N] [--seconds S] [--out FILE.json]
"""
import argparse, json, os, platform, re, shutil, signal, socket, statistics, subprocess, sys
import tempfile, time
from pathlib import Path

SIZES = {"1k": 1 << 10, "16k": 16 << 10, "128k": 128 << 10, "1m": 1 << 20}
CONNECTIONS = 32
REPOSITORY = Path(__file__).resolve().parent.parent
KAREZ = REPOSITORY / "target/release/karez"

NGINX = """daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
open_file_cache max=10000 inactive=60s; default_type application/octet-stream;
client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;
uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t;
server {{ listen 127.0.0.1:{port}; root {root}; }} }}
"""
H2O = """num-threads: 1
error-log: {dir}/error.log
pid-file: {dir}/h2o.pid
listen: {{ host: 127.0.0.1, port: {port} }}
hosts: {{ default: {{ paths: {{ "/": {{ file.dir: {root} }} }} }} }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def karez(way):
    def command(directory, root, port):
        return [KAREZ, "serve", root, "--listen", f"127.0.0.1:{port}", "--quiet", "--log", "off",
                *way]
    return command


def configured(program, template, flag):
    def command(directory, root, port):
        config = directory / f"{program}.conf"
        config.write_text(template.format(dir=directory, root=root, port=port))
        return [program, flag, config]
    return command


SERVERS = {
    "karez": karez(["--threads", "1"]),
    "karez, via splice": karez(["--threads", "1", "--via", "splice"]),
    "karez, via mmap": karez(["--threads", "1", "--via", "mmap"]),
    "karez, via copy": karez(["--threads", "1", "--via", "copy"]),
    "karez, model blocking": karez(["--model", "blocking"]),
    "nginx, tuned": configured("nginx", NGINX, "-c"),
    "h2o": configured("h2o", H2O, "-c"),
}
PROGRAMS = {"nginx, tuned": "nginx", "h2o": "h2o"}


class Server:
    def __init__(self, name, command, root, directory):
        self.name, self.port = name, free_port()
        argv = ["taskset", "-c", "0", *map(str, command(directory, root, self.port))]
        self.log = open(directory / f"{self.port}.log", "wb")
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log)
        for _ in range(200):
            if self.process.poll() is not None:
                sys.exit(f"{name} ended at once: {Path(self.log.name).read_text()}")
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.02)
        sys.exit(f"{name} does not listen")

    def cpu(self):
        """CPU time of all threads so far, ended ones too, in nanoseconds (proc_pid_stat(5))."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e9 / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)


def wrk(server, name, seconds, connections=CONNECTIONS):
    url = f"http://127.0.0.1:{server.port}/{name}"
    argv = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", url]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"{server.name}, {name}: {text}")
    return int(re.search(r"(\d+) requests in", text)[1])


def measure(server, name, seconds):
    before = server.cpu()
    requests = wrk(server, name, seconds)
    cpu = server.cpu() - before
    return {"requests": requests, "cpu_ns": cpu, "us_per_request": cpu / requests / 1000,
            "s_per_gb": cpu / requests / SIZES[name]}


def system_calls(server, name, directory):
    """Calls per request, by name, over about a second of 16 connections."""
    out = directory / "calls"
    tracer = subprocess.Popen(["strace", "-c", "-f", "-U", "name,calls", "-o", out, "-p",
                               str(server.process.pid)], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    requests = wrk(server, name, 1, 16)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    calls = {}
    for line in out.read_text().splitlines():
        call, _, count = line.strip().partition(" ")
        if count.strip().isdigit() and call != "total":
            if int(count) / requests >= 0.01:
                calls[call] = round(int(count) / requests, 2)
    return calls


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarize(raw):
    table = {}
    for name in SIZES:
        for server, rounds in raw.items():
            ratios = [a["us_per_request"] / b["us_per_request"]
                      for a, b in zip([r[name] for r in rounds], [r[name] for r in raw["karez"]])]
            table[f"{server} / {name}"] = {
                "us_per_request": spread([r[name]["us_per_request"] for r in rounds]),
                "cpu_s_per_gb": spread([r[name]["s_per_gb"] for r in rounds]),
                "ratio_to_karez": spread(ratios),
            }
    return table


def show(table, calls):
    print("| file | server | CPU µs/request (range) | CPU s/GB | × karez (range) | calls/request |")
    print("|---|---|---|---|---|---|")
    for key, row in table.items():
        server, name = key.split(" / ")
        us, ratio = row["us_per_request"], row["ratio_to_karez"]
        made = calls.get(key)
        made = "" if made is None else f"{sum(made.values()):.1f}: " + ", ".join(
            f"{call} {count:g}" for call, count in sorted(made.items(), key=lambda one: -one[1]))
        print(f"| {name} | {server} | {us['median']:.1f} ({us['min']:.1f}–{us['max']:.1f}) "
              f"| {row['cpu_s_per_gb']['median']:.2f} | {ratio['median']:.2f} "
              f"({ratio['min']:.2f}–{ratio['max']:.2f}) | {made} |")


def versions():
    found = {"kernel": platform.release().split("-")[0], "cores": os.cpu_count()}
    for program, flag in [("nginx", "-v"), ("h2o", "-v"), ("wrk", "-v"), (str(KAREZ), "--version")]:
        if shutil.which(program):
            ran = subprocess.run([program, flag], capture_output=True, text=True)
            found[Path(program).name] = (ran.stdout + ran.stderr).splitlines()[0]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    for needed in ["wrk", "strace", "taskset"]:
        if not shutil.which(needed):
            sys.exit(f"{needed} is not installed")
    with tempfile.TemporaryDirectory() as place:
        directory, root = Path(place), Path(place) / "root"
        root.mkdir()
        os.chmod(place, 0o777)  # h2o writes its files as nobody
        for name, size in SIZES.items():
            (root / name).write_bytes(os.urandom(size))
            os.utime(root / name, (1.7e9, 1.7e9))
        servers = []
        try:
            for name, command in SERVERS.items():
                if name in PROGRAMS and not shutil.which(PROGRAMS[name]):
                    print(f"skipped: {PROGRAMS[name]} is not installed", file=sys.stderr)
                    continue
                servers.append(Server(name, command, root, directory))
            raw = {server.name: [] for server in servers}
            for number in range(args.rounds):
                for server in servers:
                    print(f"round {number + 1}/{args.rounds}, {server.name}", file=sys.stderr)
                    raw[server.name].append(
                        {name: measure(server, name, args.seconds) for name in SIZES})
            calls = {f"{server.name} / {name}": system_calls(server, name, directory)
                     for server in servers for name in ["1k", "128k"]}
        finally:
            for server in servers:
                server.stop()
    table = summarize(raw)
    show(table, calls)
    if args.out:
        result = {"versions": versions(), "rounds": args.rounds, "seconds": args.seconds,
                  "connections": CONNECTIONS, "table": table, "calls_per_request": calls,
                  "raw": raw}
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
