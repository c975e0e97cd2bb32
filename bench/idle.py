#!/usr/bin/env python3
"""Measures idle connections: user memory of each, and CPU per request beside many of them.

For each server: N connections are opened and left idle (never used), or used for one request and then
left idle. Private memory of the process (/proc/PID/smaps_rollup) before and after, divided by N. Memory
of the kernel (sockets) is not in it. Then wrk requests a 1 KiB file over 64 connections, alone and beside
the idle ones.

    bench/idle.py [--connections N] [--rounds N] [--out FILE.json]

Needs wrk, and a limit of open files (ulimit -n) above N for client and server; it is raised as far as
the hard limit allows.
"""
import argparse, json, os, random, re, resource, shutil, socket, subprocess, sys, tempfile
from pathlib import Path

import servers as peers
from serve import forked

# The port is chosen by connect(2), so that one in TIME-WAIT to another server is no hindrance (ip(7)).
IP_BIND_ADDRESS_NO_PORT = 24

def connect(server, count, used):
    """Opens connections from several loopback addresses, since one has about 28,000 ports."""
    sockets = []
    for number in range(count):
        client = socket.socket()
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((f"127.0.0.{2 + number // 10000}", 0))
        client.connect(("127.0.0.1", server.port))
        if used:
            client.sendall(b"GET /1k HTTP/1.1\r\nHost: bench\r\n\r\n")
            received = b""
            while len(received) < 1024 or not received.endswith(b"end"):
                part = client.recv(65536)
                if not part:
                    sys.exit(f"{server.name} closed connection {number}")
                received += part
        sockets.append(client)
    # A request behind them all: the server has accepted each.
    if not used:
        connect(server, 1, True)
    return sockets


def cpu_per_request(server, args):
    before = server.cpu()
    text = subprocess.run(["taskset", "-c", str(args.load_core), "wrk", "-t1", "-c64", "-d2s",
                           f"http://127.0.0.1:{server.port}/1k"],
                          capture_output=True, text=True, check=True).stdout
    return (server.cpu() - before) / int(re.search(r"(\d+) requests in", text)[1]) * 1e6


def measure(name, program, command, directory, root, args):
    result = {}
    for used in [False, True]:
        server = peers.Server(name, program, command, directory, root, args.server_core)
        try:
            alone = cpu_per_request(server, args)
            before = server.user_memory()
            sockets = connect(server, args.connections, used)
            bytes_each = (server.user_memory() - before) / args.connections
            beside = cpu_per_request(server, args)
            for one in sockets:
                one.close()
        finally:
            server.stop()
        result["used" if used else "unused"] = {"bytes": bytes_each, "us_alone": alone,
                                                "us_beside": beside}
    return result


def run(congestion, args):
    peers.in_namespace(congestion)
    args.server_core, args.load_core = peers.cores()
    chosen = peers.chosen(args)
    with tempfile.TemporaryDirectory() as place:
        directory, root = Path(place), Path(place) / "root"
        root.mkdir()
        os.chmod(place, 0o777)
        (root / "1k").write_bytes(b"x" * 1021 + b"end")
        os.utime(root / "1k", (1.7e9, 1.7e9))
        raw = {name: [] for name in chosen}
        for number in range(args.rounds):
            for name in random.sample(list(chosen), len(chosen)):
                print(f"round {number + 1}/{args.rounds}, {name}", file=sys.stderr)
                raw[name].append(measure(name, *chosen[name], directory, root, args))
    print(f"\n{args.connections} idle connections\n")
    print("| server | bytes each, never used | bytes each, used once | CPU µs/request alone | beside the idle |")
    print("|---|---|---|---|---|")
    for name, rounds in raw.items():
        cells = []
        for kind, key, digits in [("unused", "bytes", 0), ("used", "bytes", 0),
                                  ("used", "us_alone", 1), ("used", "us_beside", 1)]:
            value = peers.spread([one[kind][key] for one in rounds])
            cells.append(f"{value['median']:.{digits}f} "
                         f"({value['min']:.{digits}f}–{value['max']:.{digits}f})")
        print(f"| {name} | {' | '.join(cells)} |")
    return {"congestion": peers.congestion(), "raw": raw, "versions": peers.versions(chosen)}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int,
                        help="idle connections (default: 20000, or what the limit of open files permits)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    peers.arguments(parser)
    args = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    args.connections = args.connections or min(20000, most - 1000)
    if most < args.connections + 1000:
        sys.exit(f"the limit of open files is {most} (ulimit -Hn)")
    congestion = args.congestion.split(",")[0]
    with peers.allowed([congestion]):
        result = forked(run, congestion, args)
    if args.out:
        args.out.write_text(json.dumps({"benchmark": "idle", "connections": args.connections,
                                        "rounds": args.rounds, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
