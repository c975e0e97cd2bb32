#!/usr/bin/env python3
"""Measures TCP proxies: CPU per GB of a large file and per small request, karez and HAProxy, on pinned cores.

Each proxy runs alone on the first core; behind it, on the last core with the client, a `karez serve` serves
the files. In every round each proxy relays, in random order, a file of 64 MiB again and again over one
connection to a client that discards the bytes in the kernel (MSG_TRUNC), and then 1 KiB files over 64
connections (wrk). CPU time is that of the proxy's process, all threads. Reported are medians of the rounds
with their range, and the ratio to HAProxy with splicing, within each round.

    cargo build --profile dist --locked -p karez && cargo build --profile dist --locked --examples \\
        -p karez-reactor -p karez-transfer --features karez-transfer/tokio
    bench/proxy.py [--rounds N] [--seconds S] [--congestion NAME] [--out FILE.json]

Proxies: crates/reactor/examples/proxy.rs (models epoll-edge and uring), crates/transfer/examples/tokio_proxy.rs,
and HAProxy in TCP mode, with `option splice-response` and without. Needs wrk, haproxy and taskset.
"""
import argparse, json, os, random, shutil, socket, sys, tempfile, time
from pathlib import Path

import servers as peers
from serve import forked, wrk

EXAMPLES = peers.BARE.parent
LARGE = 64 << 20
LIMIT = "HAProxy, splice"
HAPROXY = """global
    nbthread 1
    maxconn 2000
    maxpipes 500
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    {option}
listen bench
    bind 127.0.0.1:{port}
    server one 127.0.0.1:{upstream}
"""


def haproxy(upstream, option):
    def command(program, directory, root, port):
        config = directory / f"haproxy-{port}.conf"
        config.write_text(HAPROXY.format(port=port, upstream=upstream, option=option))
        return [program, "-db", "-f", config]
    return command


def reactor(upstream, model):
    def command(program, directory, root, port):
        return [program, "--model", model, f"127.0.0.1:{port}", f"127.0.0.1:{upstream}"]
    return command


def tokio(upstream):
    def command(program, directory, root, port):
        return [program, f"127.0.0.1:{port}", f"127.0.0.1:{upstream}"]
    return command


def chosen(upstream):
    """name → (path, command) of the proxies that are there."""
    path = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    ways = {
        "karez-reactor, epoll-edge": (EXAMPLES / "proxy", reactor(upstream, "epoll-edge")),
        "karez-reactor, uring": (EXAMPLES / "proxy", reactor(upstream, "uring")),
        "karez-transfer on tokio": (EXAMPLES / "tokio_proxy", tokio(upstream)),
        LIMIT: (path, haproxy(upstream, "option splice-response")),
        "HAProxy, copy": (path, haproxy(upstream, "")),
    }
    for name in [name for name, (path, _) in ways.items() if not path or not os.path.exists(path)]:
        print(f"skipped: {name} is not installed or built", file=sys.stderr)
        del ways[name]
    return {name: (str(path), command) for name, (path, command) in ways.items()}


def download(port, seconds, core):
    """Downloads the large file over one connection until the time is over. Returns the bytes of bodies."""
    os.sched_setaffinity(0, {core})
    total, sink = 0, bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port)) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: bench\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            if not head.startswith(b"HTTP/1.1 200"):
                sys.exit(f"not 200: {head[:80]}")
            left = LARGE - len(head.partition(b"\r\n\r\n")[2])
            while left:
                got = client.recv_into(sink, min(left, len(sink)), socket.MSG_TRUNC)
                if not got:
                    sys.exit("the proxy closed the connection")
                left -= got
            total += LARGE
    return total


def measure(proxy, args, directory):
    before, machine = proxy.cpu(), peers.machine_cpu()
    moved = download(proxy.port, args.seconds, args.load_core)
    cpu, machine = proxy.cpu() - before, peers.machine_cpu() - machine
    before = proxy.cpu()
    requests = wrk(proxy, "1k", args.seconds, args, directory)
    return {"ms_per_gb": cpu * 1e3 / (moved / 1e9), "machine_ms_per_gb": machine * 1e3 / (moved / 1e9),
            "us_per_request": (proxy.cpu() - before) / requests * 1e6}


def run(congestion, args):
    if not peers.in_namespace(congestion):
        print(f"skipped: no network namespace may be made; {peers.congestion()} is in force", file=sys.stderr)
    args.server_core, args.load_core = peers.cores()
    with tempfile.TemporaryDirectory() as place:
        directory, root = Path(place), Path(place) / "root"
        root.mkdir()
        (root / "1k").write_bytes(os.urandom(1 << 10))
        (root / "large").write_bytes(os.urandom(1 << 20) * (LARGE >> 20))
        origin = peers.Server("origin", str(peers.KAREZ), peers.karez("--threads", "1"), directory, root,
                              args.load_core)
        proxies = []
        try:
            ways = chosen(origin.port)
            for name, (program, command) in ways.items():
                proxies.append(peers.Server(name, program, command, directory, root, args.server_core))
            raw = {proxy.name: [] for proxy in proxies}
            for number in range(-1, args.rounds):
                print(f"round {number + 1}/{args.rounds}", file=sys.stderr)
                for proxy in random.sample(proxies, len(proxies)):
                    result = measure(proxy, args, directory)
                    if number >= 0:  # the first one warms up
                        raw[proxy.name].append(result)
        finally:
            for server in [*proxies, origin]:
                server.stop()
    table = summarize(raw)
    show(table, peers.congestion())
    return {"congestion": peers.congestion(), "table": table, "raw": raw, "versions": peers.versions(ways)}


def summarize(raw):
    limit = raw.get(LIMIT)
    table = []
    for name, rounds in raw.items():
        row = {"proxy": name}
        for key in ["ms_per_gb", "machine_ms_per_gb", "us_per_request"]:
            row[key] = peers.spread([one[key] for one in rounds])
            if limit:
                row[f"{key}_ratio"] = peers.spread([a[key] / b[key] for a, b in zip(rounds, limit)])
        table.append(row)
    return table


def show(table, congestion):
    print(f"\nCongestion control {congestion}; ratios to {LIMIT}\n")
    print("| proxy | CPU ms/GB | ratio | machine CPU ms/GB | ratio | CPU µs/request of 1 KiB | ratio |")
    print("|---|---|---|---|---|---|---|")
    for row in table:
        cells = []
        for key, digits in [("ms_per_gb", 0), ("machine_ms_per_gb", 0), ("us_per_request", 1)]:
            value = row[key]
            cells.append(f"{value['median']:.{digits}f} ({value['min']:.{digits}f}–{value['max']:.{digits}f})")
            ratio = row.get(f"{key}_ratio")
            cells.append(f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})" if ratio else "")
        print(f"| {row['proxy']} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--congestion", default="cubic")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.working_set = 1
    for needed in ["wrk", "taskset"]:
        if not shutil.which(needed):
            sys.exit(f"{needed} is not installed")
    with peers.allowed([args.congestion]):
        result = forked(run, args.congestion, args)
    if args.out:
        args.out.write_text(json.dumps({"benchmark": "proxy", "rounds": args.rounds, "seconds": args.seconds,
                                        **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
