#!/usr/bin/env python3
"""Measures slow readers of a large file, and fast clients beside them.

1000 clients each read a file of 16 MiB at 100 KB/s, with a receive buffer of 64 KiB. Reported are, for each
reader, private memory of the server (/proc/PID/smaps_rollup) and of the kernel's sockets of both sides
(/proc/net/sockstat), 5 s after the first of them began; the rate that they reach; and the rate and the
99th percentile of requests for a 1 KiB file over 100 connections (wrk), alone and beside them.

    sudo bench/slow.py [--readers N] [--rate BYTES] [--rounds N] [--out FILE.json]

Needs wrk; the readers share the core of the load, so the fast clients are slower beside them with any
server.
"""
import argparse, json, os, random, re, resource, shutil, socket, subprocess, sys, tempfile, threading, time
from pathlib import Path

import servers as peers
from serve import forked
from storm import seconds

LARGE = 16 << 20
TICKS = 10
RECEIVE_BUFFER = 64 << 10


class Readers:
    """The slow clients, on a thread of this process."""

    def __init__(self, port, count, rate):
        self.part, self.received, self.closed, self.over = rate // TICKS, 0, 0, False
        self.sockets = []
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER // 2)  # doubled
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /large HTTP/1.1\r\nHost: bench\r\n\r\n")
            client.setblocking(False)
            self.sockets.append(client)
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        buffer, begin, tick = bytearray(self.part), time.monotonic(), 0
        while not self.over:
            for client in self.sockets:
                try:
                    count = client.recv_into(buffer)
                    self.received += count
                    self.closed += count == 0
                except BlockingIOError:
                    pass
                except OSError:
                    self.closed += 1
            tick += 1
            time.sleep(max(0, begin + tick / TICKS - time.monotonic()))

    def stop(self):
        self.over = True
        self.thread.join()
        for client in self.sockets:
            client.close()


def kernel_memory():
    """Bytes of all TCP sockets (proc(5), sockstat)."""
    text = Path("/proc/net/sockstat").read_text()
    return int(re.search(r"^TCP:.* mem (\d+)", text, re.MULTILINE)[1]) * resource.getpagesize()


def fast(server, args):
    cpu = server.cpu()
    text = subprocess.run(["taskset", "-c", str(args.load_core), "wrk", "-t1", "-c100", "--latency",
                           f"-d{args.seconds}s", f"http://127.0.0.1:{server.port}/1k"],
                          capture_output=True, text=True, check=True).stdout
    count = int(re.search(r"(\d+) requests in", text)[1])
    return {"per_second": count / args.seconds, "us": (server.cpu() - cpu) / max(count, 1) * 1e6,
            "p99_ms": seconds(re.search(r"^\s+99%\s+(\S+)", text, re.M)[1]) * 1e3}


def measure(name, program, command, directory, root, args):
    server = peers.Server(name, program, command, directory, root, args.server_core)
    try:
        fast(server, args)
        result = {"alone": fast(server, args)}
        user, kernel = server.user_memory(), kernel_memory()
        readers = Readers(server.port, args.readers, args.rate)
        try:
            time.sleep(5)
            result["user_bytes"] = (server.user_memory() - user) / args.readers
            result["kernel_bytes"] = (kernel_memory() - kernel) / args.readers
            begin, received = time.monotonic(), readers.received
            result["beside"] = fast(server, args)
            took = time.monotonic() - begin
            result["reader_rate"] = (readers.received - received) / took / args.readers
        finally:
            readers.stop()
        result["closed"] = readers.closed
    finally:
        server.stop()
    return result


def run(congestion, args):
    peers.in_namespace(congestion)
    args.server_core, args.load_core = peers.cores()
    chosen = peers.chosen(args, {name: server for name, server in peers.SERVERS.items() if name != "bare loop"})
    os.sched_setaffinity(0, {args.load_core})
    raw = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as place:
        directory, root = Path(place), Path(place) / "root"
        root.mkdir()
        os.chmod(place, 0o777)
        for name, content in [("1k", b"x" * 1024), ("large", os.urandom(LARGE))]:
            (root / name).write_bytes(content)
            os.utime(root / name, (1.7e9, 1.7e9))
        for number in range(args.rounds):
            for name in random.sample(list(chosen), len(chosen)):
                print(f"round {number + 1}/{args.rounds}, {name}", file=sys.stderr)
                raw[name].append(measure(name, *chosen[name], directory, root, args))
    show(raw, args)
    return {"benchmark": "slow", "readers": args.readers, "rate": args.rate,
            "congestion": peers.congestion(), "raw": raw, "versions": peers.versions(chosen)}


def show(raw, args):
    def cell(values, digits=1):
        one = peers.spread(values)
        return f"{one['median']:.{digits}f} ({one['min']:.{digits}f}–{one['max']:.{digits}f})"
    print(f"\n{args.readers} readers at {args.rate / 1000:.0f} KB/s\n")
    print("| server | user KiB a reader | kernel KiB | KB/s | fast p99 ms alone | beside | requests/s alone | beside |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rounds in raw.items():
        cells = [cell([one["user_bytes"] / 1024 for one in rounds]),
                 cell([one["kernel_bytes"] / 1024 for one in rounds], 0),
                 cell([one["reader_rate"] / 1000 for one in rounds], 0)]
        for key, digits in [("p99_ms", 2), ("per_second", 0)]:
            cells += [cell([one[when][key] for one in rounds], digits) for when in ["alone", "beside"]]
        print(f"| {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=100_000, help="bytes a second of each (default: 100000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    peers.arguments(parser)
    args = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < args.readers + 1000:
        sys.exit(f"the limit of open files is {most} (ulimit -Hn)")
    congestion = args.congestion.split(",")[0]
    with peers.allowed([congestion]):
        result = forked(run, congestion, args)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
