#!/usr/bin/env python3
"""Measures requests for names and files elsewhere while 20 requests wait for a hung FUSE file system.

The root has 2000 small files and a bindfs mount whose process is stopped (a dead NFS server behaves the
same). Latency of requests made one after the other on one connection, before and while 20 clients wait
for files on the mount: for a hot file, for names that the server has not seen (half of them missing), and
for files that are not in the page cache. A request that takes longer than 2 s counts as 2 s.

    sudo bench/hung.py [--requests N] [--out FILE.json]

Needs root, bindfs and fusermount.
"""
import argparse, ctypes, http.client, json, os, random, shutil, signal, subprocess, sys, tempfile, time
from contextlib import contextmanager
from pathlib import Path

import servers as peers
from serve import forked

HUNG = 20
LIMIT = 2.0
KINDS = ["hot", "names", "cold"]
HUNG_SERVERS = {**{name: peers.SERVERS[name] for name in peers.SERVERS if name != "bare loop"},
                "nginx, aio threads": peers.NGINX_AIO}


def private_mounts():
    """Enters a mount namespace of its own, which takes the mount with it."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x20000) != 0:
        sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


@contextmanager
def tree(files):
    """Yields the root, and the bindfs process that serves its directory `slow`."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        root, below = Path(place) / "root", Path(place) / "below"
        (root / "slow").mkdir(parents=True)
        below.mkdir()
        for number in range(HUNG):
            (below / f"file-{number}").write_bytes(b"x" * 1000)
        for number in range(files):
            (root / f"file-{number}").write_bytes(os.urandom(20_000))
        (root / "hot").write_bytes(b"x" * 1000)
        os.utime(root / "hot", (1.7e9, 1.7e9))
        os.sync()
        bindfs = subprocess.Popen(["bindfs", "-f", below, root / "slow"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        try:
            for _ in range(300):
                if (root / "slow/file-0").exists():
                    break
                time.sleep(0.02)
            yield root, bindfs
        finally:
            bindfs.send_signal(signal.SIGCONT)
            subprocess.run(["umount", "-l", root / "slow"], check=False)
            bindfs.terminate()
            bindfs.wait()


def latencies(port, paths):
    """Seconds of each request, made one after the other, and how many took too long."""
    client, took, late = None, [], 0
    for path in paths:
        begin = time.perf_counter()
        try:
            client = client or http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
            client.request("GET", path)
            client.getresponse().read()
        except (OSError, http.client.HTTPException):
            client, late = None, late + 1
            if late == 5:
                return took + [LIMIT] * late, late
        took.append(min(time.perf_counter() - begin, LIMIT))
    return took, late


def part(port, root, numbers, requests):
    """Latencies by kind. Each number names a file that this server has not seen."""
    fresh = [numbers.pop() for _ in range(2 * requests)]
    for number in fresh:
        with open(root / f"file-{number}", "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    names = [f"/file-{number}" if number % 2 else f"/none-{number}" for number in fresh[:requests]]
    for number in fresh[:requests]:
        (root / f"file-{number}").read_bytes()  # its name is new to the server, its pages are not cold
    paths = {"hot": ["/hot"] * requests, "names": names,
             "cold": [f"/file-{number}" for number in fresh[requests:]]}
    result = {}
    for kind in KINDS:
        took, late = latencies(port, paths[kind])
        took.sort()
        result[kind] = {"p50_ms": took[len(took) // 2] * 1e3, "late": late,
                        "p99_ms": took[min(len(took) - 1, len(took) * 99 // 100)] * 1e3}
    return result


def hang(port):
    """Opens the connections that wait for the mount."""
    clients = []
    for number in range(HUNG):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        client.request("GET", f"/slow/file-{number}")
        clients.append(client)
    time.sleep(1)
    return clients


def measure(name, program, command, place, root, bindfs, args):
    server = peers.Server(name, program, command, place, root, args.server_core)
    numbers = list(range(args.files))
    random.shuffle(numbers)
    try:
        latencies(server.port, ["/hot"] * 10)
        result = {"before": part(server.port, root, numbers, args.requests)}
        bindfs.send_signal(signal.SIGSTOP)
        clients = hang(server.port)
        result["hung"] = part(server.port, root, numbers, args.requests)
        for client in clients:
            client.close()
    finally:
        bindfs.send_signal(signal.SIGCONT)
        server.stop()
    return result


def run(congestion, args):
    peers.in_namespace(congestion)
    private_mounts()
    args.server_core, _ = peers.cores()
    chosen = peers.chosen(args, HUNG_SERVERS)
    raw = {name: [] for name in chosen}
    with tree(args.files) as (root, bindfs), tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        for number in range(args.rounds):
            for name in random.sample(list(chosen), len(chosen)):
                print(f"round {number + 1}/{args.rounds}, {name}", file=sys.stderr)
                raw[name].append(measure(name, *chosen[name], Path(place), root, bindfs, args))
    show(raw)
    return {"benchmark": "hung", "hung": HUNG, "congestion": peers.congestion(), "raw": raw,
            "versions": peers.versions(chosen)}


def show(raw):
    def cell(rounds, when, kind):
        values = [one[when][kind] for one in rounds]
        if all(value["late"] >= 5 for value in values):
            return "none answered"
        one = peers.spread([value["p99_ms"] for value in values])
        return f"{one['median']:.2f} ({one['min']:.2f}–{one['max']:.2f})"
    print(f"\n99th percentile in ms before and with {HUNG} requests for a hung file system\n")
    print("| server | " + " | ".join(f"{kind}, before | {kind}, hung" for kind in KINDS) + " |")
    print("|---|" + "---|" * (2 * len(KINDS)))
    for name, rounds in raw.items():
        cells = [cell(rounds, when, kind) for kind in KINDS for when in ["before", "hung"]]
        print(f"| {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=500, help="of each kind (default: 500)")
    parser.add_argument("--out", type=Path)
    peers.arguments(parser)
    args = parser.parse_args()
    args.files = 4 * args.requests
    if os.geteuid() != 0 or not shutil.which("bindfs"):
        sys.exit("root and bindfs are needed")
    congestion = args.congestion.split(",")[0]
    with peers.allowed([congestion]):
        result = forked(run, congestion, args)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
